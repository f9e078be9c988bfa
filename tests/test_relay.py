"""The relay: its task, its agents, and a very small one from untrained agents to trained links."""

import json
from pathlib import Path

import pytest
import torch
from benchmarks.relay.agents import FAMILIES, WIDTHS, Course, Grade, new_agent, train_agent
from benchmarks.relay.build import build, write_system
from benchmarks.relay.links import held_out, train_links
from benchmarks.relay.run import accuracies
from benchmarks.relay.task import ROLES, Relay, State, chance, inner_row, outer_row, spell, told, write_rows

from rmas import load_system
from rmas.errors import ConfigError
from rmas.train.config import DataConfig
from rmas.train.data import load_examples

SMALL = Relay(num_symbols=4)
TEAM = Relay(num_symbols=5, seen=0.6)
INNER = {"steps": 200, "batch_size": 16, "lr": 3e-3, "norm_weight": 0.1, "dev": 2, "dev_every": 100}
OUTER = {"steps": 60, "batch_size": 8, "lr": 1e-3, "train_inner": True, "max_new_tokens": 4, "dev": 3}


@pytest.mark.parametrize("role", ROLES)
def test_every_private_function_is_a_bijection(role: str) -> None:
    relay = Relay()
    assert sorted(relay.apply(role, state) for state in relay.states) == relay.states


def test_the_answer_of_a_round_is_all_three_functions_on_that_of_the_round_before() -> None:
    start = State(1, 2)
    state = SMALL.after(start, 2)
    for role in ROLES:
        state = SMALL.apply(role, state)
    assert SMALL.after(start, 3) == state


def test_the_functions_differ_between_roles_and_between_seeds() -> None:
    tables = [tuple(relay.apply(role, s) for s in relay.states) for relay in (Relay(), Relay(seed=1)) for role in ROLES]
    assert len(set(tables)) == 6


def test_no_start_state_is_on_both_sides_of_the_split() -> None:
    seen, others = SMALL.split()
    assert sorted(seen + others) == SMALL.states
    assert len(seen) == 6


def test_only_the_planner_is_told_the_start_state() -> None:
    question = told(State(0, 3))
    assert (question.text, dict(question.context)) == ("go", {"planner": "a d"})


def test_chance_is_one_state_in_all() -> None:
    assert chance(SMALL, SMALL.states, 2) == 1 / 16


def test_a_row_brings_the_answer_of_each_round_to_the_trainer(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [outer_row(SMALL, State(2, 1), rounds=3)])
    (example,) = load_examples(DataConfig(data=str(path)), roles=ROLES)
    expected = [spell(SMALL.after(State(2, 1), rounds)) for rounds in (1, 2, 3)]
    assert [example.answer_in(rounds) for rounds in (1, 2, 3)] == expected
    assert example.answer == expected[-1]


def test_an_inner_row_has_the_reply_of_each_agent_to_what_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [inner_row(SMALL, State(2, 1))])
    (example,) = load_examples(DataConfig(data=str(path)), roles=ROLES)
    assert dict(example.targets) == {role: spell(SMALL.apply(role, State(2, 1))) for role in ROLES}
    assert set(example.question.context) == set(ROLES)


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ("a b", "expected a list with one answer a round"),
        ([], "expected a list with one answer a round"),
        (["a b", " "], "holds an empty text"),
        (["a b", "b a"], "ends with 'b a', but the answer is 'a b'"),
        ([None, "a b"], "expected a text or a number"),
    ],
)
def test_answers_that_do_not_fit_are_refused_with_their_row(tmp_path: Path, answers: object, problem: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "go", "answer": "a b", "answers": answers}) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=problem) as caught:
        load_examples(DataConfig(data=str(path)), roles=ROLES)
    assert f"{path}:1" in str(caught.value)


def test_the_agents_number_the_same_words_differently() -> None:
    tables = [new_agent(role, SMALL).tokenizer.strings for role in ROLES]
    assert set(tables[0]) == set(tables[1]) == set(tables[2])
    assert len({tuple(sorted(table.items())) for table in tables}) == 3


def test_the_agents_are_of_three_families_and_widths() -> None:
    agents = [new_agent(role, SMALL) for role in ROLES]
    assert [agent.config.model_type for agent in agents] == list(FAMILIES.values())
    assert [agent.dim for agent in agents] == list(WIDTHS.values())
    assert len(set(FAMILIES.values())) == len(set(WIDTHS.values())) == 3


def test_an_agent_learns_its_function() -> None:
    untrained = new_agent("critic", SMALL)
    assert Course("critic", SMALL, untrained).accuracy(untrained.model, torch.Generator()) < 0.5
    backbone, grade = train_agent("critic", SMALL, steps=150, batch_size=32)
    assert grade.accuracy == 1.0
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


def test_the_same_seed_gives_the_same_agent() -> None:
    (ours, _), (theirs, _) = (train_agent("solver", SMALL, steps=3, batch_size=8) for _ in range(2))
    for mine, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Grade]]:
    """A relay of 25 states and two rounds on disk."""
    folder = tmp_path_factory.mktemp("relay")
    return folder, build(TEAM, folder, rounds=2, agent_steps=200, agent_batch=32)


@pytest.mark.slow
def test_agents_that_know_their_functions_pass_a_state_on_in_text(team: tuple[Path, dict[str, Grade]]) -> None:
    folder, grades = team
    assert {grade.accuracy for grade in grades.values()} == {1.0}
    system = load_system(str(write_system(folder, rounds=2, start="identity")))
    assert accuracies(system, TEAM, channel="text") == [1.0, 1.0]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_trained_links_carry_more_than_untrained_ones_and_nothing_without_messages(
    team: tuple[Path, dict[str, Grade]], tmp_path: Path
) -> None:
    folder, _ = team
    result = train_links(folder, tmp_path, inner=INNER, outer=OUTER, rounds=2)
    assert result["after_outer"]["accuracy"] > result["before"]["accuracy"] + 0.2
    system = load_system(str(tmp_path / "outer"))
    assert held_out(system, folder)["accuracy"] == result["after_outer"]["accuracy"]
    assert max(accuracies(system, TEAM, control="zeroed")) <= chance(TEAM, TEAM.split()[1], 2) + 0.05
