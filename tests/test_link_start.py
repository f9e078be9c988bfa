"""Starts: closed-form values are what they claim to be, and a started link can still train."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from rmas.link import LINKS, Affine, Link, Place, fit_affine, mean_norm, write_affine, write_identity

D_IN, D_OUT, N = 12, 8, 400
EVERY: list[tuple[str, Place]] = [(design, place) for design in LINKS for place in ("inner", "outer")]
# An inner `mlp_ln_res` has no matrix on its residual path, so it holds one gain a dimension, not the affine map.
NORMED = [("mlp_ln", "inner"), ("mlp_ln", "outer"), ("mlp_ln_res", "outer")]
PLAIN = [(design, place) for design, place in EVERY if not LINKS[design].norms]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(place: Place) -> tuple[Tensor, Tensor]:
    """Inputs x_ND, and targets y_NE that are nearly an affine map of them."""
    d_out = D_IN if place == "inner" else D_OUT
    x_ND = draw(N, D_IN) * 3
    matrix_ED = draw(d_out, D_IN, seed=1)
    return x_ND, x_ND @ matrix_ED.T + draw(d_out, seed=2) + 0.1 * draw(N, d_out, seed=3)


def fresh(design: str, place: Place, dtype: torch.dtype = torch.float64) -> Link:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Link(design, place, D_IN, D_IN if place == "inner" else D_OUT).to(dtype)


def started(design: str, place: Place) -> tuple[Link, Affine, Tensor, Tensor]:
    """A link after write_affine, with the map and the data it was written from."""
    link, (x_ND, y_NE) = fresh(design, place), problem(place)
    affine = fit_affine(x_ND, y_NE)
    write_affine(link, affine, x_ND, y_NE)
    return link, affine, x_ND, y_NE


def test_a_known_affine_map_is_recovered() -> None:
    x_ND, matrix_ED, bias_E = draw(N, D_IN), draw(D_OUT, D_IN, seed=1), draw(D_OUT, seed=2)
    fit = fit_affine(x_ND, x_ND @ matrix_ED.T + bias_E, strength=1e-12)
    torch.testing.assert_close(fit.matrix, matrix_ED, rtol=0, atol=1e-8)
    torch.testing.assert_close(fit.bias, bias_E, rtol=0, atol=1e-8)


@pytest.mark.parametrize("strength", [1e-6, 1e-2, 1.0])
def test_the_ridge_regression_equals_the_normal_equations_with_a_free_bias(strength: float) -> None:
    x_ND, y_NE = draw(50, D_IN) + 2, draw(50, D_OUT, seed=1)
    fit = fit_affine(x_ND, y_NE, strength=strength)
    ones_ND = torch.cat([x_ND, torch.ones(50, 1, dtype=torch.float64)], dim=1)
    centred = x_ND - x_ND.mean(0)
    penalty = torch.eye(D_IN + 1, dtype=torch.float64) * strength * centred.square().sum(0).mean()
    penalty[-1, -1] = 0  # the bias is not penalised
    solution = torch.linalg.solve(ones_ND.T @ ones_ND + penalty, ones_ND.T @ y_NE)
    torch.testing.assert_close(fit.matrix, solution[:-1].T, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fit.bias, solution[-1], rtol=1e-9, atol=1e-9)


def test_a_stronger_ridge_is_a_smaller_map() -> None:
    x_ND, y_NE = problem("outer")
    norms = [float(fit_affine(x_ND, y_NE, strength=s).matrix.norm()) for s in (1e-4, 1.0, 100.0)]
    assert norms == sorted(norms, reverse=True)


def test_the_strength_means_the_same_at_every_scale() -> None:
    x_ND, y_NE = problem("outer")
    small, large = fit_affine(x_ND, y_NE), fit_affine(x_ND * 1000, y_NE)
    torch.testing.assert_close(small.matrix, large.matrix * 1000, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("design", "place"), PLAIN)
def test_a_design_without_norms_starts_as_the_affine_map(design: str, place: Place) -> None:
    link, affine, x_ND, y_NE = started(design, place)
    scaled = affine.scaled(mean_norm(y_NE) / mean_norm(affine(x_ND)))
    works_by_gelu = LINKS[design].layers == 2 and link.residual_proj is None
    error = (link(x_ND) - scaled(x_ND)).norm() / scaled(x_ND).norm()
    assert error < (1e-4 if works_by_gelu else 1e-12)


@pytest.mark.parametrize(("design", "place"), NORMED)
def test_a_design_with_norms_keeps_the_direction_of_the_affine_map(design: str, place: Place) -> None:
    link, affine, x_ND, _ = started(design, place)
    expected = affine(x_ND)
    centred = expected - expected.mean(-1, keepdim=True)  # what a LayerNorm lets through
    limit = 0.9999 if design == "mlp_ln_res" else 0.95  # mlp_ln sees its input divided by the input's own spread
    assert cosine_similarity(link(x_ND), centred).mean() > limit


def test_an_inner_mlp_ln_res_starts_as_the_best_gain_of_each_dimension() -> None:
    link, _, x_ND, y_NE = started("mlp_ln_res", "inner")
    u_ND = torch.nn.functional.layer_norm(x_ND, (D_IN,))
    best = torch.empty_like(y_NE)
    for d in range(D_IN):
        design = torch.stack([u_ND[:, d], torch.ones(N, dtype=torch.float64)], dim=1)
        best[:, d] = design @ torch.linalg.lstsq(design, y_NE[:, d : d + 1]).solution[:, 0]
    best *= mean_norm(y_NE) / mean_norm(best)
    torch.testing.assert_close(link(x_ND), best, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("design", "place"), EVERY)
def test_an_aligned_link_has_the_mean_norm_of_the_targets(design: str, place: Place) -> None:
    link, _, x_ND, y_NE = started(design, place)
    assert mean_norm(link(x_ND).detach()) == pytest.approx(mean_norm(y_NE), rel=1e-4)


@pytest.mark.parametrize(("design", "place"), EVERY)
def test_an_aligned_link_in_float32_equals_the_one_in_float64(design: str, place: Place) -> None:
    link, affine, x_ND, y_NE = started(design, place)
    single = fresh(design, place, torch.float32)
    write_affine(single, affine, x_ND, y_NE)
    error = (single(x_ND.float()).double() - link(x_ND)).norm() / link(x_ND).norm()
    assert error < 1e-4


@pytest.mark.parametrize(("design", "place"), EVERY)
@pytest.mark.parametrize("start", ["align", "identity"])
def test_the_mlp_beside_a_residual_path_starts_at_zero(design: str, place: Place, start: str) -> None:
    """Outer residual designs and mlp_ln_res always; an inner residual is x itself, so its branch may hold the map."""
    link = started(design, place)[0] if start == "align" else fresh(design, place)
    if start == "identity":
        write_identity(link)
    axes = LINKS[design]
    last = link.proj2 if link.proj2 is not None else link.proj1
    starts_at_zero = axes.residual and (place == "outer" or axes.norms or start == "identity")
    assert bool((last.weight == 0).all() and (last.bias == 0).all()) == starts_at_zero


@pytest.mark.parametrize(("design", "place"), PLAIN)
def test_the_identity_start_is_nearly_the_identity(design: str, place: Place) -> None:
    link = fresh(design, place)
    write_identity(link)
    x_ND = draw(N, D_IN) * 3
    torch.testing.assert_close(link(x_ND), x_ND[:, : link.d_out], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("design", "place"), [(d, p) for d, p in EVERY if LINKS[d].norms])
def test_the_identity_start_keeps_the_direction_through_layer_norms(design: str, place: Place) -> None:
    link = fresh(design, place)
    write_identity(link)
    x_ND = draw(N, D_IN) * 3
    kept = x_ND[:, : link.d_out]
    centred = kept - kept.mean(-1, keepdim=True)
    assert cosine_similarity(link(x_ND), centred).min() > 0.999


@pytest.mark.parametrize("design", LINKS)
def test_the_identity_start_pads_a_wider_target_with_zeros(design: str) -> None:
    link = Link(design, "outer", D_OUT, D_IN).double()
    write_identity(link)
    z = link(draw(5, D_OUT))
    assert z.shape == (5, D_IN)
    if not LINKS[design].norms:
        torch.testing.assert_close(z[:, D_OUT:], torch.zeros_like(z[:, D_OUT:]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("design", "place"), EVERY)
@pytest.mark.parametrize("start", ["align", "identity"])
def test_a_started_link_still_trains(design: str, place: Place, start: str) -> None:
    link, (x_ND, y_NE) = fresh(design, place), problem(place)
    if start == "align":
        write_affine(link, fit_affine(x_ND, y_NE), x_ND, y_NE)
    else:
        write_identity(link)
    before = link(x_ND).detach()
    target = draw(*y_NE.shape, seed=9)
    loss = (link(x_ND) - target).square().mean()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in link.parameters() if p.grad is not None)
    last = link.proj2 if link.proj2 is not None else link.proj1
    assert last.weight.grad is not None
    assert last.weight.grad.abs().max() > 0
    with torch.no_grad():
        for parameter in link.parameters():
            assert parameter.grad is not None
            parameter.sub_(1e-6 * parameter.grad)
    assert (link(x_ND) - before).abs().max() > 0
    assert (link(x_ND) - target).square().mean() < loss


def test_starts_draw_no_random_number() -> None:
    x_ND, y_NE = problem("outer")
    state = torch.random.get_rng_state()
    link = Link("linear", "outer", D_IN, D_OUT)
    torch.random.set_rng_state(state)
    write_affine(link, fit_affine(x_ND, y_NE), x_ND, y_NE)
    write_identity(link)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_weight_counts_like_that_many_copies_of_the_row() -> None:
    generator = torch.Generator().manual_seed(0)
    x_ND, y_NE = (torch.randn(12, width, generator=generator) for width in (4, 3))
    weights = torch.tensor([1.0, 2.0, 3.0] * 4)
    copies = weights.long()
    weighed = fit_affine(x_ND, y_NE, weights)
    repeated = fit_affine(x_ND.repeat_interleave(copies, dim=0), y_NE.repeat_interleave(copies, dim=0))
    torch.testing.assert_close(weighed.matrix, repeated.matrix)
    torch.testing.assert_close(weighed.bias, repeated.bias)
    assert mean_norm(x_ND, weights) == pytest.approx(mean_norm(x_ND.repeat_interleave(copies, dim=0)))
