"""Links: every design computes its formula, has exactly its parameters, and trains."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from rmas.backbone.tiny import tiny_backbone
from rmas.designs import known_designs
from rmas.errors import LinkError
from rmas.link import LINKS, SOFT_TOKEN, Link, Place, SoftToken, check_design, count_parameters
from zoo import backbone

PLACES: tuple[Place, ...] = ("inner", "outer")
WIDTHS = {"inner": (6, 6), "outer": (6, 4)}
EVERY = [(design, place) for design in LINKS for place in PLACES]


def build(design: str, place: Place, d_in: int = 0, d_out: int = 0) -> Link:
    """A float64 link of random weights, norms included; the widths of WIDTHS unless told."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        link = Link(design, place, d_in or WIDTHS[place][0], d_out or WIDTHS[place][1]).double()
        for parameter in link.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return link


def inputs(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def longhand(design: str, place: Place, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The formula of a design, written out once per design. `w` is the link's state dict."""

    def affine(name: str, v: Tensor) -> Tensor:
        return v @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name: str, v: Tensor) -> Tensor:
        return layer_norm(v, v.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    residual = x
    if place == "outer" and design.endswith("_res"):
        residual = affine("residual_proj", x)
    if design == "linear":
        return affine("proj1", x)
    if design == "linear_res":
        return residual + affine("proj1", x)
    if design == "mlp":
        return affine("proj2", gelu(affine("proj1", x)))
    if design == "mlp_res":
        return residual + affine("proj2", gelu(affine("proj1", x)))
    if design == "mlp_ln":
        return norm("post_norm", affine("proj2", gelu(affine("proj1", norm("pre_norm", x)))))
    assert design == "mlp_ln_res", f"write the formula of {design} here"
    return norm("post_norm", residual + affine("proj2", gelu(affine("proj1", norm("pre_norm", x)))))


def closed_form_count(design: str, place: Place, i: int, o: int) -> int:
    """Parameters from the widths alone: W_1, W_2 and W_3 with biases, and two LayerNorms."""
    if design.startswith("linear"):
        count = i * o + o
    else:
        hidden = 2 * o if "ln" in design and place == "outer" else o
        count = i * hidden + hidden + hidden * o + o
    if design.endswith("_res") and place == "outer":
        count += i * o + o
    return count + (2 * i + 2 * o if "_ln" in design else 0)


@pytest.mark.parametrize(("design", "place"), EVERY)
def test_a_link_maps_any_leading_shape_to_the_target_width(design: str, place: Place) -> None:
    link = build(design, place)
    for shape in ((), (3,), (2, 5)):
        assert link(inputs(*shape, link.d_in)).shape == (*shape, link.d_out)


@pytest.mark.parametrize(("design", "place"), EVERY)
def test_a_link_equals_its_formula(design: str, place: Place) -> None:
    link = build(design, place)
    x = inputs(7, link.d_in)
    torch.testing.assert_close(link(x), longhand(design, place, link.state_dict(), x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("design", "place"), EVERY)
def test_a_float32_link_returns_what_it_was_given_and_computes_in_float32(design: str, place: Place) -> None:
    link = build(design, place).float()
    x = inputs(3, link.d_in)
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        z = link(x.to(dtype))
        assert z.dtype == dtype
        torch.testing.assert_close(z, link(x.to(dtype).float()).to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize(("design", "place"), EVERY)
def test_a_saved_link_loads_to_the_same_outputs(design: str, place: Place, tmp_path: Path) -> None:
    link, other = build(design, place), Link(design, place, *WIDTHS[place]).double()
    save_file(link.state_dict(), tmp_path / "link.safetensors")
    other.load_state_dict(load_file(tmp_path / "link.safetensors"))
    x = inputs(3, link.d_in)
    assert torch.equal(link(x), other(x))


@pytest.mark.parametrize(("design", "place"), EVERY)
def test_every_parameter_of_a_link_gets_a_finite_gradient(design: str, place: Place) -> None:
    link = build(design, place)
    link(inputs(5, link.d_in)).pow(3).sum().backward()
    for name, parameter in link.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(("design", "place"), EVERY)
@pytest.mark.parametrize("widths", [(5, 5), (7, 3), (3, 7)])
def test_the_parameter_count_is_the_formula_of_the_widths(design: str, place: Place, widths: tuple[int, int]) -> None:
    d_in, d_out = (widths[0], widths[0]) if place == "inner" else widths
    expected = closed_form_count(design, place, d_in, d_out)
    assert Link(design, place, d_in, d_out).num_parameters == expected
    assert count_parameters(design, place, d_in, d_out) == expected


@pytest.mark.parametrize(
    ("width", "count"),
    [(1536, 4_727_808), (2048, 8_400_896), (2560, 13_122_560), (3072, 18_892_800), (4096, 33_579_008)],
)
def test_an_inner_link_as_released_has_the_released_count(width: int, count: int) -> None:
    assert count_parameters("mlp_ln_res", "inner", width, width) == count


@pytest.mark.parametrize(
    ("d_in", "d_out", "count"),
    [(2048, 2048, 20_987_904), (2048, 1536, 14_169_088), (1536, 2048, 17_841_152)],
)
def test_an_outer_link_as_released_has_the_released_count(d_in: int, d_out: int, count: int) -> None:
    assert count_parameters("mlp_ln_res", "outer", d_in, d_out) == count


@pytest.mark.parametrize(
    ("widths", "inner", "outer"), [((2048, 2048, 1536), 21.5, 53.0), ((2560, 3072, 2560), 45.1, 112.0)]
)
def test_the_released_sequential_systems_have_the_published_totals(
    widths: tuple[int, ...], inner: float, outer: float
) -> None:
    loop = zip(widths, (*widths[1:], widths[0]), strict=True)
    assert round(sum(count_parameters("mlp_ln_res", "inner", d, d) for d in widths) / 1e6, 1) == inner
    assert round(sum(count_parameters("mlp_ln_res", "outer", i, o) for i, o in loop) / 1e6, 1) == outer


@pytest.mark.parametrize(
    ("widths", "inner", "outer"), [((2048, 2048, 1536), 21.5, 31.8), ((2560, 3072, 2560), 45.1, 67.2)]
)
def test_the_matrices_of_equations_3_and_4_have_the_papers_totals(
    widths: tuple[int, ...], inner: float, outer: float
) -> None:
    def matrices(place: Place, d_in: int, d_out: int) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in Link("mlp_res", place, d_in, d_out).parameters() if p.dim() == 2)

    loop = zip(widths, (*widths[1:], widths[0]), strict=True)  # the totals are sums of figures rounded link by link
    assert sum(round(matrices("inner", d, d) / 1e6, 1) for d in widths) == pytest.approx(inner)
    assert sum(round(matrices("outer", i, o) / 1e6, 1) for i, o in loop) == pytest.approx(outer)


def test_an_unknown_design_is_refused_with_the_nearest() -> None:
    with pytest.raises(LinkError, match=r"unknown link design 'mlp_rez' .*Did you mean 'mlp_res'\?"):
        Link("mlp_rez", "outer", 4, 4)
    with pytest.raises(LinkError, match="unknown link design 'nothing'"):
        check_design("nothing")


def test_an_inner_link_of_two_widths_is_refused() -> None:
    with pytest.raises(LinkError, match=r"inner link 4 -> 5: .*Use an outer link"):
        Link("mlp", "inner", 4, 5)


def test_the_soft_token_is_an_inner_design_only() -> None:
    assert set(known_designs("inner")) - set(known_designs("outer")) == {SOFT_TOKEN}


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
@pytest.mark.parametrize("tau", [0.3, 1.0, 4.0])
def test_a_soft_token_is_the_embedding_expected_under_the_softmax(family: str, tau: float) -> None:
    model = backbone(family)
    h = inputs(2, 3, model.dim)
    table = model.embed(torch.arange(model.model.get_input_embeddings().num_embeddings))  # scaled where the module does
    expected = torch.softmax(model.logits(h) / tau, -1) @ table
    torch.testing.assert_close(SoftToken(model, tau)(h), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [(), (5,), (7, 3)])
def test_a_soft_token_of_a_few_rows_at_a_time_is_to_the_bit_the_one_with_a_gradient(
    rows: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rmas.link.design._BLOCK", 1)  # one row a core
    model = tiny_backbone("llama", dtype=dtype)
    h = inputs(*rows, model.dim).to(dtype)
    soft = SoftToken(model, 0.7)
    at_once = soft(h.clone().requires_grad_())
    assert at_once.requires_grad
    assert torch.equal(soft(h), at_once)


def test_a_soft_token_holds_no_parameter_and_keeps_the_inputs_dtype() -> None:
    soft = SoftToken(backbone("llama"))
    assert list(soft.parameters()) == []
    assert soft.num_parameters == 0 == count_parameters(SOFT_TOKEN, "inner", 32, 32)
    assert soft(inputs(2, 32)).dtype == torch.float64


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan")])
def test_a_soft_token_needs_a_temperature_above_zero(tau: float) -> None:
    with pytest.raises(LinkError, match=f"tau is {tau}, expected a number above 0"):
        SoftToken(backbone("llama"), tau)
