"""Tasks: the hub's columns and the common local ones read to the same samples. All rows are our own."""

import base64
import contextlib
import hashlib
import io
import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest
import reasoning_gym  # noqa: F401  its import takes seconds: paid at collection, not in a test
import torch  # noqa: F401  the same: datasets imports it when it streams

from rmas.errors import ConfigError
from rmas.eval.grade import grade
from rmas.eval.task import FORMATS, CodeTests, Sample, Task, find_task, load_samples
from rmas.eval.tasks import TASKS
from rmas.eval.tasks.livecode import read_cases
from rmas.prompt import KINDS
from rmas.rows import Row
from task_zoo import CASES, GOLDEN, METAL, NAMES, SUM_CASES, Golden

ROOT = Path(__file__).parent.parent


def write(folder: Path, rows: Iterable[Any], name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def load(folder: Path, name: str, *rows: dict[str, Any], limit: int | None = None) -> list[Sample]:
    return load_samples(find_task(name), data=write(folder, rows), limit=limit)


def without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in names}


def first(name: str) -> dict[str, Any]:
    return GOLDEN[name][0].forms[0]


def passes(text: str, tests: CodeTests) -> bool:
    """Run our own few golden programs, which need no sandbox."""
    program = text.partition("```python\n")[2].partition("```")[0]
    space: dict[str, Any] = {}
    try:
        if tests.kind == "script":
            exec(program, space)
            exec(tests.script, space)
            return True
        if tests.kind == "function":
            exec(program, space)
            call = getattr(space["Solution"](), tests.function)
            return all(call(*json.loads(given)) == json.loads(expected) for given, expected in tests.cases)
        for given, expected in tests.cases:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(program, {"input": io.StringIO(given).readline})
            if out.getvalue() != expected:
                return False
    except AssertionError:
        return False
    return True


# What holds for every task


@pytest.mark.parametrize("name", NAMES)
def test_every_task_has_golden_rows(name: str) -> None:
    assert GOLDEN.get(name), f"write golden rows for {name}: the hub's columns first"


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_is_filled_in(task: Task) -> None:
    assert task is find_task(task.name)
    assert task.format in FORMATS
    assert task.kind in KINDS
    assert task.max_new_tokens > 0
    assert task.size is not None
    assert all((task.about, task.citation, task.version))
    assert "\n" not in task.about + task.citation + task.how_to_get
    assert task.how_to_get or not task.is_gated


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_source_names_a_split_and_a_commit(task: Task) -> None:
    assert re.fullmatch(r"hf:[\w-]+/[\w-]+\?(name=\w+&)?split=\w+&revision=[0-9a-f]{40}", task.source)


@pytest.mark.parametrize(("name", "golden"), CASES)
def test_every_form_of_a_row_reads_to_the_same_question_and_target(name: str, golden: Golden, tmp_path: Path) -> None:
    task = find_task(name)
    for form in golden.forms:
        (sample,) = load(tmp_path, name, form)
        assert sample.question.text == golden.question
        assert sample.question.kind == task.kind
        assert sample.question.context == {}
        assert sample.target == golden.target


@pytest.mark.parametrize(("name", "golden"), CASES)
def test_an_id_is_the_rows_own_or_a_hash_of_what_is_asked(name: str, golden: Golden, tmp_path: Path) -> None:
    own, *others = [load(tmp_path, name, form)[0].id for form in golden.forms]
    assert own == golden.id
    assert all(other == own or re.fullmatch("[0-9a-f]{16}", other) for other in others)


@pytest.mark.parametrize(("name", "golden"), CASES)
def test_nothing_hidden_is_in_the_question(name: str, golden: Golden) -> None:
    assert [text for text in golden.hidden if text in golden.question] == []
    if golden.target.tests and name != "mbpp":  # whose tests are the asserts shown
        assert golden.target.tests.script not in golden.question or not golden.target.tests.script


@pytest.mark.parametrize(("name", "golden"), CASES)
def test_a_target_has_what_its_format_needs(name: str, golden: Golden) -> None:
    format, target = find_task(name).format, golden.target
    assert (target.tests is not None) == (format == "code")
    assert len(target.answers) == {"code": 0, "short": max(1, len(target.answers))}.get(format, 1)
    assert (len(target.options) > 1) == (format == "choice")
    if format == "choice":
        assert target.answers[0] in "ABCDEFGHIJ"[: len(target.options)]


@pytest.mark.parametrize(("name", "golden"), [case for case in CASES if case[1].target.tests])
def test_a_right_program_passes_its_tests_and_a_wrong_one_does_not(name: str, golden: Golden) -> None:
    assert golden.target.tests
    assert passes(golden.right, golden.target.tests)
    assert not passes(golden.wrong, golden.target.tests)


@pytest.mark.parametrize(("name", "golden"), [case for case in CASES if not case[1].target.tests])
def test_gold_grades_correct_another_answer_wrong_and_no_text_unparsed(name: str, golden: Golden) -> None:
    format = find_task(name).format
    assert grade(golden.right, golden.target, format).verdict == "correct"
    assert grade(golden.wrong, golden.target, format).verdict == "wrong"
    assert grade("", golden.target, format).verdict == "unparsed"


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_asks_the_hub_for_its_split_and_commit(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load_dataset(path: str, **options: Any) -> list[dict[str, Any]]:
        asked.update(options, path=path)
        return [first(task.name)]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    (sample,) = load_samples(task)
    assert sample.id == GOLDEN[task.name][0].id
    for part in task.source.removeprefix("hf:").replace("?", "&").split("&")[1:]:
        option, _, value = part.partition("=")
        assert asked[option] == value
    assert task.source.startswith(f"hf:{asked['path']}?")


@pytest.mark.parametrize(
    "problem", [ConnectionError("no route\nto the hub"), ValueError("is a gated dataset")], ids=str
)
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_data_out_of_reach_is_one_line_with_what_to_do(
    task: Task, problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_dataset(path: str, **options: Any) -> None:
        raise problem

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ConfigError) as raised:
        load_samples(task)
    message = str(raised.value)
    assert message.startswith(f"{task.name}: ")
    assert str(problem).splitlines()[0] in message
    assert f"https://huggingface.co/datasets/{task.source[3:].partition('?')[0]}" in message
    assert "--data PATH" in message
    assert "\n" not in message


def test_gated_data_says_how_to_be_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(path: str, **options: Any) -> None:
        raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{path}' is a gated dataset on the Hub.")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ConfigError, match=r"gpqa_diamond: .* gated .* accept its terms at https.*hf auth login"):
        load_samples(find_task("gpqa_diamond"))


# Reading


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("math50", r"unknown task 'math50' .* Did you mean 'math500'\?"),
        ("MATH500", "unknown task 'MATH500' "),
        ("aime2027", "Did you mean 'aime202[56]'"),
        ("reasoning_gym", "Did you mean 'reasoning_gym:FAMILY'"),
        ("reasoning_gym:", "names no family. Write reasoning_gym:chain_sum"),
        ("reasoning_gym:chain_sum?size", "'size' is no option"),
        ("reasoning_gym:chain_sum?size=0", "reasoning_gym:chain_sum: size is 0, expected 1 or more"),
        ("", "unknown task ''"),
    ],
)
def test_an_unknown_task_names_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        find_task(name)
    assert "\n" not in str(raised.value)


GPQA, MEDQA_LIST, LCB = first("gpqa_diamond"), GOLDEN["medqa"][0].forms[1], first("livecodebench")


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("math500", {"questoin": "a", "answer": "b"}, r"no question or problem .*'question' \(have .*mean 'questoin'"),
        ("math500", {"problm": "a", "answer": "b"}, "unknown field 'problem' .* Did you mean 'problm'"),
        ("math500", {"question": "a"}, r"no answer or .* \(the answer in LaTeX\): .* \(have question\)"),
        ("math500", {"question": "a", "answer": None}, "rows.jsonl:1: no answer"),
        ("math500", {"question": "a", "answer": " "}, "rows.jsonl:1: answer is ' ', expected the answer in LaTeX"),
        ("math500", {"question": "", "answer": "b"}, "question is '', expected the problem"),
        ("math500", {"question": 3, "answer": "b"}, "question is 3, expected the problem"),
        ("math500", {"question": "a", "answer": ["b"]}, r"answer is \['b'\], expected"),
        ("math500", {"question": "a", "answer": float("nan")}, "answer is nan, expected"),
        ("math500", {"question": "a", "answer": True}, "answer is True, expected"),
        ("math500", {"question": "a \ud800", "answer": "b"}, "question holds half of a surrogate pair"),
        ("aime2025", {"problem": "a", "answer": "1000"}, "answer is '1000', expected a whole number from 0 to 999"),
        ("aime2025", {"problem": "a", "answer": "-1"}, "a whole number from 0 to 999"),
        ("aime2026", {"problem": "a", "answer": 2.5}, "answer is 2.5, expected a whole number from 0 to 999"),
        ("gsm8k", {"question": "a", "answer": "It is six."}, "'It is six.', expected a solution that ends with ####"),
        ("gsm8k", {"question": "a", "answer": "It is 6.\n####"}, "expected a solution that ends with ####"),
        ("gsm8k", {"question": "a", "answer": "#### 6 sheep"}, "expected a solution that ends with ####"),
        ("gpqa_diamond", without(GPQA, "Correct Answer"), r"no correct_answer \(the right answer\): .*'Incorrect Ans"),
        ("gpqa_diamond", without(GPQA, "Incorrect Answer 2"), "no incorrect_answer_2 .* mean 'Incorrect Answer [13]'"),
        ("gpqa_diamond", GPQA | {"Incorrect Answer 3": ""}, "Incorrect Answer 3 is '', expected a wrong answer"),
        ("medqa", without(MEDQA_LIST, "options"), r"no options or choices \(the options\)"),
        ("medqa", without(MEDQA_LIST, "answer"), "no answer_idx or answer"),
        ("medqa", MEDQA_LIST | {"options": []}, r"options is \[\], expected a list of texts, or a mapping"),
        ("medqa", MEDQA_LIST | {"options": ["one"]}, "expected a list of texts, or a mapping"),
        ("medqa", MEDQA_LIST | {"options": {"A": "x", "C": "y"}}, "expected a list of texts, or a mapping"),
        ("medqa", MEDQA_LIST | {"options": "A or B"}, "options is 'A or B', expected a list of texts, or a mapping"),
        ("medqa", MEDQA_LIST | {"options": ["x", None]}, "options is None, expected a list of texts"),
        ("medqa", MEDQA_LIST | {"answer": "E"}, "answer is 'E', expected a letter from A to D, or the text of one"),
        ("medqa", MEDQA_LIST | {"answer": "Kidneys"}, "answer is 'Kidneys', expected a letter from A to D"),
        ("medqa", MEDQA_LIST | {"answer": 2}, "answer is 2, expected a letter from A to D"),
        ("medqa", MEDQA_LIST | {"answer_idx": "Kidney"}, "answer_idx is 'Kidney', expected a letter from A to D"),
        ("medqa", MEDQA_LIST | {"options": ["x", "A", "y"], "answer": "A"}, "answer 'A' fits several options"),
        ("medqa", MEDQA_LIST | {"options": ["x", "X"], "answer": "x"}, "answer 'x' fits several options"),
        ("humaneval", without(first("humaneval"), "entry_point"), r"no entry_point \(the name of the function\)"),
        ("humaneval", without(first("humaneval"), "test"), r"no test \(the tests\)"),
        ("humaneval", without(first("humaneval"), "prompt"), r"no prompt \(the code to complete\)"),
        ("mbpp", without(first("mbpp"), "task_id"), r"no task_id \(a whole number\)"),
        ("mbpp", first("mbpp") | {"task_id": "eleven"}, "task_id is 'eleven', expected a whole number"),
        ("mbpp", without(first("mbpp"), "test_list"), r"no test_list .* Did you mean 'challenge_test_list'"),
        ("mbpp", first("mbpp") | {"test_list": []}, r"test_list is \[\], expected a list of asserts"),
        ("mbpp", first("mbpp") | {"test_list": [7]}, "test_list is 7, expected a list of asserts"),
        ("mbpp", first("mbpp") | {"test_setup_code": 7}, "test_setup_code is 7, expected Python text"),
        ("mbpp", without(first("mbpp"), "text"), r"no text or prompt \(what the function does\)"),
        ("mbpp_plus", without(first("mbpp_plus"), "test"), r"no test \(the script of all tests\): .* mean 'test_list'"),
        ("hotpotqa", {"question": "a", "answer": []}, r"answer is \[\], expected the answer, or a list"),
        ("bamboogle", {"Question": "a", "Answer": ["x", ""]}, "Answer is '', expected the answer, or a list"),
        ("bamboogle", {"Question": "a", "Anser": "x"}, "no answer .* Did you mean 'Anser'"),
        ("livecodebench", without(LCB, "question_content"), r"no question_content \(the statement\)"),
        ("livecodebench", without(LCB, "public_test_cases"), "no public_test_cases .* mean 'private_test_cases'"),
        ("livecodebench", without(LCB, "private_test_cases"), "no private_test_cases .*or its encoded form"),
        (
            "livecodebench",
            LCB | {"private_test_cases": "[{"},
            r"private_test_cases is '\[\{', expected a list of cases",
        ),
        ("livecodebench", LCB | {"private_test_cases": "{}"}, "private_test_cases: expected a list of cases"),
        ("livecodebench", LCB | {"public_test_cases": "[1]"}, "public_test_cases: case 0: expected an object"),
        ("livecodebench", LCB | {"public_test_cases": '[{"input": "1"}]'}, "case 0: expected an object with the texts"),
        ("livecodebench", LCB | {"metadata": "[" * 99999}, r"metadata is '\[\[.*, expected an object, with func_name"),
        ("livecodebench", LCB | {"metadata": "[]"}, "metadata is .*, expected an object, with func_name"),
        ("livecodebench", LCB | {"metadata": '{"func_name": "f"}'}, "testtype is 'stdin', and func_name is 'f'"),
        ("livecodebench", LCB | {"public_test_cases": "[]", "private_test_cases": "[]"}, "are both empty"),
        (
            "livecodebench",
            LCB | {"metadata": {"func_name": "f"}, "public_test_cases": [{"input": "oops", "output": "1"}]},
            r"case 0: '\[oops\]' is not JSON",
        ),
        ("reasoning_gym:chain_sum", {"question": "a"}, r"no answer .* \(the answer\)"),
    ],
)
def test_a_bad_row_is_one_line_that_names_place_and_field(
    name: str, row: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load(tmp_path, name, row)
    assert f"{tmp_path}/rows.jsonl:1: " in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_line_of_a_bad_row_is_its_own(tmp_path: Path) -> None:
    rows = [{"question": f"{n}?", "answer": n} for n in range(3)]
    with pytest.raises(ConfigError, match=r"rows\.jsonl:4: no answer"):
        load(tmp_path, "math500", *rows, {"question": "3?"})


@pytest.mark.parametrize(
    ("asserts", "code", "function"),
    [
        (["assert add(1, 2) == 3"], "def add(a, b):\n    return a + b", "add"),
        (["assert set(pairs((1, 2))) == set((1,))"], "def helper():\n    pass\n\ndef pairs(x):\n    return x", "pairs"),
        (["assert math.isclose(area(3), 9.5)"], "", "area"),
        (["assert is_it is not None"], "", ""),
    ],
)
def test_an_mbpp_question_names_the_function_that_its_tests_call(
    tmp_path: Path, asserts: list[str], code: str, function: str
) -> None:
    (sample,) = load(tmp_path, "mbpp_plus", first("mbpp_plus") | {"test_list": asserts, "code": code})
    assert sample.question.function == function


def test_other_code_questions_name_their_function_and_programs_none(tmp_path: Path) -> None:
    (sample,) = load(tmp_path, "humaneval", first("humaneval"))
    assert sample.question.function == first("humaneval")["entry_point"]
    for golden in GOLDEN["livecodebench"]:
        (sample,) = load(tmp_path, "livecodebench", golden.forms[0])
        assert sample.target.tests is not None
        assert sample.question.function == sample.target.tests.function


@pytest.mark.parametrize("task_id", [1, 10, 511, 974])
def test_rows_of_mbpps_other_splits_are_passed_over(task_id: int, tmp_path: Path) -> None:
    samples = load(tmp_path, "mbpp", first("mbpp") | {"task_id": task_id}, first("mbpp"))
    assert [sample.id for sample in samples] == ["11"]


def test_a_file_of_another_split_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mbpp: none of the 2 rows of .*rows.jsonl is a sample of it"):
        load(tmp_path, "mbpp", *(first("mbpp") | {"task_id": number} for number in (1, 2)))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rows\.jsonl: the file is empty"):
        load(tmp_path, "math500")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nowhere.jsonl", "nowhere.jsonl: no such file"),
        ("nowhere.csv", "'nowhere.csv' is no source. Expected a .jsonl or .json file, hf:OWNER/NAME"),
        ("gym:chain_sum", "'gym:chain_sum' is no source"),
        ("hf:./nowhere", "hf:./nowhere: no such folder"),
        ("reasoning_gym:chain_sums", "Did you mean 'chain_sum'"),
    ],
)
def test_a_bad_source_is_one_line_that_names_it(data: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load_samples(find_task("math500"), data=data)
    assert "\n" not in str(raised.value)


def test_limit_takes_the_first_in_stored_order(tmp_path: Path) -> None:
    rows = [{"question": f"{n}?", "answer": n} for n in (5, 3, 4)]
    assert [sample.target.answers for sample in load(tmp_path, "math500", *rows, limit=2)] == [("5",), ("3",)]
    with pytest.raises(ConfigError, match="limit is 0, expected 1 or more"):
        load(tmp_path, "math500", *rows, limit=0)


def test_an_id_without_a_field_of_its_own_does_not_depend_on_place_or_answer(tmp_path: Path) -> None:
    rows = [{"question": f"{n}?", "answer": n} for n in range(3)]
    ids = {sample.question.text: sample.id for sample in load(tmp_path, "math500", *rows)}
    again = load(tmp_path, "math500", *({**row, "answer": "x"} for row in reversed(rows)))
    assert {sample.question.text: sample.id for sample in again} == ids
    assert len(set(ids.values())) == 3


@pytest.mark.parametrize("row", [{"question": "a?", "answer": "x"}, {"question": "b?", "answer": "y", "id": "7"}])
def test_two_rows_with_one_id_are_refused_with_both_places(row: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rows\.jsonl:3: math500: a second sample .* \(the first: .*rows\.jsonl:1\)"):
        load(tmp_path, "math500", row, {"question": "c?", "answer": "z"}, row)


def test_sources_are_joined_in_order(tmp_path: Path) -> None:
    one = write(tmp_path, [{"question": "a?", "answer": "a"}], "one.jsonl")
    two = write(tmp_path, [{"question": "b?", "answer": "b"}], "two.jsonl")
    samples = load_samples(find_task("math500"), data=f"{one} + {two}")
    assert [sample.question.text for sample in samples] == ["a?", "b?"]


def test_a_download_of_the_hub_reads_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_list([GPQA]).to_csv(tmp_path / "set" / "gpqa_diamond.csv")
    (sample,) = load_samples(find_task("gpqa_diamond"), data=f"hf:{tmp_path}/set")
    assert sample.target == GOLDEN["gpqa_diamond"][0].target


def test_a_set_that_is_not_whole_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = {"question": "a?", "answer": "a"}
    with caplog.at_level(logging.WARNING):
        load(tmp_path, "math500", row, limit=1)
        assert caplog.messages == []
        load(tmp_path, "math500", row)
    assert caplog.messages == ["math500: 1 samples were read, the whole set has 500"]


# Choice


def test_options_stand_in_an_order_that_depends_on_the_question_alone() -> None:
    letters = []
    for number in range(400):
        fields = {"Question": f"Q{number}", "Correct Answer": "right"}
        fields |= {f"Incorrect Answer {wrong}": f"wrong {wrong}" for wrong in (1, 2, 3)}
        sample = TASKS["gpqa_diamond"].read(Row("place", fields))
        turned = dict(fields, **{"Incorrect Answer 1": "wrong 3", "Incorrect Answer 3": "wrong 1"})
        assert sample == TASKS["gpqa_diamond"].read(Row("place", turned))
        assert sample is not None
        assert sample.target.options["ABCD".index(sample.target.answers[0])] == "right"
        letters.append(sample.target.answers[0])
    assert all(70 <= letters.count(letter) <= 130 for letter in "ABCD")  # 100 ± 3.5 standard deviations


def test_the_order_of_options_is_the_one_that_is_documented() -> None:
    texts = GOLDEN["gpqa_diamond"][0].target.options
    hashes = [hashlib.sha256(f"0::{METAL}::{text}".encode()).hexdigest() for text in texts]
    assert hashes == sorted(hashes)


def test_lettered_lines_that_are_no_options_stay_part_of_the_question() -> None:
    stem = "Two claims:\nA. it is hot\nB. it is wet\nWhich hold?"
    sample = TASKS["gpqa_diamond"].read(Row("place", GPQA | {"Question": stem}))
    assert sample is not None
    assert sample.question.text.startswith(f"{stem}\n\nA. ")
    assert sample.question.text.count("\n") == stem.count("\n") + 5


# Programs


def test_a_function_case_keeps_its_numbers_as_they_are_written() -> None:
    text = json.dumps([{"input": '1e5\n[1.50, "a\\nb"]\n', "output": "10000000000000000000000"}])
    assert read_cases(text, function="f") == (('[1e5, [1.50, "a\\nb"]]', "10000000000000000000000"),)


def test_a_stdin_case_is_kept_as_it_is() -> None:
    text = json.dumps([{"input": " 1\n\n2", "output": "3 \n", "testtype": "stdin"}])
    assert read_cases(text, function="") == ((" 1\n\n2", "3 \n"),)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"input": 1, "output": "2"}]'])
def test_a_text_that_is_no_list_of_cases_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|Expecting"):
        read_cases(text, function="")


def test_a_script_of_mbpp_plus_stays_as_it_is_unless_numpy_broadcasts_in_it(tmp_path: Path) -> None:
    script = "import numpy as np\nassert np.allclose(twice(1), 2)\n"
    (sample,) = load(tmp_path, "mbpp_plus", first("mbpp_plus") | {"test": script})
    assert sample.target.tests is not None
    guard = sample.target.tests.script.removesuffix(script)
    assert "numpy.allclose = " in guard
    assert sample.question.text == GOLDEN["mbpp_plus"][0].question


class Bomb:
    """Unpickled, it would end the test."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a test blob was unpickled",)


def test_a_test_blob_is_carried_and_not_opened(tmp_path: Path) -> None:
    import pickle
    import zlib

    blob = base64.b64encode(zlib.compress(pickle.dumps(Bomb()))).decode()
    (sample,) = load(tmp_path, "livecodebench", LCB | {"private_test_cases": blob})
    assert sample.target.tests == CodeTests(kind="stdin", cases=SUM_CASES[:1], blob=blob)
    assert blob not in sample.question.text


# Generators


def test_a_gym_family_is_a_task_with_repeatable_samples() -> None:
    name = "reasoning_gym:chain_sum?size=20&seed=5&max_terms=3"
    task = find_task(name)
    assert (task.name, task.size, task.format) == (name, 20, "exact")
    samples = load_samples(task)
    assert samples == load_samples(task)
    assert len(samples) == 20
    assert samples[:3] == load_samples(task, limit=3)


def test_no_item_is_made_that_nobody_asks_for() -> None:
    task = find_task("reasoning_gym:chain_sum?size=1000000000")
    assert len(load_samples(task, limit=2)) == 2


def test_repeated_items_of_a_small_generator_are_left_out() -> None:
    name = "reasoning_gym:chain_sum?size=200&min_terms=2&max_terms=2&min_digits=1&max_digits=1"
    samples = load_samples(find_task(name))
    texts = [sample.question.text for sample in samples]
    assert len(texts) == len(set(texts)) < 200


def test_what_was_trained_on_is_left_out() -> None:
    task = find_task("reasoning_gym:chain_sum?size=20&seed=5&max_terms=3")
    samples = load_samples(task)
    held = load_samples(task, without="reasoning_gym:chain_sum?size=4&seed=5&max_terms=3", limit=10)
    assert held == samples[4:14]
    with pytest.raises(ConfigError, match="all are of another split, or of what is left out"):
        load_samples(task, without=task.source)


def test_a_dealt_item_is_known_again_in_any_form_and_to_any_roles() -> None:
    """Its question is bare, and the same for many items: what it is known by is the item."""
    address = "deal:number_sorting?size=6&seed=5"
    task = find_task(f"{address}&to=pro,con")
    held = load_samples(task, without="deal:number_sorting?size=2&seed=5&to=planner,critic&form=whole")
    assert held == load_samples(task)[2:]


def test_a_deal_is_a_task_whose_facts_are_private_context() -> None:
    name = "deal:number_sorting?size=6&seed=5&to=pro,con&kind=search"
    task = find_task(name)
    assert (task.name, task.size, task.format, task.kind) == (name, 6, "exact", "search")
    samples = load_samples(task)
    assert samples == load_samples(task)
    whole = load_samples(find_task(name.replace("kind=search", "form=whole")))
    for sample, twin in zip(samples, whole, strict=True):
        assert sample.id == twin.id
        assert set(sample.question.context) == {"pro", "con"}
        assert (sample.question.kind, twin.question.kind) == ("search", "open")
        assert not twin.question.context
        for told in sample.question.context.values():
            numbers = told.removeprefix("Numbers: ").split(", ")
            assert all(number in twin.question.text for number in numbers)
            assert all(number not in sample.question.text for number in numbers)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("deal:number_sortin", "unknown deal 'number_sortin'"),
        ("deal:number_sorting?kind=serch", "unknown task kind 'serch'"),
        ("deal:number_sorting?size=0", "deal:number_sorting: size is 0, expected 1 or more"),
        ("deal", "unknown task 'deal'"),
    ],
)
def test_a_deal_that_does_not_fit_is_one_line(name: str, problem: str) -> None:
    with pytest.raises(ConfigError) as told:
        find_task(name)
    assert problem in str(told.value)


# Documents


def test_the_table_of_the_document_is_the_table_of_tasks() -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    lines = page.split("## Tasks")[1].split("\n\n")[2].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rows = {name.strip("`"): others for name, *others in cells}
    gym = rows.pop("reasoning_gym:FAMILY")
    deal = rows.pop("deal:FAMILY")
    relay = rows.pop("relay:FAMILY")
    assert deal[1:5] == relay[1:5] == gym[1:5]
    assert list(rows) == list(TASKS)
    for task in [*TASKS.values(), find_task("reasoning_gym:chain_sum")]:
        source, split, size, format, budget, _ = rows.get(task.name, gym)
        assert (format, budget) == (task.format, f"{task.max_new_tokens:,}")
        if task.name in TASKS:
            repository, _, options = task.source.removeprefix("hf:").partition("?")
            assert source.startswith(repository)
            assert f"split={split}&revision={source.split('@ ')[1][:7]}" in options
            assert ("gated" in source) == task.is_gated
            assert size == f"{task.size:,}"
        else:
            assert str(task.size) in size


def test_the_listing_of_the_package_names_its_files() -> None:
    import rmas.eval
    import rmas.eval.tasks

    for package in (rmas.eval, rmas.eval.tasks):
        assert package.__doc__
        folder = Path(str(package.__file__)).parent
        found = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
        assert found <= set(re.findall(r"^ *(\w+\.py) ", package.__doc__, re.MULTILINE))
