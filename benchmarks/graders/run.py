"""Are right answers right and others wrong? Gold answers of real benchmarks, in the forms that a model would write.

    python -m benchmarks.graders.run FOLDER [--jobs 2]

FOLDER holds the files named in config.toml, in the columns of the hub (docs/evaluation.md); they are not ours to ship.

golds    every gold answer in every form of its format: has to be correct
pairs    the gold answers of `pairs` other questions, drawn at random, in a box: have to be wrong. Those that are equal
         all the same are listed, to be looked at
code     every canonical solution: has to pass; and with the body of what is tested removed: has to fail
"""

import argparse
import ast
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import finish, load_config
from rmas.eval.code import grade_code
from rmas.eval.grade import grade
from rmas.eval.task import Sample, Task, find_task, load_samples
from rmas.tools.sandbox import Sandbox, find_sandbox


def main() -> None:
    parser = argparse.ArgumentParser(description="gold answers and canonical solutions through the graders")
    parser.add_argument("folder", type=Path, help="where the files of config.toml are")
    parser.add_argument("--jobs", type=int, default=2, help="programs that run at a time")
    given, config = parser.parse_args(), load_config(__file__)
    answers = {
        name: of_answers(find_task(name), given.folder / file, config) for name, file in config["answers"].items()
    }
    sandbox = find_sandbox()
    programs = {
        name: of_programs(find_task(name), given.folder / file, sandbox, given.jobs)
        for name, file in config["programs"].items()
    }
    for name, row in (answers | programs).items():
        print(name, json.dumps({key: value for key, value in row.items() if not isinstance(value, list) or value}))
    finish("graders", {**config, "command": "make bench NAME=graders ARGS=FOLDER", **answers, **programs})


def of_answers(task: Task, file: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """How golds fare as answers to their own question and to others'."""
    samples = load_samples(task, data=str(file))
    failed, texts = [], 0
    for sample in samples:
        for form, text in in_forms(sample.target.answers[0], task.format, config["forms"]):
            texts += 1
            found = grade(text, sample.target, task.format)
            if found.verdict != "correct":
                failed.append([sample.id, form, sample.target.answers[0], found.verdict, found.extracted, found.detail])
    verdicts, equal = Counter[str](), []
    for sample, other in others(samples, config["pairs"], seed=config["seed"]):
        found = grade(rf"\boxed{{{other.target.answers[0]}}}", sample.target, task.format)
        verdicts[found.verdict] += 1
        if found.verdict == "correct":
            equal.append([sample.target.answers[0], other.target.answers[0]])
    return {
        "golds": len(samples),
        "texts": texts,
        "texts_correct": texts - len(failed),
        "not_correct": failed,
        "pairs": verdicts.total(),
        "pairs_wrong": verdicts["wrong"],
        "pairs_equal": equal,
    }


def in_forms(gold: str, format: str, forms: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    """The gold as a model might write it, by the name of the form."""
    for name, form in forms[format].items():
        yield name, form.replace("GOLD", gold)
    if format == "number":
        yield "thousands", rf"\boxed{{{int(gold):,}}}"
        yield "decimals", f"The answer is {gold}.00"
    if format == "short":
        yield "lower", gold.lower()


def others(samples: Sequence[Sample], number: int, *, seed: int) -> Iterator[tuple[Sample, Sample]]:
    """Each question with `number` others whose gold is spelt otherwise."""
    draw = random.Random(seed)
    for sample in samples:
        unlike = [other for other in samples if other.target.answers != sample.target.answers]
        yield from ((sample, other) for other in draw.sample(unlike, number))


def of_programs(task: Task, file: Path, sandbox: Sandbox, jobs: int) -> dict[str, Any]:
    """How canonical solutions fare, and the same without a body."""
    rows = {str(row["task_id"]): row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
    samples = load_samples(task, data=str(file))
    solutions = [_solution(rows[sample.id]) for sample in samples]
    found: dict[str, list[str]] = {}
    for way, texts in {
        "canonical": solutions,
        "empty": [_emptied(text, rows[s.id]) for text, s in zip(solutions, samples, strict=True)],
    }.items():
        fenced = [f"```python\n{text}\n```" for text in texts]
        grades = grade_code(fenced, [sample.target for sample in samples], sandbox=sandbox, jobs=jobs)
        found[way] = [s.id for s, result in zip(samples, grades, strict=True) if result.verdict == "correct"]
    passed = set(found["canonical"])
    return {
        "programs": len(samples),
        "canonical_passed": len(passed),
        "canonical_failed": [sample.id for sample in samples if sample.id not in passed],
        "empty_passed": found["empty"],
    }


def _solution(row: Mapping[str, Any]) -> str:
    text = row["prompt"] + row["canonical_solution"] if "canonical_solution" in row else row["code"]
    return str(text).replace("\r\n", "\n")


def _emptied(text: str, row: Mapping[str, Any]) -> str:
    """The program with nothing in the functions that its tests call."""
    tree = ast.parse(text)
    tests = [ast.parse(test) for test in row.get("test_list", [])]
    called = {node.func.id for test in tests for node in ast.walk(test) if _calls_a_name(node)}  # type: ignore[attr-defined]
    called |= {row["entry_point"]} if "entry_point" in row else set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in called:
            node.body = [ast.Return(ast.Constant(None))]
    return ast.unparse(ast.fix_missing_locations(tree))


def _calls_a_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


if __name__ == "__main__":
    main()
