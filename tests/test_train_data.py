"""Reading, splitting and batching examples. Rows are our own, in the shape of the files they stand for."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import pytest
import reasoning_gym  # noqa: F401  its import takes seconds: paid at collection, not in a test
import torch  # noqa: F401  the same: datasets imports it when it streams

from rmas.errors import ConfigError
from rmas.prompt import Question
from rmas.rows.gym import UNREPEATABLE
from rmas.rows.stored import parse_address
from rmas.train.columns import EXPERT, TARGETS
from rmas.train.config import DataConfig
from rmas.train.data import Batches, Example, chance, lengths_of, load_examples, split_examples

ROLES = ("planner", "critic", "solver")
GSM8K = {
    "question": "Ana packs 48 boxes, then half as many. How many are 1,000 times that?",
    "answer": "She packs 48/2 = <<48/2=24>>24 more.\nThat is 48+24 = <<48+24=72>>72.\n#### 72,000",
}


def write(folder: Path, rows: Iterable[Any], name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def load(data: str, roles: tuple[str, ...] = ROLES, **settings: Any) -> list[Example]:
    return load_examples(DataConfig(data=data, **settings), roles=roles)


def numbered(count: int) -> list[Example]:
    return [Example(question=Question(text=f"What is {i}?"), answer=str(i)) for i in range(count)]


# Files and columns


def test_a_row_becomes_a_question_an_answer_and_role_targets(tmp_path: Path) -> None:
    row = {"question": " Why? ", "answer": " because\n", "plan": "think", "refined_plan": "think twice", "extra": [1]}
    (example,) = load(write(tmp_path, [row]), kind="math")
    assert example.question == Question(text="Why?", kind="math")
    assert example.answer == "because"
    assert example.targets == {"planner": "think", "critic": "think twice"}


def test_private_context_may_be_flat_or_nested(tmp_path: Path) -> None:
    base = {"question": "Who?", "answer": "Ana"}
    flat = base | {"context.planner": "a", "context.critic": "b"}
    nested = base | {"context": {"planner": "a", "critic": "b", "solver": None}}
    first, second = load(write(tmp_path, [flat, nested]))
    assert first.question.context == second.question.context == {"planner": "a", "critic": "b"}
    assert first.key == second.key


def test_columns_map_our_names_to_those_of_the_file(tmp_path: Path) -> None:
    row = {"problem": "Why?", "gold": 7, "notes": "psst", "idea": "think", "plan": "not this", "context": "a page"}
    columns = {"question": "problem", "answer": "gold", "context.critic": "notes", "planner": "idea", "context": ""}
    (example,) = load(write(tmp_path, [row]), columns=columns)
    assert (example.question.text, example.answer) == ("Why?", "7")
    assert example.question.context == {"critic": "psst"}
    assert example.targets == {"planner": "think"}


def test_an_empty_name_leaves_a_target_out(tmp_path: Path) -> None:
    row = {"question": "Why?", "answer": "so", "plan": "think"}
    (example,) = load(write(tmp_path, [row]), columns={"planner": ""})
    assert example.targets == {}


@pytest.mark.parametrize(
    ("role", "name"),
    [
        *((role, name) for role, names in TARGETS.items() for name in names),
        *((role, name.format(role)) for role in ("math", "code") for name in EXPERT),
        ("solver", "target.solver"),
    ],
)
def test_each_released_name_of_a_role_target_is_found(tmp_path: Path, role: str, name: str) -> None:
    row = {"question": "Why?", "answer": "so", name: "wanted"}
    (example,) = load(write(tmp_path, [row]), roles=(role,))
    assert example.targets == {role: "wanted"}


def test_an_empty_target_falls_through_to_the_next_name(tmp_path: Path) -> None:
    row = {"question": "Why?", "answer": "so", "hie_summarizer": None, "summary": "in short"}
    (example,) = load(write(tmp_path, [row]), roles=("summarizer",))
    assert example.targets == {"summarizer": "in short"}


@pytest.mark.parametrize(
    ("answer", "text"), [(7, "7"), (7.0, "7"), (-0.25, "-0.25"), ("  x ", "x"), (10**20, "1" + "0" * 20)]
)
def test_an_answer_may_be_a_number(tmp_path: Path, answer: object, text: str) -> None:
    (example,) = load(write(tmp_path, [{"question": "?", "answer": answer}]))
    assert example.answer == text


@pytest.mark.parametrize("form", ["list", "data"])
def test_a_json_file_holds_a_list_or_a_data_key(tmp_path: Path, form: str) -> None:
    rows = [{"question": "a?", "answer": "a"}, {"question": "b?", "answer": "b"}]
    (tmp_path / "rows.json").write_text(json.dumps(rows if form == "list" else {"data": rows}, indent=1))
    assert [example.answer for example in load(str(tmp_path / "rows.json"))] == ["a", "b"]


def test_a_line_separator_inside_a_text_does_not_end_the_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "a\u2028b?", "answer": "c"}\n\n', encoding="utf-8")
    (example,) = load(str(path))
    assert example.question.text == "a\u2028b?"


def test_the_answer_of_a_worked_solution_stands_behind_its_mark(tmp_path: Path) -> None:
    (example,) = load(write(tmp_path, [GSM8K]), answer_after="####")
    assert example.answer == "72000"
    assert example.targets == {}
    assert "1,000" in example.question.text


def test_the_last_mark_counts(tmp_path: Path) -> None:
    (example,) = load(write(tmp_path, [{"question": "?", "answer": "a #### b #### c, d"}]), answer_after="####")
    assert example.answer == "c, d"


def test_a_worked_solution_becomes_the_target_of_roles_without_a_column(tmp_path: Path) -> None:
    data = write(tmp_path, [GSM8K | {"plan": "halve, then add"}])
    (example,) = load(data, answer_after="####", solution_as_target=True)
    solution = "She packs 48/2 = 24 more.\nThat is 48+24 = 72."
    assert example.targets == {"planner": "halve, then add", "critic": solution, "solver": solution}


def test_sources_are_joined_in_order(tmp_path: Path) -> None:
    one = write(tmp_path, [{"question": "a?", "answer": "a"}], "one.jsonl")
    two = write(tmp_path, [{"question": "b?", "answer": "b"}], "two.jsonl")
    examples = load(f"{one} + reasoning_gym:chain_sum?size=2 + {two}")
    assert [len(examples), examples[0].answer, examples[3].answer] == [4, "a", "b"]


BASE = {"question": "Why?", "answer": "so"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "rows.jsonl: the file is empty"),
        (" \n\n", "rows.jsonl: the file is empty"),
        ("{'question': 1}", "rows.jsonl:1: not JSON: Expecting property name"),
        ('{"question": "Why?", "answer": "so"}\n{"quest', "rows.jsonl:2: not JSON"),
        ('{"question": "Why?", "answer": "so"}\n\n{"question": "b?", "answer": "b"}', "rows.jsonl:2: an empty row"),
        ("{}", "rows.jsonl:1: an empty row"),
        ("[1]", r"rows.jsonl:1: expected an object with columns, got \[1\]"),
        (
            '{"questions": "a", "answer": "b"}',
            r"column 'question' \(have answer, questions\). Did you mean 'questions'",
        ),
        ('{"question": "a"}', r"rows.jsonl:1: no column for answer: unknown column 'answer' \(have question\)"),
        ('{"question": "a", "answer": " "}', "rows.jsonl:1: answer is empty"),
        ('{"question": "", "answer": "b"}', "rows.jsonl:1: question is empty"),
        ('{"question": 3, "answer": "b"}', "rows.jsonl:1: question is 3, expected a text"),
        ('{"question": "a", "answer": ["b"]}', r"answer is \['b'\], expected a text or a number"),
        ('{"question": "a", "answer": true}', "answer is True, expected a text or a number"),
        ('{"question": "a", "answer": null}', "answer is None, expected a text or a number"),
        ('{"question": "a", "answer": NaN}', "answer is nan, expected a text or a number"),
        (
            '{"question": "a", "answer": "b", "context.plannr": "c"}',
            "context: unknown role 'plannr' .* Did you mean 'planner'",
        ),
        ('{"question": "a", "answer": "b", "context": {"boss": "c"}}', "rows.jsonl:1: context: unknown role 'boss'"),
        ('{"question": "a", "answer": "b", "target.boss": "c"}', "rows.jsonl:1: target: unknown role 'boss'"),
        ('{"question": "a", "answer": "b", "context": "a page"}', 'context is no table .* columns.context = ""'),
        ('{"question": "a", "answer": "b", "context.critic": 3}', "context.critic is 3, expected a text"),
        ('{"question": "a", "answer": "b", "plan": 3}', "rows.jsonl:1: plan is 3, expected a text"),
        ('{"question": "a \\ud800", "answer": "b"}', "rows.jsonl:1: question holds half of a surrogate pair"),
    ],
)
def test_a_bad_row_is_one_line_that_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as raised:
        load(str(tmp_path / "rows.jsonl"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"quest": "x"}}, "columns: unknown column 'quest'.* Did you mean 'question'"),
        ({"columns": {"question": "questoin"}}, "rows.jsonl:1: no column for question: unknown column 'questoin'"),
        ({"columns": {"planner": "idea"}}, "no column for the target of planner: unknown column 'idea'"),
        ({"columns": {"context.critic": "notes"}}, "no column for context.critic: unknown column 'notes'"),
        ({"answer_after": "####"}, "rows.jsonl:1: nothing behind '####' in the answer 'so'"),
        ({"solution_as_target": True}, "answer_after is not given"),
        ({"limit": 0}, "limit is 0, expected 1 or more"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load(write(tmp_path, [BASE]), **settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nowhere/rows.jsonl", "nowhere/rows.jsonl: no such file"),
        ("rows.csv", "'rows.csv' is no source. Expected a .jsonl or .json file"),
        ("gym:chain_sum", "'gym:chain_sum' is no source"),
        ("reasoning_gym:chain_sums", "unknown reasoning_gym family 'chain_sums' .* Did you mean 'chain_sum'"),
        ("reasoning_gym:chain_sum?max_term=3", r"unknown parameter 'max_term' \(have .*\). Did you mean 'max_terms'"),
        ("reasoning_gym:chain_sum?max_terms=few", "max_terms is 'few', expected a whole number"),
        ("reasoning_gym:chain_sum?allow_negation=1", "allow_negation is '1', expected true or false"),
        ("reasoning_gym:word_sorting?transformation=low", "'low', expected one of lowercase, uppercase"),
        ("reasoning_gym:chain_sum?min_terms=3&max_terms=2", "refuses .*: max_terms must be >= min_terms"),
        ("reasoning_gym:chain_sum?size=0", "size is 0, expected 1 or more"),
        ("reasoning_gym:chain_sum?size", "'size' is no option"),
        ("reasoning_gym:chain_sum?size=1&size=2", "size is given twice"),
        ("reasoning_gym:graph_color?size=1", "item 0: it has many answers and gives none"),
        (f"reasoning_gym:{UNREPEATABLE[0]}", "its items change from process to process"),
        ("hf:./nowhere", "hf:./nowhere: no such folder"),
        ("hf:owner/name?splt=x", "unknown option 'splt' .* Did you mean 'split'"),
    ],
)
def test_a_bad_source_is_one_line_that_names_it(data: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load(data)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"rows\.jsonl: cannot be read"):
        load(str(tmp_path / "rows.jsonl"))


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").mkdir()
    with pytest.raises(ConfigError, match=r"rows\.jsonl: cannot be read"):
        load(str(tmp_path / "rows.jsonl"))


# Datasets and generators


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_folder_of_data_files_reads_as_a_dataset(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [{"problem": "a?", "answer": 1, "plan": "p"}, {"problem": "b?", "answer": 2, "plan": None}]
    (tmp_path / "set").mkdir()
    if form == "jsonl":
        write(tmp_path / "set", rows, "train.jsonl")
    else:
        datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "set" / "train.parquet"))
    examples = load(f"hf:{tmp_path}/set", columns={"question": "problem"})
    assert [(e.question.text, e.answer, dict(e.targets)) for e in examples] == [
        ("a?", "1", {"planner": "p"}),
        ("b?", "2", {}),
    ]
    with pytest.raises(ConfigError, match=r"cannot be loaded \(Bad split: test"):
        load(f"hf:{tmp_path}/set?split=test", columns={"question": "problem"})


def test_a_dataset_of_the_hub_is_asked_for_by_split_revision_and_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load_dataset(path: str, **options: Any) -> list[dict[str, str]]:
        asked.update(options, path=path)
        return [BASE]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    (example,) = load("hf:owner/name?split=dev&revision=abc&name=main")
    assert example.answer == "so"
    assert asked == {"path": "owner/name", "split": "dev", "revision": "abc", "name": "main", "streaming": False}


def test_a_dataset_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(path: str, **options: Any) -> None:
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ConfigError, match=r"hf:owner/name: cannot be loaded \(no route\)\.$"):
        load("hf:owner/name")


def test_a_generator_is_repeatable_and_stripped() -> None:
    data = "reasoning_gym:leg_counting?size=20&max_animals=4"  # no seed: 0
    first, second = load(data), load(data)
    assert [example.key for example in first] == [example.key for example in second]
    assert all(example.question.text == example.question.text.strip() for example in first)


def test_neighbouring_seeds_of_a_generator_share_all_but_one_item() -> None:
    one, two = ({e.key for e in load(f"reasoning_gym:leg_counting?size=20&seed={seed}")} for seed in (1, 2))
    assert len(one & two) == 19


def test_parameters_take_the_type_of_their_default() -> None:
    (example,) = load(
        "reasoning_gym:basic_arithmetic?size=1&min_terms=4&max_terms=4&operators=+&allow_parentheses=false"
    )
    assert example.question.text.count("+") == 3


def test_an_address_comes_apart() -> None:
    assert parse_address("a/b?x=1&y=p=q") == ("a/b", {"x": "1", "y": "p=q"})


def test_columns_do_not_touch_a_generator() -> None:
    examples = load("reasoning_gym:chain_sum?size=3", columns={"answer": "gold"}, answer_after="####")
    assert len(examples) == 3


# Splitting


def test_the_key_is_what_is_asked_not_what_is_answered() -> None:
    def key(text: str, answer: str = "1", item: str = "", **context: str) -> str:
        return Example(question=Question(text=text, context=context), answer=answer, item=item).key

    assert key("a?") == key("a?", "2")
    assert key("a?", planner="x", critic="y") == key("a?", critic="y", planner="x")
    assert len({key("a?"), key("b?"), key("a?", planner="x"), key("a?", critic="x")}) == 4
    assert key("a?", item="i") == key("b?", item="i") != key("a?")


def test_train_and_dev_share_no_key_and_repeats_are_dropped() -> None:
    examples = numbered(50) * 2
    split = split_examples(examples, dev=20)
    train, dev = ([e.key for e in side] for side in split)
    assert (len(train), len(dev)) == (30, 20)
    assert len({*train, *dev}) == 50
    assert max(dev) < min(train)


def test_the_split_does_not_depend_on_the_order() -> None:
    examples = numbered(50)
    mixed = random.Random(1).sample(examples, 50)
    assert split_examples(mixed, dev=10).dev == split_examples(examples, dev=10).dev


def test_what_was_trained_on_never_comes_to_dev_when_data_is_added() -> None:
    few, many = split_examples(numbered(100), dev=20), split_examples(numbered(300), dev=20)
    assert not {e.key for e in few.train} & {e.key for e in many.dev}
    assert {e.key for e in few.dev} & {e.key for e in many.train}  # the other way it happens, as documented


def test_a_limit_keeps_the_dev_side(tmp_path: Path) -> None:
    data = write(tmp_path, [{"question": f"What is {i}?", "answer": i} for i in range(100)])
    whole = split_examples(load(data), dev=10)
    few = split_examples(load(data, limit=30), dev=10)
    assert few.dev == whole.dev
    assert len(few.train) == 20
    assert set(map(str, few.train)) < set(map(str, whole.train))


def test_a_limit_keeps_the_order_of_the_file(tmp_path: Path) -> None:
    data = write(tmp_path, [{"question": f"What is {i}?", "answer": i} for i in range(100)])
    answers = [int(example.answer) for example in load(data, limit=30)]
    assert answers == sorted(answers)
    assert answers != list(range(30))


@pytest.mark.parametrize("dev", [5, 9])
def test_a_dev_side_that_leaves_nothing_to_train_on_is_refused(dev: int) -> None:
    with pytest.raises(ConfigError, match=f"dev is {dev}, but the data has 5 different examples"):
        split_examples(numbered(5) * 2, dev=dev)


def test_no_dev_side_is_legal() -> None:
    assert len(split_examples(numbered(5), dev=0).train) == 5


def test_chance_is_the_share_of_the_most_frequent_answer() -> None:
    examples = [Example(question=Question(text="?"), answer=answer) for answer in "aabc"]
    assert chance(examples) == 0.5


# Batches

LENGTHS = [random.Random(i).randint(1, 400) for i in range(1003)]


def order(lengths: list[int], *, seed: int, steps: range, batch_size: int = 8) -> list[list[int]]:
    batches = Batches(lengths, batch_size=batch_size, seed=seed)
    return [batches[step] for step in steps]


def test_the_same_seed_gives_the_same_order_and_another_seed_another() -> None:
    steps = range(300)
    assert order(LENGTHS, seed=1, steps=steps) == order(LENGTHS, seed=1, steps=steps)
    assert order(LENGTHS, seed=1, steps=steps) != order(LENGTHS, seed=2, steps=steps)


def test_random_access_equals_walking() -> None:
    walked = order(LENGTHS, seed=1, steps=range(300))
    batches = Batches(LENGTHS, batch_size=8, seed=1)
    steps = random.Random(0).sample(range(300), 300)
    assert [batches[step] for step in steps] == [walked[step] for step in steps]


def test_an_epoch_holds_every_example_at_most_once_and_drops_only_the_remainder() -> None:
    batches = Batches(LENGTHS, batch_size=8, seed=1)
    assert batches.per_epoch == 125
    epochs = [[i for step in range(e * 125, e * 125 + 125) for i in batches[step]] for e in range(2)]
    for seen in epochs:
        assert len(seen) == len(set(seen)) == 1000
    assert set(epochs[0]) != set(epochs[1])  # others sit out


def test_epochs_differ_in_order() -> None:
    first, second = (order(LENGTHS, seed=1, steps=range(e * 125, e * 125 + 125)) for e in range(2))
    assert sorted(map(sorted, first)) != sorted(map(sorted, second))


def test_buckets_pad_less_than_half_as_much_as_a_plain_shuffle() -> None:
    def waste(batches: list[list[int]]) -> int:
        return sum(max(LENGTHS[i] for i in batch) - LENGTHS[j] for batch in batches for j in batch)

    plain = random.Random(0).sample(range(1003), 1000)
    assert waste(order(LENGTHS, seed=1, steps=range(125))) < 0.5 * waste([plain[i : i + 8] for i in range(0, 1000, 8)])


def test_long_batches_do_not_come_in_order_of_length() -> None:
    means = [sum(LENGTHS[i] for i in batch) for batch in order(LENGTHS, seed=1, steps=range(125))]
    assert means != sorted(means)
    assert means[:16] != sorted(means[:16])


def test_batches_that_are_not_by_length_mix_short_and_long() -> None:
    lengths = [10] * 400 + [90] * 400
    kinds = [
        {frozenset(lengths[i] for i in Batches(lengths, batch_size=8, seed=1, by_length=by)[s]) for s in range(100)}
        for by in (True, False)
    ]
    assert len([batch for batch in kinds[0] if len(batch) == 2]) <= 1 < len(kinds[0])
    mixed = [
        len({lengths[i] for i in Batches(lengths, batch_size=8, seed=1, by_length=False)[s]}) == 2 for s in range(100)
    ]
    assert sum(mixed) > 90


@pytest.mark.parametrize("by_length", [True, False])
def test_fixed_batches_are_those_of_the_first_epoch_in_another_order(by_length: bool) -> None:
    lengths = list(range(50))
    fixed = Batches(lengths, batch_size=4, seed=1, by_length=by_length, fixed=True)
    free = Batches(lengths, batch_size=4, seed=1, by_length=by_length)
    epochs = [[tuple(fixed[12 * epoch + place]) for place in range(12)] for epoch in range(3)]
    assert epochs[0] == [tuple(free[place]) for place in range(12)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert epochs[0] != epochs[1] != epochs[2]
    assert tuple(fixed[3]) == epochs[0][3]  # asked for again, out of order


def test_a_batch_may_be_changed_without_changing_the_order() -> None:
    batches = Batches(LENGTHS, batch_size=8, seed=1)
    kept = list(batches[0])
    batches[0].clear()
    assert batches[0] == kept


@pytest.mark.parametrize(
    ("size", "message"), [(0, "batch_size is 0"), (4, r"batch_size is 4, expected at most .* \(3\)")]
)
def test_a_batch_size_that_does_not_fit_is_refused(size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Batches([1, 2, 3], batch_size=size, seed=0)


def test_a_whole_set_may_be_one_batch() -> None:
    assert sorted(Batches([3, 1, 2], batch_size=3, seed=0)[5]) == [0, 1, 2]


def test_a_length_counts_the_question_and_its_longest_context() -> None:
    question = Question(text="1234", context={"planner": "12", "critic": "123"})
    assert lengths_of([Example(question=question, answer="long" * 9), *numbered(1)]) == [7, len("What is 0?")]
