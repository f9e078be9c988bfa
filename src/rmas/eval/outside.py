"""Grades for outputs that were made elsewhere: rows with an `output`, and a `target` or the `id` of a sample."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from rmas.errors import ConfigError, unknown
from rmas.eval.code import grade_texts
from rmas.eval.grade import Grade
from rmas.eval.statistics import estimate
from rmas.eval.summary import as_json
from rmas.eval.task import Sample, Target, Task
from rmas.rows import Row
from rmas.tools.sandbox import Sandbox


def grade_rows(
    task: Task, rows: Sequence[Row], *, samples: Sequence[Sample] = (), sandbox: Sandbox | None = None, jobs: int = 2
) -> list[Grade]:
    """One grade a row. `target`: an accepted answer, or a list of them; choice: the letter; number: or GSM8K's column.

    Rows without a target name a sample of the task by `id`; code tasks always do, for their tests. Raises ConfigError
    with the row's place.
    """
    known = {sample.id: sample.target for sample in samples}
    targets = [_target(task, row, known) for row in rows]
    texts = [_text(row) for row in rows]
    return grade_texts(task, texts, targets, sandbox=sandbox, jobs=jobs, names=[row.place for row in rows])


def counts(task: Task, grades: Sequence[Grade]) -> dict[str, Any]:
    """How many are correct, wrong and unparsed by the strict reading and by the release's, and both accuracies."""
    table: dict[str, Any] = {"task": task.name, "version": task.version, "n": len(grades)}
    for reading, verdicts in (
        ("strict", [found.verdict for found in grades]),
        ("release", [found.lenient for found in grades]),
    ):
        number = Counter(verdicts)
        figures = estimate([[float(verdict == "correct")] for verdict in verdicts])
        table[reading] = {
            "correct": number["correct"],
            "wrong": number["wrong"],
            "unparsed": number["unparsed"],
            "accuracy": figures.mean,
            "standard_error": figures.error,
        }
    for name in sorted({name for found in grades for name in found.scores}):
        table[name] = sum(found.scores.get(name, 0.0) for found in grades) / len(grades)
    told: dict[str, Any] = as_json(table)
    return told


def told(row: Row, found: Grade) -> dict[str, Any]:
    """The row with its verdicts."""
    verdicts: Mapping[str, Any] = {
        "verdict": found.verdict,
        "release_verdict": found.lenient,
        "extracted": found.extracted,
        "scores": dict(found.scores),
        "detail": found.detail,
    }
    return {**row.fields, **verdicts}


def _text(row: Row) -> str:
    if "output" not in row.fields:
        raise ConfigError(f"{row.place}: output: " + unknown("field", "output", row.fields))
    text = row.fields["output"]
    if not isinstance(text, str):
        raise ConfigError(f"{row.place}: output is {text!r:.60}, expected a text.")
    return text


def _target(task: Task, row: Row, known: Mapping[str, Target]) -> Target:
    if "target" in row.fields and task.format != "code":
        given = row.fields["target"]
        answers = given if isinstance(given, list) else [given]
        if not answers or not all(map(_is_answer, answers)):
            raise ConfigError(f"{row.place}: target is {given!r:.60}, expected an answer or a list of accepted ones.")
        if len(answers) > 1 and task.format != "short":
            raise ConfigError(f"{row.place}: target has {len(answers)} answers, but a task of {task.format} has one.")
        if task.format == "number" and "####" in str(answers[0]):
            return _solution(task, row, str(answers[0]))
        options = _options(row)
        if task.format == "choice":
            return Target(answers=(_letter(row, str(answers[0]).strip(), options),), options=options)
        return Target(answers=tuple(str(answer) for answer in answers), options=options)
    name = row.fields.get("id")
    if name is None:
        needed = "an id of its own, for the tests" if task.format == "code" else "a target, or the id of a sample"
        raise ConfigError(f"{row.place}: expected {needed}. Add it.")
    if str(name) not in known:
        raise ConfigError(f"{row.place}: " + unknown("sample", str(name), known))
    return known[str(name)]


def _letter(row: Row, answer: str, options: Sequence[str]) -> str:
    """The letter that a choice's target is, or that of the one option whose text it is. Raises ConfigError."""
    letters = ascii_uppercase[: len(options) or len(ascii_uppercase)]
    same = [letter for letter, option in zip(letters, options, strict=False) if option.strip() == answer]
    if len(same) == 1:
        return same[0]
    if len(answer) == 1 and answer.upper() in letters:
        return answer.upper()
    expected = f"A to {letters[-1]}, or the text of one option" if options else "a letter (or options beside it)"
    raise ConfigError(f"{row.place}: target is {answer!r:.60}, expected {expected}.")


def _is_answer(value: object) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _solution(task: Task, row: Row, text: str) -> Target:
    """A solution that ends with `#### 72`, as the task reads it in its own data. Raises ConfigError where it cannot."""
    sample = task.read(Row(f"{row.place}: target", {"question": "?", "answer": text}))
    return Target(answers=(text,)) if sample is None else sample.target


def _options(row: Row) -> tuple[str, ...]:
    options = row.fields.get("options", ())
    return tuple(str(option) for option in options) if isinstance(options, list) else ()
