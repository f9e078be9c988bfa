"""The agent stage in a team: messages are written once, and the answerer learns with them in its prompt."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from rmas.backbone import add_adapter
from rmas.conversation import Prompt, Slot
from rmas.engine import Heads, Inbox, Sampling, TextChannel, Thought, run
from rmas.engine.turn import Agent
from rmas.errors import CheckpointError, ConfigError, QuestionError
from rmas.solvers import open_solver
from rmas.system import System, load_system
from rmas.systemfile import load_spec
from rmas.train.agent import train_agent
from rmas.train.config import AgentConfig
from rmas.train.data import Example, batches_of
from rmas.train.journal import read_log
from rmas.train.objective import answer_ids, unroll
from rmas.train.operations import Operations
from rmas.train.store import Store
from rmas.train.told import Told
from train_zoo import EXAMPLES, WORDS, cut_at, quiet, same_weights, sums_file
from zoo import QUESTIONS

TEAM = """pattern = "deliberation"
prompts = "words.toml"
start = "identity"
rounds = 1
max_new_tokens = 4
message_tokens = 6
inner = "linear"
outer = "linear"
[roles.reflector]
backbone = "tiny:llama"
[roles.toolcaller]
backbone = "tiny:llama"
"""
SAMPLING = Sampling(max_new_tokens=6)
ROUNDS = 2
HEARD = {  # by turn, the one whose message it reads
    "1 reflector": None,
    "1 toolcaller": "1 reflector",
    "2 reflector": "1 toolcaller",
    "2 toolcaller": "2 reflector",
}


def team(folder: Path, dtype: str = "float64") -> System:
    """Two agents that share one model, which training is to change for one of them."""
    folder.mkdir(exist_ok=True)
    (folder / "team.toml").write_text(TEAM, encoding="utf-8")
    (folder / "words.toml").write_text(WORDS, encoding="utf-8")
    return load_system(str(folder / "team.toml"), cache=folder / "cache", dtype=dtype)


def config(folder: Path, **changes: Any) -> AgentConfig:
    short: dict[str, Any] = {"data": sums_file(folder, 8), "dev": 0, "steps": 6, "batch_size": 4, "warmup": 0}
    return AgentConfig(**{**short, "lr": 1e-2, "rank": 4, "max_new_tokens": 3, "rounds": ROUNDS, **changes})


class Listening:
    """The text channel, noting down what was said: the plain way, a model run for every message."""

    def __init__(self) -> None:
        self.channel, self.said = TextChannel(sampling=SAMPLING), list[tuple[str, list[str]]]()
        self.is_silent, self.message_length = False, self.channel.message_length
        self.carry = self.channel.carry

    def think(self, agent: Agent, prompts: list[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        thought = self.channel.think(agent, prompts, inbox, heads, salt)
        self.said.append((salt, [row.text for row in thought.message]))  # type: ignore[union-attr]
        return thought


def plain_nll(system: System, said: Mapping[str, str], example: Example, turn: str, ids: tuple[int, ...]) -> Tensor:
    """What the role of `turn` loses by writing `ids`: all that it reads at once, as ids, messages among them, without
    a cache."""
    role, heard = turn.partition(" ")[2], HEARD[turn]
    backbone = system.backbones[role]
    prompt = system.render(role, example.question, frozenset() if heard is None else frozenset({heard.split()[1]}))
    message = [] if heard is None else backbone.encode(said[heard].strip())
    read = [*prompt.head, *(i for part in prompt.body for i in (message if isinstance(part, Slot) else part))]
    h_1LD, _ = backbone.extend(backbone.start(cached=False), backbone.embed(torch.tensor([[*read, *ids[:-1]]])))
    return cross_entropy(backbone.logits(h_1LD[0, -len(ids) :]), torch.tensor(ids))


def told_of(system: System, folder: Path, *, batch_size: int = 4) -> Told:
    told = Told(TextChannel(sampling=SAMPLING), folder / "messages.jsonl")
    told.write(system, EXAMPLES, rounds=ROUNDS, batch_size=batch_size, report=quiet)
    return told


def texts(told: Told) -> dict[tuple[str, str], str]:
    return {place: said.text for place, said in told.said.items()}


def texts_of(told: Told, example: Example) -> dict[str, str]:
    """What was said of one example, by turn."""
    return {turn: text for (turn, key), text in texts(told).items() if key == example.key}


def test_the_messages_are_those_that_the_team_writes_when_it_is_asked(tmp_path: Path) -> None:
    system, listening = team(tmp_path), Listening()
    told = told_of(system, tmp_path)
    questions = [example.question for example in EXAMPLES]
    run(system, questions, rounds=ROUNDS, channel=listening, speak=lambda turn: None)  # type: ignore[arg-type]
    plain = {(turn, e.key): text for turn, texts in listening.said for e, text in zip(EXAMPLES, texts, strict=True)}
    assert texts(told) == plain
    assert {turn for turn, _ in plain} == {"1 reflector", "1 toolcaller", "2 reflector"}
    assert len(set(plain.values())) > 2


def test_the_gradients_are_those_of_the_plain_way(tmp_path: Path) -> None:
    system = team(tmp_path)
    told = told_of(system, tmp_path)
    parameters = add_adapter(system.backbones["toolcaller"], rank=4, alpha=8, seed=0)
    draw = torch.Generator().manual_seed(1)
    for parameter in parameters.values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
    backbone, turn = system.backbones["toolcaller"], f"{ROUNDS} toolcaller"
    plain = torch.stack([plain_nll(system, texts_of(told, e), e, turn, answer_ids(backbone, e, 1)) for e in EXAMPLES])
    expected = torch.autograd.grad(plain.mean(), list(parameters.values()))
    done = unroll(system, EXAMPLES, rounds=ROUNDS, channel=told.of(EXAMPLES), graded=True)
    assert torch.allclose(done.nll_RB[-1], plain, rtol=1e-6)
    done.nll_RB[-1].mean().backward()
    assert max(float(gradient.abs().max()) for gradient in expected) > 1e-3
    for parameter, gradient in zip(parameters.values(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-5, atol=1e-8)


def test_messages_that_are_in_the_file_are_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = team(tmp_path)
    whole, file = texts(told_of(system, tmp_path, batch_size=2)), tmp_path / "messages.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:6]) + lines[6][:9])  # killed in the second batch, in the middle of a line
    asked = list[int]()
    think = TextChannel.think

    def counted(self: TextChannel, *args: Any) -> Thought:
        asked.append(len(args[1]))
        return think(self, *args)

    monkeypatch.setattr(TextChannel, "think", counted)
    assert texts(told_of(system, tmp_path, batch_size=2)) == whole
    assert asked == [2] * 3
    again = file.read_text(encoding="utf-8").split("\n")[:-1]
    assert again[:6] == [line.decode().rstrip("\n") for line in lines[:6]]
    assert [json.loads(line)[:3] for line in again] == [json.loads(line)[:3] for line in lines]
    assert texts(told_of(system, tmp_path, batch_size=2)) == whole
    assert len(asked) == 3


def test_what_the_messages_took_is_counted_with_the_steps(tmp_path: Path) -> None:
    system = team(tmp_path)
    told, met = told_of(system, tmp_path, batch_size=2), next(batches_of(EXAMPLES, 2))
    with Operations() as counted:
        questions = [example.question for example in met]
        run(system, questions, rounds=ROUNDS, channel=Listening(), speak=lambda turn: None)  # type: ignore[arg-type]
    assert counted.total > 0
    assert told.cost(met).operations == pytest.approx(counted.total)
    assert told.cost(EXAMPLES).operations > told.cost(met).operations
    again = told_of(system, tmp_path, batch_size=2)
    assert again.cost(EXAMPLES) == told.cost(EXAMPLES)  # from the file
    assert told.cost(met).seconds > 0


def test_a_training_costs_its_steps_and_its_messages_however_often_it_is_taken_up(tmp_path: Path) -> None:
    result = train_agent(team(tmp_path), config(tmp_path), tmp_path / "out", resume=False, report=quiet)
    lines = (tmp_path / "out" / "messages-0.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    written = sum(json.loads(line)[3] for line in lines)
    state = Store(tmp_path / "out" / "checkpoints").latest()
    assert state is not None
    assert result.cost.operations == pytest.approx(state.state["operations"] + written)
    assert written > 0
    again = train_agent(team(tmp_path), config(tmp_path), tmp_path / "out", resume=True, report=quiet)
    assert again.cost == result.cost


def test_messages_of_examples_that_read_alike_for_one_role_are_kept_apart(tmp_path: Path) -> None:
    """What a role hears in later rounds may differ where its own question and facts do not."""
    ask = EXAMPLES[0].question
    pair = [replace(EXAMPLES[0], question=replace(ask, context={"toolcaller": fact})) for fact in ("one", "a river")]
    told = Told(TextChannel(sampling=SAMPLING), tmp_path / "messages.jsonl")
    told.write(team(tmp_path), pair, rounds=ROUNDS, batch_size=2, report=quiet)
    turns = ("1 reflector", "1 toolcaller", "2 reflector")
    assert set(told.said) == {(turn, example.key) for turn in turns for example in pair}


def test_a_model_that_is_shared_is_tuned_for_every_role_of_the_bundle(tmp_path: Path) -> None:
    out = tmp_path / "out"
    train_agent(team(tmp_path), config(tmp_path, shared=True, steps=2), out, resume=False, report=quiet)
    assert [entry.adapter for entry in load_spec(str(out)).roles.values()] == [out / "adapter"] * 2
    again = load_system(str(out), cache=tmp_path / "cache", dtype="float64")
    assert again.backbones["toolcaller"] is again.backbones["reflector"]
    assert "All agents with this model are tuned" in (out / "README.md").read_text(encoding="utf-8")


def test_a_bundle_answers_as_the_team_in_which_it_was_trained(tmp_path: Path) -> None:
    system, out = team(tmp_path), tmp_path / "out"
    before = open_solver(str(tmp_path / "team.toml"), solver="text", dtype="float64").solve(QUESTIONS)
    result = train_agent(system, config(tmp_path), out, resume=False, report=quiet)
    losses = [line["loss"] for line in read_log(out) if line["event"] == "step"]
    assert result.is_complete
    assert losses[-1] < losses[0]
    spec = load_spec(str(out))
    assert (spec.solver, spec.rounds, spec.message_tokens) == ("text", ROUNDS, 6)
    again = load_system(spec, cache=tmp_path / "cache", dtype="float64")
    assert again.backbones["toolcaller"] is not again.backbones["reflector"]  # one of them was tuned
    told = Told(TextChannel(sampling=SAMPLING), out / "messages-0.jsonl")
    told.write(team(tmp_path / "fresh"), EXAMPLES, rounds=ROUNDS, batch_size=4, report=quiet)
    found, expected = (
        unroll(each, EXAMPLES, rounds=ROUNDS, channel=told.of(EXAMPLES), graded=True).nll_RB[-1]
        for each in (again, system)
    )
    assert torch.allclose(found, expected, atol=1e-6)
    after = open_solver(str(out), dtype="float64").solve(QUESTIONS)
    assert [answer.text for answer in after] != [answer.text for answer in before]
    assert len(after[0].trace.turns) == 2 * ROUNDS
    assert "it read 2 rounds of messages" in (out / "README.md").read_text(encoding="utf-8")


def test_all_weights_can_be_trained_in_a_team(tmp_path: Path) -> None:
    train_agent(team(tmp_path), config(tmp_path, method="full", steps=2), tmp_path / "out", resume=False, report=quiet)
    spec = load_spec(str(tmp_path / "out"))
    assert spec.roles["toolcaller"].source != spec.roles["reflector"].source
    assert open_solver(str(tmp_path / "out")).solve(QUESTIONS[:1])[0].samples


@pytest.mark.parametrize("writers", [{}, {"shared": True, "rejection_samples": 1}])
def test_a_training_that_was_cut_off_ends_with_the_same_bits(tmp_path: Path, writers: dict[str, Any]) -> None:
    settings = config(tmp_path, save_every=2, dev=2, dev_batch=2, **writers)
    train_agent(team(tmp_path), settings, tmp_path / "whole", resume=False, report=quiet)

    for place, resume in (((2, "messages"), False), ((5, "toolcaller in its team"), True)):
        with pytest.raises(KeyboardInterrupt):
            train_agent(team(tmp_path), settings, tmp_path / "cut", resume=resume, report=cut_at(*place))
    train_agent(team(tmp_path), settings, tmp_path / "cut", resume=True, report=quiet)
    assert same_weights(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": -1}, "rounds is -1, expected 0"),
        ({"rounds": 0, "message_tokens": 4}, "message_tokens is 4, expected 1 or more, beside rounds"),
        ({"message_tokens": 0}, "message_tokens is 0, expected 1 or more"),
        ({"channel": "latent", "message_tokens": 4}, "message_tokens is 4, expected .* in text"),
        ({"channel": "latent", "rounds": 0}, "channel is latent, expected text, or rounds of 1 or more"),
        ({"latent_steps": 2}, "latent_steps is 2, expected 1 or more, beside channel latent"),
        ({"channel": "latent", "latent_steps": 0}, "latent_steps is 0, expected 1 or more"),
        ({"links_lr": 1e-3}, "links_lr is 0.001, expected a number above 0, beside channel latent"),
        ({"rounds": 0, "shared": True}, "shared is True, expected false, or rounds of 1 or more"),
        ({"curriculum": ((0, 1, 2),)}, "curriculum is .*, expected none, or channel latent"),
        ({"channel": "latent", "curriculum": ((3, 1, 2), (1, 1, 2))}, "curriculum is .*, expected rows of"),
        (
            {"clip_latents": 5.0, "channel": "latent"},
            "clip_latents is 5.0, expected above 0, beside links_lr or shared",
        ),
        ({"clip_latents": 0.0, "channel": "latent", "shared": True}, "clip_latents is 0.0, expected above 0"),
        (
            {"across_rounds": False, "channel": "latent"},
            "across_rounds is False, expected true, or beside links_lr or shared latents",
        ),
        ({"earlier_weight": 1.0}, "earlier_weight is 1.0, expected 0, or more beside channel latent"),
        ({"channel": "latent", "earlier_weight": -1.0}, "earlier_weight is -1.0, expected 0, or more"),
        ({"channel": "latent", "links_lr": 0.0}, "links_lr is 0.0, expected a number above 0"),
        ({"channel": "smoke"}, "unknown channel 'smoke'"),
    ],
)
def test_a_setting_out_of_range_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **changes)


def test_messages_that_leave_no_room_are_refused_before_any_is_written(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match="too many"):
        train_agent(
            team(tmp_path), config(tmp_path, message_tokens=10**6), tmp_path / "out", resume=False, report=quiet
        )
    assert not (tmp_path / "out" / "messages-0.jsonl").exists()


def test_a_file_of_messages_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    told = Told(TextChannel(sampling=SAMPLING), tmp_path / "none" / "messages.jsonl")
    with pytest.raises(CheckpointError, match=r"messages\.jsonl: No such file or directory\. Free some room"):
        told.write(team(tmp_path), EXAMPLES, rounds=1, batch_size=4, report=quiet)
