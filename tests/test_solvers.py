"""The contract of every solver: n in, n out, in order; usage adds up; what seeds and batches may change."""

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from rmas import solvers
from rmas.conversation import Slot
from rmas.errors import ConfigError, QuestionError
from rmas.prompt import Question
from rmas.settings import RunConfig, Sampling
from rmas.solver import Answer, Solver
from rmas.solvers import SOLVERS, LatentKVSolver, RecursiveSolver, find_solver, open_solver, solver_spec
from rmas.systemfile import load_spec
from zoo import QUESTION, QUESTIONS, M, tiny_system

ONE_MODEL = """
pattern = "sequential"
prompts = "terse"
rounds = 2
latent_steps = 3
inner = "linear"
outer = "linear"
start = "pytorch"
message_tokens = 4
max_new_tokens = 8
roles.planner = { backbone = "tiny:qwen2" }
roles.critic = { backbone = "tiny:qwen2" }
roles.solver = { backbone = "tiny:qwen2" }
"""
OWN = """
from rmas.solver import Answer
from rmas.solvers import Kind

class Shouting:
    def solve(self, questions):
        return [Answer(samples=(question.text.upper(),)) for question in questions]

KIND = Kind(about="shouts", open=lambda spec, config, sampling, load: Shouting(), needs_agents=False)
"""
COUNTING = """
from __future__ import annotations
from dataclasses import dataclass
from rmas.solvers import EchoSolver, Kind

@dataclass
class Voice:  # what dataclasses looks up in the module
    loudness: float = 1.0

with open("runs", "a") as file:
    file.write("x")
KIND = Kind(about="counts how often it is run", open=lambda *_: EchoSolver(), needs_agents=False)
"""
GREEDY = Sampling(max_new_tokens=6)
DRAWN = Sampling(max_new_tokens=6, temperature=1.0, samples=2)


@pytest.fixture(scope="module")
def system_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("systems") / "one_model.toml"
    path.write_text(ONE_MODEL, encoding="utf-8")
    return str(path)


@pytest.fixture(params=sorted(SOLVERS))
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@cache
def opened(name: str, file: str, sampling: Sampling = GREEDY, batch_size: int = 16) -> Solver:
    return open_solver(file, RunConfig(batch_size=batch_size), sampling, solver=name, dtype="float64", device="cpu")


def told(answers: list[Answer]) -> list[tuple[object, ...]]:
    """All that must not depend on the machine's mood."""
    return [
        (a.samples, a.finishes, a.prompt, a.trace.sample_tokens, [replace(t, seconds=0.0) for t in a.trace.turns])
        for a in answers
    ]


def test_as_many_answers_as_questions_in_their_order(name: str, system_file: str) -> None:
    solver = opened(name, system_file)
    found = solver.solve(QUESTIONS)
    assert [told([answer]) for answer in found] == [told(solver.solve([question])) for question in QUESTIONS]
    assert told(solver.solve(QUESTIONS[::-1])) == told(found)[::-1]
    assert solver.solve([]) == []


def test_a_batch_says_what_its_questions_say_alone(name: str, system_file: str) -> None:
    assert told(opened(name, system_file).solve(QUESTIONS)) == told(
        opened(name, system_file, batch_size=1).solve(QUESTIONS)
    )


def test_a_sample_depends_on_its_seed_alone(name: str, system_file: str) -> None:
    found = opened(name, system_file, DRAWN).solve(QUESTIONS)
    assert told(found) == told(opened(name, system_file, DRAWN, batch_size=1).solve(QUESTIONS))
    if SOLVERS[name].needs_agents:
        other = opened(name, system_file, replace(DRAWN, seed=1)).solve(QUESTIONS)
        assert [answer.samples for answer in found] != [answer.samples for answer in other]


def test_usage_adds_up(name: str, system_file: str) -> None:
    for answer in opened(name, system_file, DRAWN).solve(QUESTIONS):
        turns, usage = answer.trace.turns, answer.trace.usage
        assert usage.prompt_tokens == sum(turn.tokens_in for turn in turns) > 0
        assert usage.latent_steps == sum(turn.latent_steps for turn in turns)
        assert turns[-1].verb == "speak"
        assert all(turn.seconds >= 0 for turn in turns)
        if SOLVERS[name].needs_agents:
            assert len(answer.samples) == len(answer.finishes) == len(answer.trace.sample_tokens) == 2
            assert sum(answer.trace.sample_tokens) == turns[-1].tokens_out


def test_a_solver_is_shipped_by_its_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test of this file that asks for `name` then runs on it, and suites and reports know it."""
    (tmp_path / "shouting.py").write_text(OWN, encoding="utf-8")
    monkeypatch.setattr(solvers, "__path__", [*solvers.__path__, str(tmp_path)])
    found = solvers.shipped_solvers()
    monkeypatch.delitem(sys.modules, "rmas.solvers.shouting")
    assert found.keys() == SOLVERS.keys() | {"shouting"}
    assert found["shouting"].about == "shouts"


def test_an_unknown_solver_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown solver 'latentkv' .* Did you mean 'latent_kv'"):
        find_solver("latentkv")


def test_another_answerer_takes_the_place_of_the_systems_own(tmp_path: Path) -> None:
    (tmp_path / "alone.toml").write_text('pattern = "solo"\n[roles.solver]\nbackbone = "tiny:gpt2"\n', encoding="utf-8")
    config = RunConfig(answerer=str(tmp_path / "alone.toml"))
    _, spec, _ = solver_spec("tiny", config, "text")
    own = load_spec("tiny")
    assert spec.name == "tiny+alone"
    assert spec.roles[spec.pattern.answerer].source.name == "tiny:gpt2"
    others = [role for role in spec.roles if role != spec.pattern.answerer]
    assert all(spec.roles[role] == own.roles[role] for role in others)
    solver = open_solver("tiny", RunConfig(answerer=config.answerer, rounds=1, message_tokens=2), GREEDY, solver="text")
    assert isinstance(solver, RecursiveSolver)
    assert solver.system.backbones["solver"].name == "tiny:gpt2"
    solver.solve([Question(text="why?")])


@pytest.mark.parametrize(("name", "answerer"), [("tiny", "echo"), ("echo", "tiny")])
def test_an_answerer_is_exchanged_between_systems_that_have_one(name: str, answerer: str) -> None:
    with pytest.raises(ConfigError, match="echo has no agents, so no answerer to exchange"):
        solver_spec(name, RunConfig(answerer=answerer))


@pytest.mark.parametrize(
    ("name", "wanted"), [("single", {"solver"}), ("text", {"planner", "solver"}), ("moa", {"planner", "solver"})]
)
def test_a_private_context_is_read_by_its_role_whatever_the_solver_calls_it(name: str, wanted: set[str]) -> None:
    """A single agent is told what the answerer is told; the proposers of every layer what their agent is."""
    question = Question(text="why?", context={"planner": "PLANNED", "solver": "SOLVED"})
    solver = open_solver("tiny", RunConfig(rounds=2, message_tokens=2), GREEDY, solver=name)
    assert isinstance(solver, RecursiveSolver)
    solver.check([question])
    system = solver.system
    told: dict[str, list[str]] = {"planner": [], "solver": []}
    for role in system.pattern.roles:
        prompt = system.render(role, question, frozenset())
        ids = [*prompt.head, *(i for part in prompt.body if not isinstance(part, Slot) for i in part)]
        text = system.backbones[role].decode(ids)
        for holder, words in question.context.items():
            if words in text:
                told[holder].append(role)
    assert {holder for holder, readers in told.items() if readers} == wanted
    if name == "moa":
        assert told == {"planner": ["planner_1", "planner_2"], "solver": ["solver_1", "solver_2", "aggregator"]}
    with pytest.raises(QuestionError, match="unknown role 'plannr'"):
        solver.check([Question(text="why?", context={"plannr": "x"})])


def test_a_solver_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "shouting.py"
    path.write_text(OWN, encoding="utf-8")
    assert open_solver("tiny", solver=str(path)).solve([Question(text="why?")])[0].text == "WHY?"
    system = tmp_path / "system.toml"
    system.write_text(f'solver = "{path.name}"\n{ONE_MODEL}', encoding="utf-8")
    assert open_solver(str(system)).solve([Question(text="why?")])[0].text == "WHY?"


def test_a_solver_of_ones_own_is_run_once_and_anew_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("counting.py")
    path.write_text(COUNTING, encoding="utf-8")
    assert find_solver(str(path)) is find_solver(str(path.resolve()))
    assert Path("runs").read_text(encoding="utf-8") == "x"
    path.write_text(COUNTING.replace("how often", "the times"), encoding="utf-8")
    assert find_solver(str(path)).about == "counts the times it is run"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py", "solver nowhere.py: no such file"),
        ("no_such_package:KIND", "no_such_package:KIND: No module named"),
        ("rmas.solvers.single:nothing", "nothing is not there, or no rmas.solvers.Kind"),
        ("rmas.settings:RunConfig", "RunConfig is not there, or no rmas.solvers.Kind"),
    ],
)
def test_what_is_no_solver_is_one_line(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_solver(name)


@pytest.mark.parametrize("name", [name for name, kind in SOLVERS.items() if not kind.has_messages])
def test_a_control_of_messages_that_nobody_sends_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"control is noise, but solver {name} has no messages. Leave it out."):
        solver_spec("tiny", RunConfig(control="noise"), name)


def test_agents_of_two_models_share_no_cache() -> None:
    with pytest.raises(ConfigError, match=r"the roles have 3 models\. Name a system of one model, such as smol-qwen"):
        solver_spec("tiny", RunConfig(), "latent_kv")


# Mixture-of-Agents


def test_layers_of_agents_hear_the_whole_layer_before() -> None:
    name, spec, config = solver_spec("tiny", RunConfig(rounds=2), "moa")
    pattern = spec.pattern
    assert pattern.schedule == (
        ("planner_1", "critic_1", "solver_1"),
        ("planner_2", "critic_2", "solver_2"),
        ("aggregator",),
    )
    for role in ("planner_2", "critic_2", "solver_2"):
        assert [edge.source for edge in pattern.into(role)] == list(pattern.schedule[0])
    assert [edge.source for edge in pattern.into("aggregator")] == list(pattern.schedule[1])
    assert {role: entry.source.name for role, entry in spec.roles.items() if role.endswith("_2")} == {
        "planner_2": "tiny:llama",
        "critic_2": "tiny:gemma3_text",
        "solver_2": "tiny:qwen2",
    }
    assert spec.roles["aggregator"].source.name == "tiny:qwen2"
    assert (name, config.rounds, config.channel, spec.message_tokens) == ("moa", 1, "text", 0)
    for told, expected in ((None, 7), (3, 3)):  # as long as the last answer may be, whatever the system's own budget
        sampling = Sampling(max_new_tokens=7)
        solver = open_solver("tiny", RunConfig(message_tokens=told, rounds=1), sampling, solver="moa")
        assert isinstance(solver, RecursiveSolver)
        assert solver.channel.message_length == expected


def test_a_proposer_is_asked_as_a_single_agent_is_and_the_aggregator_reads_the_answers(system_file: str) -> None:
    moa, single = opened("moa", system_file), opened("single", system_file)
    assert isinstance(moa, RecursiveSolver)
    assert isinstance(single, RecursiveSolver)
    alone = single.system.render("solver", QUESTION, frozenset())
    assert moa.system.render("planner_1", QUESTION, frozenset()) == alone
    heard = moa.system.render("aggregator", QUESTION, frozenset(["planner_2", "critic_2", "solver_2"]))
    assert [part.source for part in heard.body if isinstance(part, Slot)] == ["planner_2", "critic_2", "solver_2"]
    (answer,) = moa.solve([QUESTION])
    assert [turn.role for turn in answer.trace.turns] == list(moa.system.pattern.roles)
    assert all(0 < turn.tokens_out <= 8 for turn in answer.trace.turns)


# LatentMAS


def latent_kv(rounds: int, latent_steps: int, sampling: Sampling = GREEDY) -> LatentKVSolver:
    system = tiny_system("sequential", ["qwen2"])
    return LatentKVSolver(system, RunConfig(rounds=rounds, latent_steps=latent_steps), sampling)


def test_a_cache_that_is_handed_over_is_one_long_sequence() -> None:
    """The slow twin: all that the agents read and think in one sequence, read again from its beginning at each step."""
    solver, rounds = latent_kv(2, M), 2
    system = solver.system
    rows: list[torch.Tensor] = []
    with torch.inference_mode():
        for turn in range(rounds * 3):
            agent = system.agents[system.pattern.roles[turn % 3]]
            prompt = system.render(agent.role, QUESTION, frozenset())
            ids = [*prompt.head, *(i for part in prompt.body if isinstance(part, tuple) for i in part)]
            rows.append(agent.backbone.embed(torch.tensor(ids)))
            steps = GREEDY.max_new_tokens if turn == rounds * 3 - 1 else M
            spoken: list[int] = []
            for _ in range(steps):
                h_1LD, _ = agent.backbone.extend(agent.backbone.start(cached=False), torch.cat(rows)[None])
                if turn < rounds * 3 - 1:
                    rows.append(agent.inner(h_1LD[0, -1:]))
                    continue
                spoken.append(int(agent.backbone.logits(h_1LD[0, -1]).argmax()))
                rows.append(agent.backbone.embed(torch.tensor(spoken[-1:])))
    (answer,) = solver.solve([QUESTION])
    until = next((n for n, i in enumerate(spoken) if i in agent.backbone.eos_ids), len(spoken))
    assert answer.text == agent.backbone.decode(spoken[:until])


def test_without_latents_and_rounds_it_reads_all_prompts_and_speaks() -> None:
    (answer,) = latent_kv(1, 0).solve([QUESTION])
    assert [turn.role for turn in answer.trace.turns] == ["planner", "critic", "solver"]
    assert answer.trace.usage.latent_steps == 0


def test_a_cache_beyond_the_context_is_refused() -> None:
    solver = latent_kv(1, M)
    room = solver.system.agents["solver"].backbone.context
    with pytest.raises(QuestionError, match=r"too long for a shared cache: .* positions more than the context"):
        solver.solve([Question(text="x" * room)])
