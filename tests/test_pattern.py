"""Patterns: the shipped ones load, and every kind of nonsense is refused with file, line, key and fix."""

import re
from pathlib import Path

import pytest

from rmas.errors import PatternError
from rmas.packs import load_pack
from rmas.pattern import RESERVED, Edge, Pattern, known_patterns, load_pattern

SCHEDULE = 'schedule = [["planner"], ["critic"], ["solver"]]'
EDGES = 'edges = [["planner", "critic"], ["critic", "solver"], ["solver", "planner"]]'
ANSWERER = 'answerer = "solver"'


def parse(
    folder: Path, *, schedule: str = SCHEDULE, edges: str = EDGES, answerer: str = ANSWERER, more: str = ""
) -> Pattern:
    path = folder / "mine.toml"
    path.write_text("\n".join([schedule, edges, answerer, more]), encoding="utf-8")
    return load_pattern(str(path))


def refusal(folder: Path, **lines: str) -> str:
    """The message, which must name the file and stand on one line."""
    with pytest.raises(PatternError) as caught:
        parse(folder, **lines)
    message = str(caught.value)
    assert "mine.toml" in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", known_patterns())
def test_a_shipped_pattern_loads_and_every_edge_joins_two_of_its_roles(name: str) -> None:
    pattern = load_pattern(name)
    assert pattern.name == name
    assert pattern.answerer in pattern.schedule[-1]
    assert {role for edge in pattern.edges for role in edge} <= set(pattern.roles)


@pytest.mark.parametrize(
    ("name", "turns_a_round"),
    [
        ("sequential", 3),
        ("mixture", 4),
        ("distillation", 2),
        ("deliberation", 2),
        ("debate", 3),
        ("ring", 5),
        ("looped", 1),
    ],
)
def test_a_shipped_pattern_has_as_many_turns_a_round_as_design_says(name: str, turns_a_round: int) -> None:
    assert len(load_pattern(name).roles) == turns_a_round


def test_into_and_out_of_keep_the_order_of_the_file() -> None:
    pattern = load_pattern("mixture")
    experts = ("math", "code", "science")
    assert pattern.into("summarizer") == tuple(Edge(expert, "summarizer") for expert in experts)
    assert pattern.out_of("summarizer") == tuple(Edge("summarizer", expert) for expert in experts)


def test_the_slots_of_the_summarizer_stand_in_the_order_of_the_edges() -> None:
    assert load_pack("native", "mixture").slots("summarizer") == ("math", "code", "science")


def test_an_edge_reads_as_an_arrow() -> None:
    assert str(Edge("planner", "critic")) == "planner->critic"


def test_a_pattern_file_of_your_own_loads_by_path_and_relative_to_a_base(tmp_path: Path) -> None:
    pattern = parse(tmp_path)
    assert pattern.name == "mine"
    assert load_pattern("mine.toml", base=tmp_path) == pattern
    assert pattern.schedule == (("planner",), ("critic",), ("solver",))


def test_an_edge_to_an_unknown_role_is_refused_with_the_nearest(tmp_path: Path) -> None:
    message = refusal(tmp_path, edges='edges = [["planner", "critic"], ["critic", "solvr"]]')
    assert ":2: edges[1]: critic->solvr: unknown role 'solvr'" in message
    assert "Did you mean 'solver'?" in message
    assert "schedule 'solvr'" in message


def test_a_role_with_edges_that_is_never_scheduled_is_an_unknown_endpoint(tmp_path: Path) -> None:
    message = refusal(tmp_path, schedule='schedule = [["planner"], ["solver"]]')
    assert ":2: edges[0]: planner->critic: unknown role 'critic' (have planner, solver)" in message


def test_an_edge_inside_a_step_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, schedule='schedule = [["planner", "critic"], ["solver"]]')
    assert ":2: edges[0]: planner->critic runs inside step 0" in message
    assert "put them in two steps" in message


def test_a_role_scheduled_twice_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, schedule='schedule = [["planner"], ["critic"], ["planner"], ["solver"]]')
    assert ":1: schedule: role 'planner' stands twice" in message


def test_an_answerer_outside_the_last_step_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, answerer='answerer = "critic"')
    assert ":3: answerer: 'critic' is not in the last step ['solver']" in message


def test_a_missing_answerer_is_refused(tmp_path: Path) -> None:
    assert "answerer: None is not in the last step ['solver']" in refusal(tmp_path, answerer="")


def test_a_role_that_cannot_reach_the_answerer_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, edges='edges = [["planner", "critic"], ["solver", "planner"], ["solver", "critic"]]')
    assert ":2: edges: nothing that 'planner' thinks can reach the answerer 'solver'" in message
    assert "Add an edge out of 'planner'" in message


def test_a_role_that_reaches_the_answerer_only_in_the_next_round_is_heard(tmp_path: Path) -> None:
    pattern = parse(tmp_path, edges='edges = [["critic", "planner"], ["planner", "solver"]]')
    assert pattern.out_of("critic") == (Edge("critic", "planner"),)


def test_a_role_may_hear_itself_in_the_next_round(tmp_path: Path) -> None:
    pattern = parse(tmp_path, edges='edges = [["planner", "critic"], ["critic", "solver"], ["solver", "solver"]]')
    assert Edge("solver", "solver") in pattern.into("solver")
    assert Edge("solver", "solver") in pattern.out_of("solver")


def test_an_edge_that_stands_twice_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, edges='edges = [["planner", "critic"], ["planner", "critic"]]')
    assert ":2: edges[1]: planner->critic stands twice. Drop one." in message


@pytest.mark.parametrize(
    ("schedule", "key"),
    [
        ("", "schedule"),
        ("schedule = []", "schedule"),
        ('schedule = "planner"', "schedule"),
        ("schedule = [[]]", "schedule[0]"),
        ('schedule = [["planner"], []]', "schedule[1]"),
        ('schedule = ["planner", "solver"]', "schedule[0]"),
        ("schedule = [[1]]", "schedule[0]"),
        ("schedule = { planner = 1 }", "schedule"),
    ],
)
def test_a_schedule_that_is_no_list_of_steps_is_refused(tmp_path: Path, schedule: str, key: str) -> None:
    assert f" {key}: expected a " in refusal(tmp_path, schedule=schedule)


@pytest.mark.parametrize(
    ("edges", "key"),
    [
        ("edges = 3", "edges"),
        ('edges = "planner->critic"', "edges"),
        ('edges = ["planner->critic"]', "edges[0]"),
        ('edges = [["planner"]]', "edges[0]"),
        ('edges = [["planner", "critic"], ["planner", "critic", "solver"]]', "edges[1]"),
        ("edges = [[1, 2]]", "edges[0]"),
    ],
)
def test_edges_that_are_no_list_of_pairs_are_refused(tmp_path: Path, edges: str, key: str) -> None:
    assert f":2: {key}: expected " in refusal(tmp_path, edges=edges)


@pytest.mark.parametrize("answerer", ["answerer = 3", 'answerer = ["solver"]', "answerer = { a = 1 }"])
def test_an_answerer_that_is_no_name_is_refused(tmp_path: Path, answerer: str) -> None:
    assert ":3: answerer: " in refusal(tmp_path, answerer=answerer)


@pytest.mark.parametrize("role", RESERVED)
def test_a_role_named_like_a_placeholder_of_the_prompts_is_refused(tmp_path: Path, role: str) -> None:
    message = refusal(tmp_path, schedule=f'schedule = [["{role}"], ["solver"]]', edges=f'edges = [["{role}","solver"]]')
    assert f":1: schedule: role '{role}' is a word that prompts use. Choose another name." in message


@pytest.mark.parametrize("role", ["two words", "a.b", "a->b", "", "1st"])
def test_a_role_that_is_no_plain_name_is_refused(tmp_path: Path, role: str) -> None:
    message = refusal(tmp_path, schedule=f'schedule = [["{role}"], ["solver"]]', edges="")
    assert f":1: schedule: role {role!r} is not a plain name" in message


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    message = refusal(tmp_path, more='anserer = "solver"')
    assert ":4: anserer: unknown key 'anserer'" in message
    assert "Did you mean 'answerer'?" in message


def test_a_toml_mistake_is_refused_with_its_line(tmp_path: Path) -> None:
    assert re.search(r"not valid TOML: .*line 2", refusal(tmp_path, edges='edges = [["planner" "critic"]]'))


def test_an_unknown_pattern_is_refused_with_the_nearest() -> None:
    with pytest.raises(PatternError, match=r"unknown pattern 'mixtur' .*Did you mean 'mixture'\?.*ends in \.toml"):
        load_pattern("mixtur")


def test_a_missing_pattern_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PatternError, match=r"mine\.toml: no such file"):
        load_pattern("mine.toml", base=tmp_path)


@pytest.mark.parametrize(
    ("rounds", "mute", "heard"),
    [
        (1, [], ["planner->critic", "critic->solver"]),
        (2, [], ["planner->critic", "critic->solver", "solver->planner"]),
        (3, ["critic->solver"], ["critic->solver"]),
        (3, ["planner->critic"], ["planner->critic", "critic->solver"]),
        (2, ["solver->planner"], ["planner->critic", "critic->solver", "solver->planner"]),
    ],
)
def test_an_answer_depends_on_what_leads_to_it_and_is_not_mute(rounds: int, mute: list[str], heard: list[str]) -> None:
    pattern = load_pattern("sequential")
    found = pattern.heard(rounds, [edge for edge in pattern.edges if str(edge) in mute])
    assert [str(edge) for edge in found] == heard


def test_a_chain_of_messages_back_takes_a_round_for_each() -> None:
    """In the ring every agent hears the one before it; the first hears the last of the round before."""
    pattern = load_pattern("ring")
    assert set(pattern.heard(len(pattern.roles) + 1)) == set(pattern.edges)
    assert not any(pattern.is_forward(edge) for edge in set(pattern.edges) - set(pattern.heard(1)))
