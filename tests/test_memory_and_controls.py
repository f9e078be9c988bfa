"""What edges remember, what the answerer would say early, prompt beginnings shared in a batch, and the controls."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rmas.engine import (
    Agent,
    Channel,
    ConstantChannel,
    Controlled,
    Heads,
    LastTurn,
    LatentChannel,
    TextChannel,
    read,
    run,
)
from rmas.engine.run import remember
from rmas.errors import ConfigError, LinkError
from rmas.link import ConstantMessage
from rmas.prompt import Question
from rmas.settings import CONDITIONS, CONTROLS, MEMORIES, Control, Memory, RunConfig, Sampling
from rmas.solvers import RecursiveSolver
from rmas.system import System
from zoo import (
    FAMILIES,
    LOOPS,
    QUESTION,
    QUESTIONS,
    CountingBackbone,
    Finished,
    M,
    Recorder,
    assert_close,
    backbone,
    greedily,
    noise,
    pair,
    tiny_system,
    tolerance,
)

ALIKE = tuple(
    Question(text=f"How many legs have {count}?") for count in ("three cats", "2 ants", "eleven spiders", "5")
)


def answer(system: System, channel: Channel, *, rounds: int = 2, questions: Sequence[Question] = QUESTIONS) -> Finished:
    with torch.inference_mode():
        return run(system, questions, rounds=rounds, channel=channel, speak=greedily(4))


# Memory


def with_memory(system: System, memory: Memory) -> System:
    system.spec = replace(system.spec, memory=memory)
    return system


@pytest.mark.parametrize("memory", MEMORIES)
def test_an_edge_holds_what_its_memory_says(memory: Memory) -> None:
    system = with_memory(tiny_system("deliberation", ["llama", "qwen2"]), memory)
    recorder = Recorder(LatentChannel(latent_steps=M))
    inbox = answer(system, recorder, rounds=3).last.inbox["reflector"]
    written = [
        z for z, (turn, _) in zip(recorder.carried, recorder.thoughts, strict=True) if turn.endswith("reflector")
    ]
    tensors = [z for z in written if isinstance(z, Tensor)]
    assert len(tensors) == 3
    expected = {"latest": tensors[-1], "sum": tensors[0] + tensors[1] + tensors[2], "all": torch.cat(tensors, dim=1)}
    assert isinstance(inbox, Tensor)
    assert_close(inbox, expected[memory], 0)


@pytest.mark.parametrize("memory", MEMORIES)
def test_memory_makes_no_difference_in_the_first_round(memory: Memory) -> None:
    ends = [
        answer(with_memory(tiny_system("sequential"), chosen), LatentChannel(latent_steps=M), rounds=1)
        for chosen in ("latest", memory)
    ]
    assert ends[0].ids == ends[1].ids


def test_texts_cannot_be_summed() -> None:
    with pytest.raises(ConfigError, match=r"memory is 'sum', but only latents can be added. Use latest or all"):
        remember("sum", [noise(3, 4)], [noise(2, 4)])


def test_texts_of_all_rounds_stand_in_a_row() -> None:
    old, new = [noise(3, 4), noise(1, 4, seed=1)], [noise(2, 4, seed=2), noise(2, 4, seed=3)]
    rows = remember("all", old, new)
    assert [len(row) for row in rows] == [5, 3]
    assert_close(rows[0], torch.cat([old[0], new[0]]), 0)


# Early answers


@pytest.mark.parametrize("pattern", LOOPS)
def test_an_early_turn_speaks_what_a_shorter_run_would(pattern: str) -> None:
    system = tiny_system(pattern, ["llama", "qwen2"])
    channel = LatentChannel(latent_steps=M)
    speak, early = greedily(4), []

    def listen(turn: LastTurn) -> None:
        early.append(speak(turn))

    with torch.inference_mode():
        last = run(system, QUESTIONS, rounds=3, channel=channel, speak=speak, early=listen)
    for rounds, end in enumerate([*early, last], start=1):
        shorter = answer(system, channel, rounds=rounds)
        assert end.last.round == rounds
        assert end.ids == shorter.ids
        assert_close(end.last.read().h_BD, shorter.last.read().h_BD, 1e-9)


# What a batch's prompts begin with alike


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_beginning_equals_whole_prompts(family: str) -> None:
    system, inbox = pair(family), {"reflector": noise(len(ALIKE), M, backbone(family).dim)}
    agent = system.agents["toolcaller"]
    prompts = [system.render("toolcaller", question, frozenset(inbox)) for question in ALIKE]
    with torch.inference_mode():
        shared = read(agent, prompts, inbox, heads=Heads(room=4))
        whole = read(agent, prompts, inbox)
    assert_close(shared.h_BD, whole.h_BD, tolerance(family))
    assert shared.lengths == whole.lengths


def test_a_shared_beginning_is_read_for_one_row() -> None:
    counting = CountingBackbone(backbone("llama"))
    agent = Agent(role="toolcaller", backbone=counting, inner=pair("llama").inner["toolcaller"])
    prompts = [pair("llama").render("toolcaller", question, frozenset()) for question in ALIKE]
    with torch.inference_mode():
        read(agent, prompts, {}, heads=Heads(room=4))
    (one, common), (rows, rest), _ = counting.reads
    assert (one, rows) == (1, len(ALIKE))
    assert common + rest == max(len(prompt.head) for prompt in prompts)
    assert common > 10


@pytest.mark.parametrize("room", [None, 10_000])
def test_a_window_that_might_not_hold_all_gets_no_gap(room: int | None) -> None:
    counting = CountingBackbone(backbone("gemma3_text"))
    agent = Agent(role="toolcaller", backbone=counting, inner=pair("gemma3_text").inner["toolcaller"])
    prompts = [pair("gemma3_text").render("toolcaller", question, frozenset()) for question in ALIKE]
    with torch.inference_mode():
        read(agent, prompts, {}, heads=Heads(room=room))
    assert {batch for batch, _ in counting.reads} == {len(ALIKE)}


# Controls


def test_shuffled_messages_come_from_another_question() -> None:
    system = tiny_system("deliberation", ["llama", "qwen2"])
    plain = answer(system, LatentChannel(latent_steps=M), rounds=1).last.inbox["reflector"]
    shuffled = answer(system, Controlled(channel=LatentChannel(latent_steps=M), control="shuffled"), rounds=1)
    payload = shuffled.last.inbox["reflector"]
    assert isinstance(plain, Tensor)
    assert isinstance(payload, Tensor)
    assert_close(payload, plain.roll(1, dims=0), 1e-9)


def test_shuffled_texts_come_from_another_question() -> None:
    system = tiny_system("deliberation", ["llama"])
    channel = TextChannel(sampling=Sampling(max_new_tokens=3))
    plain = answer(system, channel, rounds=1).last.inbox["reflector"]
    shuffled = answer(system, Controlled(channel=channel, control="shuffled"), rounds=1).last.inbox["reflector"]
    for place in range(len(QUESTIONS)):
        assert_close(shuffled[place], plain[place - 1], 0)


def test_zeroed_messages_are_zero() -> None:
    end = answer(tiny_system("sequential"), Controlled(channel=LatentChannel(latent_steps=M), control="zeroed"))
    assert all(not torch.as_tensor(payload).any() for payload in end.last.inbox.values())


def test_noise_keeps_every_latents_length_and_nothing_else() -> None:
    system = tiny_system("deliberation", ["llama", "qwen2"])
    channel = LatentChannel(latent_steps=M)
    plain = torch.as_tensor(answer(system, channel, rounds=1).last.inbox["reflector"])
    noised = [
        torch.as_tensor(
            answer(system, Controlled(channel=channel, control="noise", seed=s), rounds=1).last.inbox["reflector"]
        )
        for s in (0, 0, 1)
    ]
    assert_close(noised[0].norm(dim=-1), plain.norm(dim=-1), 1e-6)
    assert_close(noised[0], noised[1], 0)
    assert not torch.allclose(noised[0], noised[2])
    assert torch.nn.functional.cosine_similarity(noised[0], plain, dim=-1).abs().max() < 0.9


def message(control: Control, *, seed: int = 0, questions: Sequence[Question] = QUESTIONS) -> Tensor:
    """What the answerer reads after one round: real or controlled latents z_BMD."""
    channel = Controlled(channel=LatentChannel(latent_steps=M), control=control, seed=seed)
    system = tiny_system("deliberation", ["llama", "qwen2"])
    return torch.as_tensor(answer(system, channel, rounds=1, questions=questions).last.inbox["reflector"])


def real_message() -> Tensor:
    system = tiny_system("deliberation", ["llama", "qwen2"])
    return torch.as_tensor(answer(system, LatentChannel(latent_steps=M), rounds=1).last.inbox["reflector"])


def test_the_mean_message_is_that_of_the_other_questions() -> None:
    real_BMD, found_BMD = real_message(), message("mean")
    for place in range(len(QUESTIONS)):
        others = [row for number, row in enumerate(real_BMD) if number != place]
        assert_close(found_BMD[place], torch.stack(others).mean(0), 1e-9)


def test_a_rotation_keeps_lengths_and_angles_and_no_direction() -> None:
    plain, turned = real_message().flatten(0, 1), message("rotated").flatten(0, 1)
    assert_close(turned @ turned.T, plain @ plain.T, 1e-5)
    assert torch.nn.functional.cosine_similarity(turned, plain, dim=-1).abs().max() < 0.9
    assert not torch.allclose(message("rotated", seed=1).flatten(0, 1), turned)


def test_covariance_noise_has_the_mean_and_covariance_of_the_messages() -> None:
    """Over many draws; a single one lies in the span of the batch's vectors."""
    plain = real_message().flatten(0, 1).float()
    draws = torch.cat([message("covariance", seed=seed).flatten(0, 1) for seed in range(150)]).float()
    assert_close(draws.mean(0), plain.mean(0), 0.1 * float(plain.std()) + 0.05)
    found, expected = torch.cov(draws.T, correction=0), torch.cov(plain.T, correction=0)
    assert float((found - expected).norm() / expected.norm()) < 0.2
    assert not torch.allclose(draws[0], plain[0])


@pytest.mark.parametrize("control", ["noise", "zeroed", "rotated"])
def test_a_control_that_looks_at_one_question_does_not_depend_on_the_others(control: Control) -> None:
    alone = torch.cat([message(control, questions=[question]) for question in QUESTIONS])
    assert_close(message(control), alone, 1e-6)


@pytest.mark.parametrize("control", ["mean", "noise", "covariance", "rotated"])
def test_texts_have_no_such_control(control: Control) -> None:
    channel = Controlled(channel=TextChannel(sampling=Sampling(max_new_tokens=3)), control=control)
    with pytest.raises(ConfigError, match=f"control is {control}, which is for latents"):
        answer(tiny_system("deliberation", ["llama"]), channel, rounds=1)
    with pytest.raises(ConfigError, match=f"control is {control}, which is for latents"):
        RunConfig(channel="text", control=control)


def test_a_solver_runs_under_a_control_and_alone() -> None:
    system = tiny_system("deliberation", ["llama", "qwen2"])
    said = {name: RecursiveSolver(system, RunConfig(control=name)).solve(QUESTIONS) for name in CONDITIONS}
    assert all(
        len(a.trace.turns) == 2 * system.spec.rounds for name in CONDITIONS if name != "alone" for a in said[name]
    )
    assert all([turn.verb for turn in a.trace.turns] == ["speak"] for a in said["alone"])
    assert len({said["none"][0].prompt, said["alone"][0].prompt}) == 2


@pytest.mark.parametrize("control", CONTROLS)
def test_a_controlled_run_makes_the_same_turns(control: Control) -> None:
    system = tiny_system("sequential")
    plain = answer(system, LatentChannel(latent_steps=M)).last.log.turns
    controlled = answer(system, Controlled(channel=LatentChannel(latent_steps=M), control=control)).last.log.turns
    assert [[(t.round, t.role, t.tokens_in) for t in turns] for turns in plain] == [
        [(t.round, t.role, t.tokens_in) for t in turns] for turns in controlled
    ]


def test_one_question_cannot_be_shuffled() -> None:
    channel = Controlled(channel=LatentChannel(latent_steps=M), control="shuffled")
    with pytest.raises(ConfigError, match="this batch holds one question"):
        answer(tiny_system("sequential"), channel, questions=(QUESTION,))


def test_an_unknown_control_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'zeroed'"):
        Controlled(channel=LatentChannel(latent_steps=M), control="zero")  # type: ignore[arg-type]


# Constant messages


def test_a_constant_message_is_the_same_for_every_question_and_nobody_thinks() -> None:
    system = tiny_system("sequential", outer="constant")
    for link in system.outer.values():
        assert isinstance(link, ConstantMessage)
        torch.nn.init.normal_(link.message_MD)
    end = answer(system, ConstantChannel(latent_steps=M), rounds=3)
    payload = torch.as_tensor(end.last.inbox["critic"])
    link = system.outer["critic->solver"]
    assert isinstance(link, ConstantMessage)
    assert_close(payload, link.message_MD[:M].expand(len(QUESTIONS), -1, -1), 0)
    assert end.last.log.turns == ([], [], [])


def test_a_constant_message_hears_nothing_of_a_thought() -> None:
    system = tiny_system("sequential", outer="constant")
    silent = answer(system, ConstantChannel(latent_steps=M))
    thinking = answer(system, LatentChannel(latent_steps=M))
    assert silent.ids == thinking.ids


def test_a_constant_message_refuses_more_vectors_than_it_holds() -> None:
    with pytest.raises(LinkError, match="a constant of 2 vectors does not last for 3 latent steps"):
        ConstantMessage(2, 8)(noise(1, 3, 0))
