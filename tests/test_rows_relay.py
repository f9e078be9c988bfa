"""The relay in words: what its lists say is checked by going through them anew, word by word."""

import re

import pytest

from rmas.errors import ConfigError
from rmas.eval.task import find_task, load_samples
from rmas.rows.relay import RELAYS, relay_rows
from rmas.train.config import DataConfig
from rmas.train.data import Example, load_examples

ROLES = ("planner", "critic", "solver")


def relay(options: str = "") -> list[Example]:
    return load_examples(DataConfig(data=f"relay:places?size=60&seed=5{options}"), roles=ROLES)


def entries(text: str) -> dict[str, str]:
    """`Anna is in Paris. red is for Tom.` -> from, to."""
    return {words[0]: words[-1] for words in (part.split() for part in text.split(".")) if len(words) in (3, 4)}


def walk(start: str, lists: list[str], rounds: int) -> str:
    place = start
    for text in lists * rounds:
        place = entries(text)[place]
    return place


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_all_lists_together_give_the_answer_of_every_round(rounds: int) -> None:
    for example in relay(f"&rounds={rounds}"):
        lists = [example.question.context[role] for role in ROLES]
        assert example.answers == tuple(walk(example.question.text, lists, number) for number in range(1, rounds + 1))
        assert example.answer == example.answers[-1]


@pytest.mark.parametrize("entries", [4, 5, 10])
def test_no_two_rounds_have_the_same_answer_and_none_has_the_start(entries: int) -> None:
    for example in relay(f"&entries={entries}"):
        assert len({example.question.text, *example.answers}) == 4


def test_the_question_is_a_name_of_the_first_list_and_each_role_holds_one_list() -> None:
    for example in relay():
        assert example.question.text in entries(example.question.context["planner"])
        assert {len(entries(text)) for text in example.question.context.values()} == {5}


def test_the_whole_form_asks_the_same_items_with_all_lists_in_the_question() -> None:
    split, whole = relay(), relay("&form=whole")
    assert [(example.key, example.answer) for example in split] == [(example.key, example.answer) for example in whole]
    for dealt, one in zip(split, whole, strict=True):
        assert one.question.context == {}
        *lists, last = one.question.text.split("\n")
        assert last.startswith(f"It starts with {dealt.question.text} and goes round all lists three times.")
        assert walk(dealt.question.text, lists, 3) == one.answer


def test_a_step_is_one_look_up_of_the_last_list() -> None:
    for whole, step in zip(relay(), relay("&form=step"), strict=True):
        told, _, asked = step.question.text.partition("\n\n")
        assert told == whole.question.context["solver"]
        assert step.answer == entries(told)[asked.split()[-1]]
        assert step.answers == ()


def test_the_same_seed_gives_the_same_items_and_another_others() -> None:
    assert [example.key for example in relay()] == [example.key for example in relay()]
    other = load_examples(DataConfig(data="relay:places?size=60&seed=6"), roles=ROLES)
    assert {example.key for example in relay()}.isdisjoint(example.key for example in other)


def test_a_relay_is_a_task_whose_lists_are_private_context() -> None:
    task = find_task("relay:places?size=8&seed=5&kind=search")
    samples = load_samples(task)
    assert [sample.target.answers[0] for sample in samples] == [example.answer for example in relay()[:8]]
    assert all(sample.question.kind == "search" and set(sample.question.context) == set(ROLES) for sample in samples)
    assert load_samples(task, without="relay:places?size=3&seed=5&form=whole") == samples[3:]


def test_no_word_stands_in_two_lists_and_none_needs_marks() -> None:
    for legs in RELAYS.values():
        words = [word for leg in legs for word in leg.words]
        assert len(set(words)) == len(words)
        assert all(re.fullmatch("[A-Za-z]+", word) for word in words)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("place", "unknown relay 'place'"),
        ("places?entires=4", "unknown option 'entires'"),
        ("places?form=dealt", "unknown form 'dealt'"),
        ("places?entries=1", "entries is 1, expected a whole number of 2 or more"),
        ("places?entries=11", "entries is 11, expected more than rounds (3), 10 at most"),
        ("places?entries=3", "entries is 3, expected more than rounds (3), 10 at most"),
        ("places?rounds=0", "rounds is 0, expected a whole number of 1 or more"),
        ("places?rounds=6", "rounds is 6, expected 5 at most"),
        ("places?seed=x", "seed is x, expected a whole number of 0 or more"),
        ("places?to=planner,critic", "expected 3 roles, each once"),
        ("places?to=a,a,b", "expected 3 roles, each once"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(address: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        relay_rows(address)
