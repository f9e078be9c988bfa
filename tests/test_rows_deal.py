"""Deals: the answer follows from all contexts together, checked by solving each item anew from its words."""

import math
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

import pytest
from reasoning_gym.arithmetic.leg_counting import ANIMALS

from rmas.errors import ConfigError
from rmas.rows.deal import DEALS
from rmas.train.config import DataConfig
from rmas.train.data import Example, chance, load_examples

ROLES = ("planner", "critic", "solver")
HOLDERS = ("planner", "critic")


def deal(family: str, options: str = "", roles: tuple[str, ...] = ROLES) -> list[Example]:
    return load_examples(DataConfig(data=f"deal:{family}?seed=5{options}"), roles=roles)


def numbers(contexts: Sequence[str]) -> list[int]:
    return [int(number) for text in contexts for number in re.findall(r"-?\d+", text)]


def words(contexts: Sequence[str]) -> list[str]:
    return [word for text in contexts for word in text.partition(": ")[2].split(", ")]


def needle(question: str, contexts: Sequence[str]) -> str:
    does = question.removeprefix("Who ").removesuffix("?")
    found = [who for text in contexts for who in re.findall(rf"(?:^|\. )(\S+) {re.escape(does)}\.", text)]
    return found[0] if found else "nobody"


def legs(contexts: Sequence[str]) -> int:
    names = ANIMALS | {f"{name}s": count for name, count in ANIMALS.items()}
    return sum(int(count) * names[name] for count, name in (text.split(" ", 1) for text in words(contexts)))


# (question, contexts) -> the answer, from the words alone
SOLVE: Mapping[str, Callable[[str, Sequence[str]], object]] = {
    "chain_sum": lambda _, contexts: sum(numbers(contexts)),
    "lcm": lambda _, contexts: math.lcm(*numbers(contexts)),
    "leg_counting": lambda _, contexts: legs(contexts),
    "letter_counting": lambda question, contexts: sum(
        text.removeprefix("Text:").count(question.split('"')[1]) for text in contexts
    ),
    "needle_haystack": needle,
    "number_sorting": lambda question, contexts: (max if "largest" in question else min)(numbers(contexts)),
    "simple_geometry": lambda _, contexts: 180 - sum(numbers(contexts)),
    "word_sorting": lambda question, contexts: (min if "first" in question else max)(words(contexts)),
}
TOGETHER = [family for family in DEALS if family != "needle_haystack"]  # every share is needed in every item
each_family = pytest.mark.parametrize("family", DEALS)


def contexts_of(example: Example) -> list[str]:
    return list(example.question.context.values())


def test_every_deal_can_be_solved_here() -> None:
    assert set(SOLVE) == set(DEALS)


@each_family
def test_all_shares_together_give_the_answer(family: str) -> None:
    for example in deal(family, "&size=200"):
        assert example.answer == str(SOLVE[family](example.question.text, contexts_of(example)))


@pytest.mark.parametrize("family", TOGETHER)
@pytest.mark.parametrize("mine", [0, 1])
def test_one_share_leaves_the_answer_open(family: str, mine: int) -> None:
    """Beside the same share, the other shares that were dealt lead to other answers."""
    examples = deal(family, "&size=100")
    theirs = [contexts_of(example)[1 - mine] for example in examples]
    num_open = 0
    for example in examples:
        own = contexts_of(example)[mine]
        num_open += len({SOLVE[family](example.question.text, (own, other)) for other in theirs}) > 1
    assert num_open >= 0.97 * len(examples)


def test_the_needle_lies_with_either_holder_about_as_often() -> None:
    examples = deal("needle_haystack", "&size=400")
    alone = [
        [needle(example.question.text, [example.question.context[role]]) == example.answer for role in HOLDERS]
        for example in examples
    ]
    assert all(sum(pair) == 1 for pair in alone)  # never with both, never with neither
    assert 0.4 < sum(first for first, _ in alone) / len(examples) < 0.6


@each_family
def test_the_answerer_sees_the_bare_question(family: str) -> None:
    examples = deal(family, "&size=200")
    assert all(set(example.question.context) == set(HOLDERS) for example in examples)
    if family == "needle_haystack":
        assert not any(example.answer in example.question.text for example in examples)
    else:  # only the direction or the letter varies
        assert len({re.sub('"."', "", example.question.text) for example in examples}) <= 2


@each_family
def test_the_whole_form_asks_the_same_items_with_every_fact_in_the_question(family: str) -> None:
    split, whole = deal(family, "&size=60"), deal(family, "&size=60&form=whole")
    assert [(example.key, example.answer) for example in split] == [(example.key, example.answer) for example in whole]
    for dealt, open_one in zip(split, whole, strict=True):
        assert open_one.question.context == {}
        facts, _, question = open_one.question.text.partition("\n")
        assert question == dealt.question.text
        assert str(SOLVE[family](question, [facts])) == dealt.answer


@each_family
def test_one_role_may_hold_all_the_facts(family: str) -> None:
    one, two = deal(family, "&size=20&to=critic"), deal(family, "&size=20")
    assert [example.key for example in one] == [example.key for example in two]
    for example in one:
        assert set(example.question.context) == {"critic"}
        assert str(SOLVE[family](example.question.text, contexts_of(example))) == example.answer


@each_family
def test_a_holder_has_its_share_as_target(family: str) -> None:
    for example in deal(family, "&size=5"):
        assert example.targets == example.question.context


@each_family
def test_an_item_is_short(family: str) -> None:
    for example in deal(family, "&size=200&form=whole"):
        assert len(example.question.text.split()) <= 60
        assert len(example.answer.split()) == 1


@each_family
def test_chance_is_below_one_half_and_the_items_differ(family: str) -> None:
    examples = deal(family, "&size=1000")
    assert chance(examples) < 0.5
    assert len({example.key for example in examples}) > 650


def test_the_order_of_the_facts_makes_no_new_item() -> None:
    examples = deal("lcm", "&size=400&min_value=2&max_value=5")
    pairs = {tuple(sorted(numbers(contexts_of(example)))) for example in examples}
    assert len({example.key for example in examples}) == len(pairs) == 10  # of 16 ordered pairs


@pytest.mark.parametrize(("second", "is_kept"), [("Bo likes tea", True), ("Bo likes pigs", False)])
def test_a_needle_that_two_people_share_is_left_out(second: str, is_kept: bool) -> None:
    question = "Who likes pigs? Reply only with a name."
    entry = {"question": f"Al likes pigs. {second}. \n{question}", "answer": "Al", "metadata": {"question": question}}
    item = DEALS["needle_haystack"].take(entry)
    assert item == ((["Al likes pigs.", f"{second}."], "Who likes pigs?", "Al") if is_kept else None)


def test_parameters_reach_the_generator() -> None:
    for example in deal("chain_sum", "&size=20&min_terms=6&max_terms=6"):
        assert [len(numbers([text])) for text in contexts_of(example)] == [3, 3]


def test_three_roles_may_share() -> None:
    for example in deal("needle_haystack", "&size=5&to=planner,critic,solver"):
        assert [text.count(".") for text in contexts_of(example)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("deal:lcms", "unknown deal 'lcms' .* Did you mean 'lcm'"),
        ("deal:lcm?form=hole", "deal:lcm: unknown form 'hole' .* Did you mean 'whole'"),
        ("deal:lcm?to=planner,planner", "to is 'planner,planner', expected roles, each once"),
        ("deal:lcm?to=planner,critic,solver", "an item has 2 facts for 3 roles"),
        ("deal:lcm?to=planner,expert&size=3", "deal:lcm item 0: .* unknown role 'expert' .*to=ROLE"),
        ("deal:lcm?size=none", "deal:lcm: size is 'none', expected a whole number"),
        ("deal:lcm?max_valu=3", "unknown parameter 'max_valu' .* Did you mean 'max_value'"),
        ("deal:word_sorting?transformation=uppercase&size=2", "only 0 of 40 items can be dealt"),
    ],
)
def test_a_bad_deal_is_one_line_that_names_it(data: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load_examples(DataConfig(data=data), roles=ROLES)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_deals_are_the_same_in_every_process() -> None:
    script = (
        "from rmas.train.config import DataConfig\n"
        "from rmas.train.data import load_examples\n"
        "from rmas.rows.deal import DEALS\n"
        "data = ' + '.join(f'deal:{family}?size=50&to=planner' for family in DEALS)\n"
        "print([(e.key, e.answer) for e in load_examples(DataConfig(data=data), roles=('planner',))])\n"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
