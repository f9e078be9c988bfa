"""The equalities that define correctness (design page, §9): the interpreter against its slow twins.

Each holds in float64, turn by turn: a difference is caught where it arises, before the recursion can blow it up.
"""

from functools import cache

import pytest
import torch
from torch import Tensor

from reference import Setup, reference
from rmas.engine import Heads, LatentChannel, Sampling, TextChannel, read, run
from rmas.prompt import Question
from rmas.system import System
from zoo import (
    FAMILIES,
    LOOPS,
    NEW_TOKENS,
    PATTERNS,
    QUESTION,
    QUESTIONS,
    Finished,
    M,
    Recorder,
    assert_close,
    assert_same_turns,
    backbone,
    greedily,
    latent_run,
    message_tensor,
    noise,
    pair,
    tiny_system,
    tolerance,
    with_context,
    written,
)

MIXED = ("llama", "gemma3_text", "qwen2")


def text_run(
    system: System, questions: tuple[Question, ...], *, share_heads: bool = True
) -> tuple[list[list[list[int]]], Finished]:
    """Every message turn's ids by row, and the end of the run."""
    recorder = Recorder(TextChannel(sampling=Sampling(max_new_tokens=3)))
    with torch.inference_mode():
        end = run(system, questions, rounds=2, channel=recorder, speak=greedily(NEW_TOKENS), share_heads=share_heads)
    return [[row.ids for row in written(thought)] for _, thought in recorder.thoughts], end


@cache
def baseline(family: str) -> tuple[list[tuple[str, Tensor]], Finished]:
    """The fast path on three questions of unequal lengths: cached, batched, heads shared. R = 2."""
    return latent_run(pair(family), QUESTIONS)


# 4. engine = reference


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_engine_equals_longhand_reference(pattern: str, rounds: int) -> None:
    system = tiny_system(pattern, MIXED)
    question = with_context(QUESTION, system.pattern)
    thoughts, end = latent_run(system, (question,), rounds=rounds)
    expected = reference(pattern, Setup(system, question, rounds, M, NEW_TOKENS))
    assert_same_turns([(turn, z_BMD[0]) for turn, z_BMD in thoughts], expected.thoughts, tolerance(*MIXED))
    assert end.ids == [expected.ids]


@pytest.mark.parametrize("pattern", ["sequential", "mixture"])
def test_engine_with_the_shipped_prompts_equals_longhand_reference(pattern: str) -> None:
    system = tiny_system(pattern, ("mistral", "gpt2"), pack="native")
    thoughts, end = latent_run(system, (QUESTION,))
    expected = reference(pattern, Setup(system, QUESTION, 2, M, 2))
    assert_same_turns([(turn, z_BMD[0]) for turn, z_BMD in thoughts], expected.thoughts, tolerance("mistral", "gpt2"))
    assert end.ids[0][:2] == expected.ids


@pytest.mark.parametrize("family", FAMILIES)
def test_engine_on_each_family_equals_longhand_reference(family: str) -> None:
    thoughts, end = baseline(family)
    expected = reference("deliberation", Setup(pair(family), QUESTIONS[0], 2, M, NEW_TOKENS))
    assert_same_turns([(turn, z_BMD[0]) for turn, z_BMD in thoughts], expected.thoughts, tolerance(family))
    assert end.ids[0] == expected.ids


@pytest.mark.parametrize("family", FAMILIES)
def test_questions_rounds_and_steps_differ_by_far_more_than_the_tolerance(family: str) -> None:
    """What the equalities would miss if tiny models were deaf."""
    thoughts, clear = dict(baseline(family)[0]), 100 * tolerance(family)
    first, second = thoughts["1 reflector"], thoughts["2 reflector"]
    assert (first[0] - first[1]).abs().max() > clear
    assert (first - second).abs().max() > clear
    assert (first[:, 0] - first[:, 1]).abs().max() > clear


@pytest.mark.parametrize("pattern", LOOPS)
def test_each_role_hears_the_round_before(pattern: str) -> None:
    system = tiny_system(pattern, MIXED)
    thoughts = dict(latent_run(system, (QUESTION,), rounds=3)[0])
    for role in system.pattern.roles:
        assert (thoughts[f"1 {role}"] - thoughts[f"2 {role}"]).abs().max() > 100 * tolerance(*MIXED)


# 1. cached = recomputed (gradients: test_equalities_gradients.py)


@pytest.mark.parametrize("family", FAMILIES)
def test_cached_run_equals_recomputed_run(family: str) -> None:
    cached, end = baseline(family)
    recomputed, slow_end = latent_run(pair(family), QUESTIONS, cached=False, share_heads=False)
    assert_same_turns(cached, recomputed, tolerance(family))
    assert end.ids == slow_end.ids


# 2. a batch of unequal lengths = its members alone


@pytest.mark.parametrize("family", FAMILIES)
def test_latent_batch_of_unequal_lengths_equals_singles(family: str) -> None:
    shared, end = baseline(family)
    whole, _ = latent_run(pair(family), QUESTIONS, share_heads=False)
    for i, question in enumerate(QUESTIONS):
        single, single_end = latent_run(pair(family), (question,))
        for batch in (shared, whole):
            assert_same_turns([(turn, z_BMD[i : i + 1]) for turn, z_BMD in batch], single, tolerance(family))
        assert single_end.ids == [end.ids[i]]


@pytest.mark.parametrize("family", FAMILIES)
def test_text_batch_of_unequal_lengths_equals_singles(family: str) -> None:
    messages, end = text_run(pair(family), QUESTIONS)
    whole_messages, whole_end = text_run(pair(family), QUESTIONS, share_heads=False)
    assert (messages, end.ids) == (whole_messages, whole_end.ids)
    for i, question in enumerate(QUESTIONS):
        single, single_end = text_run(pair(family), (question,))
        assert [ids[i] for ids in messages] == [ids[0] for ids in single]
        assert single_end.ids == [end.ids[i]]


@pytest.mark.parametrize("family", FAMILIES)
def test_messages_of_unequal_lengths_in_one_batch_equal_singles(family: str) -> None:
    """Given messages, so that their lengths surely differ: read from shared heads, and whole."""
    system = pair(family)
    agent, payload = system.agents["toolcaller"], [noise(n, backbone(family).dim, seed=n) for n in (4, 1, 7)]
    prompts = [system.render("toolcaller", q, frozenset(["reflector"])) for q in QUESTIONS]
    with torch.inference_mode():
        for heads in (Heads(), None):
            batch = read(agent, prompts, {"reflector": payload}, heads=heads)
            for i, prompt in enumerate(prompts):
                alone = read(agent, [prompt], {"reflector": [payload[i]]})
                assert_close(batch.h_BD[i], alone.h_BD[0], tolerance(family))
                assert batch.lengths[i] == alone.lengths[0] == prompt.num_tokens + len(payload[i])


# 3. training forward = inference forward


@pytest.mark.parametrize("family", FAMILIES)
def test_forward_with_gradients_equals_forward_in_inference(family: str) -> None:
    channel = Recorder(LatentChannel(latent_steps=M, cached=backbone(family).grad_through_cache))
    with torch.enable_grad():
        run(pair(family), QUESTIONS, rounds=2, channel=channel, speak=lambda last: None)
    inference, _ = baseline(family)
    assert all(z_BMD.requires_grad for _, z_BMD in channel.latents)
    assert_same_turns([(turn, z_BMD.detach()) for turn, z_BMD in channel.latents], inference, tolerance(family))


# 10. both channels walk the same way


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_text_and_latent_channels_visit_the_same_turns(pattern: str, rounds: int) -> None:
    system = tiny_system(pattern, ["llama"])
    visits = []
    for channel in (LatentChannel(latent_steps=2), TextChannel(sampling=Sampling(max_new_tokens=2))):
        with torch.inference_mode():
            end = run(system, [QUESTION], rounds=rounds, channel=channel, speak=greedily(1))
        turns = [(turn.round, turn.role) for turn in end.last.log.turns[0]]
        visits.append([*turns, (end.last.round, end.last.agent.role)])
    assert visits[0] == visits[1]
    assert visits[0] == [(r, role) for r in range(1, rounds + 1) for role in visiting_order(system, r == rounds)]


def visiting_order(system: System, is_last: bool) -> list[str]:
    roles = list(system.pattern.roles)
    return roles[: roles.index(system.pattern.answerer) + 1] if is_last else roles


def test_a_thought_is_what_the_outer_links_carry() -> None:
    system = tiny_system("mixture", MIXED)
    recorder = Recorder(LatentChannel(latent_steps=M))
    with torch.inference_mode():
        run(system, QUESTIONS, rounds=2, channel=recorder, speak=lambda last: None)
    thoughts = {turn: message_tensor(thought) for turn, thought in recorder.thoughts}
    edges = [(turn, edge) for turn in thoughts for edge in system.pattern.out_of(turn.split()[1])]
    for (turn, edge), payload in zip(edges, recorder.carried, strict=True):
        assert isinstance(payload, Tensor)
        assert payload.shape == (len(QUESTIONS), M, system.backbones[edge.target].dim)
        with torch.inference_mode():
            assert_close(payload, system.link(edge)(thoughts[turn]), 0)
