"""Thoughts that halt: a latent message ends where its writer's text would, row by row, and costs what it took."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import pytest
import torch
from torch import Tensor

from rmas.backbone import Backbone
from rmas.conversation import Prompt
from rmas.engine import (
    Agent,
    Around,
    Heads,
    Inbox,
    LatentChannel,
    Payload,
    Read,
    Sampling,
    Thought,
    halting_rollout,
    read,
    rollout,
    run,
)
from rmas.errors import ConfigError
from rmas.link import SoftToken
from rmas.prompt import Question
from rmas.settings import Control
from rmas.solvers import LatentKVSolver, RecursiveSolver, RunConfig
from rmas.solvers.recursive import KIND
from rmas.system import System
from rmas.systemfile import load_spec
from rmas.train.diagnose import diagnose
from rmas.train.objective import outer_loss
from test_train_diagnose import config
from train_zoo import EXAMPLES, quiet, trainer_of
from zoo import (
    FAMILIES,
    QUESTIONS,
    CountingBackbone,
    Recorder,
    assert_close,
    backbone,
    greedily,
    message_tensor,
    tiny_system,
    tolerance,
)

M = 5


@final
@dataclass(frozen=True)
class Cut(Around):
    """The twin: M latents are thought, and what comes after a row's end is cut off. The ends are given, by turn."""

    lengths: dict[str, list[int]]

    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        thought = self.channel.think(agent, prompts, inbox, heads, salt)
        rows = zip(message_tensor(thought), self.lengths[salt], strict=True)
        return thought._replace(message=[z_MD[:length] for z_MD, length in rows])

    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        blocks = [block for block in thought.message or () if isinstance(block, Tensor)]
        return [link(z_MD[None])[0] for z_MD in blocks]


def halting(system: System, monkeypatch: pytest.MonkeyPatch) -> System:
    """The system with thoughts that halt, and with ends of text that its random models come to: every other id."""
    system.spec = replace(system.spec, halts=True)
    for model in set(system.backbones.values()):
        monkeypatch.setattr(model, "eos_ids", frozenset(range(0, len(model.tokenizer.hf), 2)))
    return system


def lengths_of(recorder: Recorder) -> dict[str, list[int]]:
    return {
        salt: [len(block) for block in thought.message or () if isinstance(block, Tensor)]
        for salt, thought in recorder.thoughts
    }


def begun(model: Backbone, prompts: Sequence[Prompt], *, cached: bool = True) -> tuple[Agent, Read]:
    agent = Agent(role="planner", backbone=model, inner=SoftToken(model, tau=0.7))
    return agent, read(agent, prompts, {}, cached=cached)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_row_ends_before_the_first_state_that_would_end_its_text(family: str, cached: bool) -> None:
    system, model = tiny_system("sequential", [family]), backbone(family)
    prompts = [system.render("planner", question, frozenset()) for question in QUESTIONS]
    longhand = []  # each row on its own, read anew for every step: the most likely tokens
    for prompt in prompts:
        agent, start = begun(model, [prompt], cached=False)
        h_BD, state, tokens = start.h_BD, start.state, []
        for _ in range(M):
            tokens.append(int(model.logits(h_BD).argmax()))
            h_BLD, state = model.extend(state, agent.inner(h_BD)[:, None])
            h_BD = h_BLD[:, 0]
        longhand.append(tokens)
    ends = frozenset({longhand[0][2], longhand[1][1]})
    expected = [next((n for n, token in enumerate(row) if token in ends), M) for row in longhand]
    agent, start = begun(CountingBackbone(model, eos_ids=ends), prompts, cached=cached)
    z_BMD, length_B = halting_rollout(agent, start, M)
    assert length_B.tolist() == expected
    assert z_BMD.shape[1] == min(max(expected) + 1, M)  # nobody thinks on when all have ended
    agent, start = begun(model, prompts)
    assert_close(z_BMD, rollout(agent, start, z_BMD.shape[1]), tolerance(family))


@torch.no_grad()
def test_without_ends_a_thought_has_all_its_steps() -> None:
    model = CountingBackbone(backbone("llama"), eos_ids=frozenset())
    prompts = [tiny_system("sequential").render("planner", QUESTIONS[0], frozenset())]
    agent, start = begun(model, prompts)
    z_BMD, length_B = halting_rollout(agent, start, M)
    assert length_B.tolist() == [M]
    assert torch.equal(z_BMD, rollout(agent, start, M))


@pytest.mark.parametrize("outer", ["mlp_ln_res", "linear+constant"])
def test_messages_are_carried_without_what_follows_their_end(outer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the twin, which thinks on and cuts: the same payloads, row by row."""
    system = halting(tiny_system("sequential", outer=outer), monkeypatch)
    ours = Recorder(system.channel(M))
    with torch.inference_mode():
        last = run(system, QUESTIONS, rounds=2, channel=ours, speak=greedily(2)).last
        lengths = lengths_of(ours)
        twin = Recorder(Cut(LatentChannel(latent_steps=M), lengths))
        run(system, QUESTIONS, rounds=2, channel=twin, speak=greedily(2))
    flat = [length for row in lengths.values() for length in row]
    assert min(flat) < max(flat)  # rows of one batch end apart
    for mine, theirs in zip(ours.carried, twin.carried, strict=True):
        for row, other in zip(mine, theirs, strict=True):
            assert_close(row, other, tolerance("gemma3_text"))
    for salt, turn in zip(lengths, zip(*last.log.turns, strict=True), strict=False):
        assert [each.latent_steps for each in turn] == [min(length + 1, M) for length in lengths[salt]]


def test_a_question_halts_where_it_halts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    system = halting(tiny_system("mixture"), monkeypatch)
    solver = RecursiveSolver(system, RunConfig(rounds=2, latent_steps=M), Sampling(max_new_tokens=4))
    together = solver.solve(QUESTIONS)
    alone = [solver.solve([question])[0] for question in QUESTIONS]
    for one, other in zip(together, alone, strict=True):
        assert one.samples == other.samples
        assert [(turn.role, turn.tokens_in, turn.latent_steps) for turn in one.trace.turns] == [
            (turn.role, turn.tokens_in, turn.latent_steps) for turn in other.trace.turns
        ]
    assert len({answer.trace.usage.latent_steps for answer in together}) > 1


@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_are_those_of_messages_that_are_cut(checkpointed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    system = halting(tiny_system("sequential", ["llama"], outer="linear"), monkeypatch)
    recorder = Recorder(system.channel(M))
    with torch.no_grad():
        outer_loss(system, EXAMPLES, rounds=2, channel=recorder)
    cut = Cut(LatentChannel(latent_steps=M), lengths_of(recorder))
    found = []
    for channel in (system.channel(M, checkpointed=checkpointed), cut):
        system.zero_grad()
        loss = outer_loss(system, EXAMPLES, rounds=2, channel=channel).mean()
        loss.backward()
        found.append({name: p.grad.clone() for name, p in system.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert any(gradient.abs().sum() > 0 for gradient in found[0].values())
    for name, gradient in found[0].items():
        assert_close(gradient, found[1][name], 1e-10)


def test_the_system_file_says_so_and_a_digest_tells(tmp_path: Path) -> None:
    plain = tiny_system("sequential").spec
    assert not plain.halts
    path = tmp_path / "ends.toml"
    roles = "".join(f'[roles.{role}]\nbackbone = "tiny:llama"\n' for role in plain.pattern.roles)
    path.write_text(f'pattern = "sequential"\nhalts = true\n{roles}', encoding="utf-8")
    assert load_spec(str(path)).halts
    assert replace(plain, halts=True).digest != plain.digest


def test_what_needs_messages_of_one_length_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = halting(tiny_system("sequential", ["llama"]), monkeypatch)
    with pytest.raises(ConfigError, match="its thoughts halt, and latent_kv hands over all latent steps"):
        LatentKVSolver(system)
    with pytest.raises(ConfigError, match="its thoughts halt, and steps are compared here"):
        diagnose(system, config(latent_steps=32), tmp_path, report=quiet)
    with pytest.raises(ConfigError, match="keep_thoughts is set, but thoughts of tiny-sequential halt"):
        trainer_of(system, keep_thoughts=True)
    for control in ("mean", "rotated", "covariance", "noise"):
        with pytest.raises(ConfigError, match=f"control is {control}, which is for latents of one length"):
            KIND.variant(system.spec, RunConfig(control=control))


@pytest.mark.parametrize("control", ["shuffled", "zeroed"])
def test_shuffled_and_zeroed_messages_keep_their_lengths(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    system = halting(tiny_system("sequential"), monkeypatch)
    spec, settings = KIND.variant(system.spec, RunConfig(rounds=1, latent_steps=M, control=control))
    solver = RecursiveSolver(system, settings, Sampling(max_new_tokens=2))
    real = RecursiveSolver(system, RunConfig(rounds=1, latent_steps=M), Sampling(max_new_tokens=2))
    questions = sorted(QUESTIONS, key=lambda question: len(question.text))  # the order of a solver's batch
    turns = [[a.trace.turns for a in each.solve(questions)] for each in (solver, real)]
    assert spec is system.spec
    first = [[one[0].latent_steps for one in each] for each in turns]
    assert first[0] == first[1]
    recorder = Recorder(system.channel(M))
    with torch.no_grad():
        run(system, questions, rounds=1, channel=recorder, speak=greedily(2))
    lengths = lengths_of(recorder)["1 planner"]
    assert len(set(lengths)) > 1
    heard = lengths if control == "zeroed" else [*lengths[-1:], *lengths[:-1]]  # of the question before
    ours, theirs = ([one[1].tokens_in for one in each] for each in turns)
    assert ours == [read - own + other for read, own, other in zip(theirs, lengths, heard, strict=True)]


def test_questions_of_a_pattern_that_hears_itself_halt_too(monkeypatch: pytest.MonkeyPatch) -> None:
    system = halting(tiny_system("looped", ["qwen2"]), monkeypatch)
    solver = RecursiveSolver(system, RunConfig(rounds=3, latent_steps=M), Sampling(max_new_tokens=2))
    answers = solver.solve([*QUESTIONS, Question(text="And now?")])
    taken = [answer.trace.usage.latent_steps for answer in answers]
    assert min(taken) < 2 * M >= max(taken)
