"""What is known about backbones, family by family: one suite over the table of tiny models, so a new row is tested.

`B` batch, `L` positions, `D` width, `V` vocabulary.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.cache_utils import DynamicCache

from rmas.backbone import HFBackbone, State, TextTokenizer
from rmas.backbone import hf as hf_module
from rmas.engine.turn import Agent, Read, rollout
from zoo import FAMILIES, HYBRID, assert_close, backbone, noise, tolerance

B, L = 3, 24
LENGTHS = (24, 5, 17)
pytestmark = pytest.mark.usefixtures("without_gradients")


@pytest.fixture
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> HFBackbone:
    return backbone(str(request.param))


def family(model: HFBackbone) -> str:
    return model.name.removeprefix("tiny:")


def token_ids(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed))


def left_padded(model: HFBackbone) -> tuple[Tensor, Tensor]:
    """x_BLD of unequal lengths, padding as zeros, and its mask."""
    mask_BL = torch.stack([torch.arange(L) >= L - length for length in LENGTHS])
    return model.embed(token_ids(B, L)) * mask_BL[..., None], mask_BL.to(torch.int64)


def read(
    model: HFBackbone, x_BLD: Tensor, mask_BL: Tensor | None = None, *, cached: bool = True
) -> tuple[Tensor, State]:
    return model.extend(model.start(cached=cached), x_BLD, mask_BL)


def from_config(config: Any) -> Any:
    """A random float64 model."""
    return AutoModelForCausalLM.from_config(config, dtype=torch.float64)


# Embeddings and heads


def test_embedding_goes_through_the_module(model: HFBackbone) -> None:
    ids_BL = token_ids(B, L)
    theirs = model.model(input_ids=ids_BL, output_hidden_states=True).hidden_states[0]
    if family(model) == "gpt2":  # adds its positions before the first layer
        theirs = theirs - model.model.transformer.wpe(torch.arange(L))
    assert_close(model.embed(ids_BL), theirs, 1e-12)


def test_gemma_scales_its_embeddings() -> None:
    model = backbone("gemma3_text")
    rows = model.model.get_input_embeddings().weight[:4]
    torch.testing.assert_close(model.embed(torch.arange(4)), rows * model.dim**0.5, rtol=1e-6, atol=0)


def test_expected_embedding_of_a_certain_token_is_its_embedding(model: HFBackbone) -> None:
    ids = torch.arange(20)
    one_hot = torch.nn.functional.one_hot(ids, len(model.tokenizer.hf)).double()
    assert_close(model.expected_embedding(one_hot), model.embed(ids), 1e-6)


def test_expected_embedding_is_the_mean_under_the_distribution(model: HFBackbone) -> None:
    p_V = noise(len(model.tokenizer.hf)).softmax(-1)
    mean_D = (p_V[:, None] * model.embed(torch.arange(len(p_V)))).sum(0)
    assert_close(model.expected_embedding(p_V), mean_D, 1e-6)


def test_logits_equal_the_models_own(model: HFBackbone) -> None:
    ids_BL = token_ids(B, L)
    h_BLD, _ = read(model, model.embed(ids_BL))
    assert_close(model.logits(h_BLD), model.model(input_ids=ids_BL).logits, tolerance(family(model)))


def test_logits_of_a_few_rows_equal_those_of_many(model: HFBackbone) -> None:
    h = noise(40, model.dim)
    many = model.logits(h)
    for few in (1, 3, 16):
        assert_close(torch.cat([model.logits(part) for part in h.split(few)]), many, 1e-12)
    assert_close(model.logits(h[:6].reshape(2, 3, model.dim)).flatten(0, 1), many[:6], 1e-12)


@pytest.mark.parametrize("capped", ["gemma2", "gemma3_text"])
def test_logits_keep_a_soft_cap(capped: str) -> None:
    config = AutoConfig.for_model(
        capped,
        vocab_size=300,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        initializer_range=0.5,
        final_logit_softcapping=2.0,
    )
    tokenizer = TextTokenizer(backbone("gemma3_text").tokenizer.hf)
    model = HFBackbone(from_config(config), tokenizer, name=capped)
    ids_BL = token_ids(B, L)
    h_BLD, _ = read(model, model.embed(ids_BL))
    logits = model.logits(h_BLD)
    assert_close(logits, model.model(input_ids=ids_BL).logits, 1e-6)
    assert 1.5 < logits.abs().max() <= 2  # the cap bites


def test_decoder_state_equals_the_last_hidden_state_after_the_norm(model: HFBackbone) -> None:
    x_BLD = model.embed(token_ids(B, L))
    h_BLD, _ = read(model, x_BLD)
    theirs = model.model(inputs_embeds=x_BLD, output_hidden_states=True).hidden_states[-1]
    assert_close(h_BLD, theirs, tolerance(family(model)))


def test_a_latent_step_never_touches_the_vocabulary_head(model: HFBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the head was called")

    monkeypatch.setattr(HFBackbone, "logits", refuse)
    h_BLD, state = read(model, model.embed(token_ids(B, L)))
    hook = model.model.get_output_embeddings().register_forward_pre_hook(refuse)
    try:
        z_BMD = rollout(Agent(role="a", backbone=model, inner=lambda h: h), Read(h_BLD[:, -1], state, (L,) * B), 4)
        with pytest.raises(AssertionError, match="the head was called"):
            model.model(inputs_embeds=h_BLD)
    finally:
        hook.remove()
    assert z_BMD.shape == (B, 4, model.dim)


# Padding and positions


@pytest.mark.parametrize("cached", [True, False])
def test_left_padding_is_harmless(model: HFBackbone, cached: bool) -> None:
    x_BLD, mask_BL = left_padded(model)
    batch, state = read(model, x_BLD, mask_BL, cached=cached)
    more_B1D, _ = model.extend(state, x_BLD[:, -1:])
    for i, length in enumerate(LENGTHS):
        alone, alone_state = read(model, x_BLD[i : i + 1, -length:], cached=cached)
        assert_close(batch[i, -length:], alone[0], tolerance(family(model)))
        assert_close(more_B1D[i], model.extend(alone_state, x_BLD[i : i + 1, -1:])[0][0], tolerance(family(model)))


def test_without_explicit_positions_left_padding_would_harm_gpt2() -> None:
    model = backbone("gpt2")
    x_BLD, mask_BL = left_padded(model)
    implicit = model.decoder(inputs_embeds=x_BLD, attention_mask=mask_BL).last_hidden_state[1, -5:]
    alone, _ = read(model, x_BLD[1:2, -5:])
    assert (implicit - alone[0]).abs().max() > 1e-2


def test_what_stands_in_the_padding_does_not_matter(model: HFBackbone) -> None:
    x_BLD, mask_BL = left_padded(model)
    other_BLD = torch.where(mask_BL[..., None] == 1, x_BLD, noise(B, L, model.dim))
    ours, theirs = read(model, x_BLD, mask_BL)[0], read(model, other_BLD, mask_BL)[0]
    assert_close(ours[mask_BL == 1], theirs[mask_BL == 1], tolerance(family(model)))


def test_float64_with_left_padding_is_finite_under_sdpa(model: HFBackbone) -> None:
    assert model.model.config._attn_implementation == "sdpa"
    x_BLD, mask_BL = left_padded(model)
    assert x_BLD.dtype == torch.float64
    for cached in (True, False):
        h_BLD, state = read(model, x_BLD, mask_BL, cached=cached)
        assert torch.isfinite(h_BLD).all()
        assert torch.isfinite(model.extend(state, x_BLD[:, :1])[0]).all()


def test_gaps_are_only_allowed_where_they_are_harmless(model: HFBackbone) -> None:
    """Padding in the middle: a head of 5 and 9 positions, then bodies of 3 and 6."""
    if model.gap_limit < 15:
        assert family(model) == "qwen3_5_text"
        return
    x_BLD = noise(2, 15, model.dim)
    head_mask, body_mask = torch.ones(2, 9, dtype=torch.int64), torch.ones(2, 6, dtype=torch.int64)
    head_mask[0, :4], body_mask[0, :3] = 0, 0
    _, state = read(model, x_BLD[:, :9], head_mask)
    gapped, _ = model.extend(state, x_BLD[:, 9:], body_mask)
    alone, _ = read(model, torch.cat([x_BLD[:1, 4:9], x_BLD[:1, 12:]], dim=1))
    assert_close(gapped[0, -3:], alone[0, -3:], tolerance(family(model)))


# States


@pytest.mark.parametrize("cached", [True, False])
def test_reading_in_chunks_equals_reading_at_once(model: HFBackbone, cached: bool) -> None:
    x_BLD, mask_BL = left_padded(model)
    whole, _ = read(model, x_BLD, mask_BL, cached=cached)
    state, chunks = model.start(cached=cached), []
    for first, last in ((0, 20), (20, 21), (21, L)):  # the shortest row begins inside the first chunk
        h_BLD, state = model.extend(state, x_BLD[:, first:last], mask_BL[:, first:last])
        chunks.append(h_BLD)
    assert state.length == L
    joined = torch.cat(chunks, dim=1)
    assert_close(joined[mask_BL == 1], whole[mask_BL == 1], tolerance(family(model)))


@pytest.mark.parametrize("cached", [True, False])
def test_a_long_read_beyond_the_sliding_window_is_the_same_in_steps(model: HFBackbone, cached: bool) -> None:
    x_BLD = model.embed(token_ids(1, 40, seed=1))
    whole, _ = read(model, x_BLD, cached=cached)
    h_BLD, state = read(model, x_BLD[:, :30], cached=cached)
    for position in range(30, 40):
        h_BLD, state = model.extend(state, x_BLD[:, position : position + 1])
        assert_close(h_BLD[:, 0], whole[:, position], tolerance(family(model)))


@pytest.mark.parametrize("cached", [True, False])
def test_extending_a_state_leaves_it_as_it_was(model: HFBackbone, cached: bool) -> None:
    x_BLD, mask_BL = left_padded(model)
    _, state = read(model, x_BLD, mask_BL, cached=cached)
    step_B1D, chunk_BLD = noise(B, 1, model.dim, seed=2), noise(B, 3, model.dim, seed=3)
    first, after = model.extend(state, step_B1D)
    model.extend(after, chunk_BLD)
    model.extend(state, chunk_BLD)
    again, _ = model.extend(state, step_B1D)
    assert torch.equal(first, again)
    assert (state.length, after.length) == (L, L + 1)


@pytest.mark.parametrize("cached", [True, False])
def test_a_selected_or_repeated_state_goes_on_as_its_rows(model: HFBackbone, cached: bool) -> None:
    x_BLD, mask_BL = left_padded(model)
    step_B1D = noise(B, 1, model.dim, seed=2)
    _, state = read(model, x_BLD, mask_BL, cached=cached)
    expected, _ = model.extend(state, step_B1D)
    for chosen, rows in ((state.select([2, 0]), [2, 0]), (state.repeat(2), [0, 0, 1, 1, 2, 2])):
        h_B1D, further = model.extend(chosen, step_B1D[rows])
        assert_close(h_B1D, expected[rows], tolerance(family(model)))
        assert further.length == L + 1
    assert torch.equal(model.extend(state, step_B1D)[0], expected)  # neither touched the state they came from


@pytest.mark.parametrize("cached", [True, False])
def test_joined_states_go_on_as_each_of_them_alone(model: HFBackbone, cached: bool) -> None:
    """Of unequal lengths and rows, one with padding of its own, shorter and longer than the sliding window."""
    padded, mask_BL = left_padded(model)
    parts = [read(model, noise(1, length, model.dim, seed=length), cached=cached)[1] for length in (7, 30, 15)]
    parts.insert(1, read(model, padded, mask_BL, cached=cached)[1])
    joined = parts[0].join(parts[1:])
    steps = [noise(B if number == 1 else 1, 1, model.dim, seed=number) for number in range(len(parts))]
    for _ in range(3):
        pairs = [model.extend(state, step) for state, step in zip(parts, steps, strict=True)]
        h_B1D, joined = model.extend(joined, torch.cat(steps))
        assert_close(h_B1D, torch.cat([h for h, _ in pairs]), tolerance(family(model)))
        steps, parts = [0.1 * h for h, _ in pairs], [state for _, state in pairs]
    assert joined.length == 33
    assert model.extend(parts[0].join([]), steps[0])[1].length == parts[0].length + 1


def test_keys_with_room_say_what_joined_keys_say(model: HFBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps beyond one room; then two branches from one state, each going on; other rows; a state from inference."""

    def walk() -> list[Tensor]:
        _, state = read(model, *left_padded(model))
        told = []
        for step in range(70):
            h_B1D, state = model.extend(state, noise(B, 1, model.dim, seed=step))
            told.append(h_B1D)
        left = right = state
        for step in range(3):
            h_left, left = model.extend(left, noise(B, 2, model.dim, seed=100 + step))
            h_right, right = model.extend(right, noise(B, 1, model.dim, seed=200 + step))
            told += [h_left, h_right]
        told.append(model.extend(right.select([2, 0, 2]), noise(B, 1, model.dim, seed=300))[0])
        with torch.inference_mode():
            _, there = read(model, *left_padded(model))
            _, there = model.extend(there, noise(B, 1, model.dim, seed=301))
        return [*told, model.extend(there, noise(B, 1, model.dim, seed=302))[0]]

    grown = walk()
    monkeypatch.setattr(hf_module, "new_cache", lambda config: DynamicCache(config=config))
    for ours, theirs in zip(grown, walk(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_empty_state_can_be_repeated(model: HFBackbone) -> None:
    x_BLD = noise(B, L, model.dim)
    for cached in (True, False):
        h_BLD, _ = model.extend(model.start(cached=cached).repeat(B), x_BLD)
        assert_close(h_BLD, read(model, x_BLD, cached=cached)[0], 0)


# Gradients


def gradient(model: HFBackbone, *, cached: bool) -> Tensor:
    """Of the last state with respect to the first inputs, two extensions apart."""
    with torch.enable_grad():
        x_BLD = noise(2, 10, model.dim).requires_grad_()
        _, state = model.extend(model.start(cached=cached), x_BLD[:, :8])
        _, state = model.extend(state, x_BLD[:, 8:9])
        h_BLD, _ = model.extend(state, x_BLD[:, 9:])
        (slope,) = torch.autograd.grad((h_BLD * noise(1, model.dim)).sum(), x_BLD)
    return slope


def test_gradients_through_the_cache_are_right_where_they_are_promised(model: HFBackbone) -> None:
    assert model.grad_through_cache == (family(model) not in HYBRID)
    recomputed = gradient(model, cached=False)
    assert recomputed[:, :8].abs().max() > 0
    if model.grad_through_cache:
        assert_close(gradient(model, cached=True), recomputed, tolerance(family(model)))


def test_no_gradient_flows_through_a_recurrent_cache() -> None:
    """transformers updates the recurrent state in place. If this ever passes, the hybrid family may train cached."""
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradient(backbone("qwen3_5_text"), cached=True)


def test_a_backbone_is_frozen(model: HFBackbone) -> None:
    assert not model.model.training
    assert all(not parameter.requires_grad for parameter in model.model.parameters())
    assert model.num_parameters == sum(parameter.numel() for parameter in model.model.parameters())
