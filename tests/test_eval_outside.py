"""Outputs made elsewhere: how a row's target is read, and that no row ends in a trace."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli_runner import rmas
from code_rows import TAIL, TAIL_PROGRAM
from rmas.errors import ConfigError
from rmas.eval.grade import Verdict
from rmas.eval.outside import grade_rows
from rmas.eval.task import Sample, Target, find_task
from rmas.prompt import Question
from rmas.rows import Row
from rmas.tools import find_sandbox

SOLUTION = "She has 8 * 9 = <<8*9=72>>72 pears.\n#### 72"


def verdict(task: str, output: str, **fields: Any) -> Verdict:
    return grade_rows(find_task(task), [Row("rows.jsonl:1", {"output": output, **fields})])[0].verdict


@pytest.mark.parametrize(
    ("task", "output", "target", "expected"),
    [
        ("gsm8k", "#### 72", SOLUTION, "correct"),
        ("gsm8k", "The answer is 72.", [SOLUTION], "correct"),
        ("gsm8k", "#### 1234", "1,200 + 34 = 1,234\n#### $1,234", "correct"),
        ("gsm8k", "#### 72", "72", "correct"),
        ("gsm8k", "#### 72", 72, "correct"),
        ("gsm8k", "The answer is 3/4.", "3/4", "correct"),
        ("gsm8k", "#### 8", SOLUTION, "wrong"),
        ("gsm8k", "#### 9", SOLUTION, "wrong"),
        ("gsm8k", "#### 7272", SOLUTION, "wrong"),
        ("gsm8k", SOLUTION, "#### 73", "wrong"),
        ("gsm8k", "I do not know.", SOLUTION, "unparsed"),
        ("exact", "#### 72", "#### 72", "wrong"),
    ],
)
def test_a_target_of_numbers_may_be_a_solution_that_ends_with_its_number(
    task: str, output: str, target: Any, expected: Verdict
) -> None:
    assert verdict("reasoning_gym:chain_sum" if task == "exact" else task, output, target=target) == expected


@pytest.mark.parametrize(
    ("task", "target", "problem"),
    [
        ("gsm8k", "It is many.\n#### many", "answer is .*, expected a solution that ends with #### and a number"),
        ("aime2025", "#### 72", "answer is '#### 72', expected a whole number from 0 to 999"),
        ("gsm8k", " ", "target is ' ', expected an answer"),
        ("gsm8k", float("nan"), "target is nan, expected an answer"),
        ("gsm8k", True, "target is True, expected an answer"),
        ("math500", {"answer": "72"}, "target is .*, expected an answer"),
    ],
)
def test_a_target_that_is_no_answer_is_one_line(task: str, target: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"^rows\.jsonl:1: .*{problem}") as told:
        verdict(task, "4", target=target)
    assert "\n" not in str(told.value)


def test_an_id_among_thousands_is_one_short_line_with_the_nearest() -> None:
    samples = [Sample(id=f"q-{n:04}", question=Question(text="?"), target=Target(answers=("4",))) for n in range(1319)]
    with pytest.raises(
        ConfigError, match=r"unknown sample 'q-12' \(have q-0000, .* and 1,309 more\)\. Did you"
    ) as told:
        grade_rows(find_task("gsm8k"), [Row("rows.jsonl:1", {"output": "4", "id": "q-12"})], samples=samples)
    assert len(str(told.value)) < 250


def test_broken_tests_are_told_with_the_place_of_the_row() -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    rows = [Row(f"rows.jsonl:{n}", {"output": f"```python\n{TAIL_PROGRAM}\n```", "id": n}) for n in (1, 2)]
    asked = Question(text="?", kind="code")
    samples = [
        Sample(id="1", question=asked, target=Target(tests=TAIL)),
        Sample(id="2", question=asked, target=Target()),
    ]
    with pytest.raises(ConfigError, match=r"^rows\.jsonl:2: code: a target without tests"):
        grade_rows(find_task("mbpp"), rows, samples=samples, sandbox=find_sandbox())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"output": "4", "target": ' + b"9" * 5000 + b"}", "rows.jsonl:1: a number of thousands of digits"),
        (b'{"output": "4", "target": ' + b"[" * 99999 + b"]" * 99999 + b"}", "or a nest too deep"),
        (b'{"output": "4", "target": "\xff"}', "rows.jsonl: cannot be read ('utf-8' codec"),
        (b"[]", "rows.jsonl:1: expected an object with columns, got []"),
        (b'{"output": "4", "target": NaN}', "rows.jsonl:1: target is nan, expected an answer"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(line: bytes, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(line + b"\n")
    result = rmas("grade", "gsm8k", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("task", ["gsm8k", "math500", "hotpotqa", "reasoning_gym:chain_sum"])
def test_half_of_a_surrogate_pair_is_graded_and_written(task: str, tmp_path: Path) -> None:
    file, out = tmp_path / "rows.jsonl", tmp_path / "graded.jsonl"
    rows = [{"output": "The answer is 4 \ud800", "target": "4"}, {"output": "\ud800", "target": "\ud800"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="ascii")
    assert rmas("grade", task, str(file), "--out", str(out)).exit_code == 0
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [{key: row[key] for key in ("output", "target")} for row in found] == rows


OPTIONS = ["Paris", "London", "New York"]


@pytest.mark.parametrize(
    ("target", "output", "expected"),
    [
        ("B", "The answer is B.", "correct"),
        ("b", "The answer is B.", "correct"),
        ("London", "The answer is B.", "correct"),
        ("London", "The answer is A.", "wrong"),
    ],
)
def test_a_choices_target_is_a_letter_or_an_options_text(target: str, output: str, expected: Verdict) -> None:
    row = Row("rows.jsonl:1", {"output": output, "target": target, "options": OPTIONS})
    (found,) = grade_rows(find_task("medqa"), [row])
    assert (found.verdict, found.lenient) == (expected, expected)


@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        ("Q", OPTIONS, "target is 'Q', expected A to C, or the text of one option"),
        ("Rome", OPTIONS, "target is 'Rome', expected A to C"),
        (1, OPTIONS, "target is '1', expected A to C"),
        ("Paris", None, "target is 'Paris', expected a letter (or options beside it)"),
    ],
)
def test_a_choices_target_that_nothing_could_meet_is_refused(
    target: object, options: list[str] | None, expected: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"rows.jsonl:1: {expected}")):
        verdict("medqa", "The answer is B.", target=target, options=options)


def test_one_row_has_no_error_and_places_are_looked_at_first(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"output": "#### 4", "target": "4"}), encoding="utf-8")
    assert json.loads(rmas("grade", "gsm8k", str(file)).stdout)["strict"]["standard_error"] is None
    result = rmas("grade", "gsm8k", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "nowhere/x.jsonl"))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"{tmp_path}/nowhere: no such folder" in result.stderr
    assert rmas("grade", "gsm8k", str(file), "--jobs", "0").exit_code == 2
