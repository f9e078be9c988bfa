"""Programs graded by hidden tests: right ones pass in every form, and no trick passes for a right one."""

import base64
import json
import pickle
import shutil
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from code_rows import (
    DEPTH,
    HALVES,
    PAIRS,
    PAIRS_PROGRAM,
    STRETCH,
    STRETCH_BODY,
    SUMS,
    SUMS_PROGRAM,
    TAIL,
    TAIL_PROGRAM,
    TRICKS,
    plus_script,
    trick,
)
from rmas.errors import ConfigError
from rmas.eval import code as code_module
from rmas.eval.code import grade_code, grade_texts, unpack
from rmas.eval.grade import Grade
from rmas.eval.task import CodeTests, Target
from rmas.eval.tasks import TASKS
from rmas.rows import Row
from rmas.tools import Sandbox, find_sandbox


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """The isolated one. Where bubblewrap is installed and does not work, that is a failure, not a reason to skip."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    return find_sandbox()


def graded(sandbox: Sandbox, program: str, tests: CodeTests) -> Grade:
    return grade_code([f"```python\n{program}\n```"], [Target(tests=tests)], sandbox=sandbox, jobs=1)[0]


RIGHT = {
    "the rest of a prompt": (STRETCH_BODY, STRETCH),
    "the rest of a prompt, at the margin": (
        STRETCH_BODY.replace("    n", "n").replace("    return", "return"),
        STRETCH,
    ),
    "the rest of a prompt, its first line at the margin": (STRETCH_BODY.lstrip(), STRETCH),
    "the whole function": (f"def stretch(xs, length):\n{STRETCH_BODY}", STRETCH),
    "the whole function, written out with its helper": (f"{STRETCH.prompt}{STRETCH_BODY}", STRETCH),
    "the whole function, indented": (
        f"   def stretch(xs, length):\n   {STRETCH_BODY.replace(chr(10), chr(10) + '   ')}",
        STRETCH,
    ),
    "a future import, which has to stand first": (
        f"from __future__ import annotations\ndef stretch(xs, length):\n{STRETCH_BODY}",
        STRETCH,
    ),
    "a lambda": ("stretch = lambda xs, length: [x * length / norm(xs) for x in xs]", STRETCH),
    "asserts": (TAIL_PROGRAM, TAIL),
    "asserts and a result of a subclass": ("class L(list): pass\ndef tail(xs, n): return L(xs[-n:])", TAIL),
    "asserts and a lot of printing": (
        f"print('x' * 10 ** 6)\n{TAIL_PROGRAM}\nprint(input) or print(tail([1], 1))",
        TAIL,
    ),
    "asserts, and a main that is not run": (f"{TAIL_PROGRAM}\nif __name__ == '__main__':\n    input()", TAIL),
    "asserts, and a thread that stays": (
        f"import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()\n{TAIL_PROGRAM}",
        TAIL,
    ),
    "a class of its own": (
        "class Node:\n    def __init__(self, value): self.value, self.left, self.right = value, None, None\n"
        "def depth(node): return 1 + max(depth(node.left), depth(node.right)) if node else 0",
        DEPTH,
    ),
    "numpy in the tests": ("def halves(xs): return [x / 2 for x in xs]", HALVES),
    "numpy in the program": ("import numpy as np\ndef halves(xs): return np.array(xs) / 2.0", HALVES),
    "stdin": (SUMS_PROGRAM, SUMS),
    "stdin, indented": (f"  {SUMS_PROGRAM.replace(chr(10), chr(10) + '  ')}", SUMS),
    "stdin, an exit and complaints": (f"import sys\n{SUMS_PROGRAM}\nprint('!', file=sys.stderr)\nexit()", SUMS),
    "stdin and a main": (f"if __name__ == '__main__':\n    {SUMS_PROGRAM.replace(chr(10), chr(10) + '    ')}", SUMS),
    "a method, without its imports": (PAIRS_PROGRAM, PAIRS),
    "a function": (
        "from itertools import combinations\ndef pairs(xs, total):\n"
        "    return [list(p) for p in combinations(xs, 2) if abs(sum(p) - total) < 1e-9]",
        PAIRS,
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_program_is_correct(name: str, sandbox: Sandbox) -> None:
    program, tests = RIGHT[name]
    found = graded(sandbox, program, tests)
    assert (found.verdict, found.lenient, found.detail) == ("correct", "correct", "")


WRONG = {
    "another result": ("def tail(xs, n): return xs[:n]", TAIL, "assert tail([1, 2, 3], 2) == [2, 3] (AssertionError)"),
    "right at first": ("def tail(xs, n): return [2, 3]", TAIL, "assert set(tail((5, 6), 1)) == {6} (AssertionError)"),
    "no body": ("def tail(xs, n): return None", TAIL, "assert tail([1, 2, 3], 2) == [2, 3] (AssertionError)"),
    "another name": ("def tale(xs, n): return xs", TAIL, "NameError: name 'tail' is not defined"),
    "another name, where it is known": ("def stretched(xs, length): return xs", STRETCH, "AssertionError"),
    "not even a name": ("x = 1", STRETCH, "AssertionError"),
    "an exception": ("def tail(xs, n): return xs[99]", TAIL, "IndexError: list index out of range"),
    "an exception at the start": ("import no_such_module", TAIL, "ModuleNotFoundError: No module named 'no_such"),
    "no Python": ("def tail(xs, n) return xs", TAIL, "SyntaxError"),
    "another number of arguments": ("def tail(xs): return xs", TAIL, "TypeError: tail() takes 1 positional argument"),
    "input where there is none": ("n = int(input())\ndef tail(xs, n): return xs[-n:]", TAIL, "EOFError"),
    "another output": ("input(); print(3); print(7.25)", SUMS, "case 1 of 2: printed '3\\n7.25', expected '3\\n7.5'"),
    "the second case": ("print(3)\nprint(7.5)", SUMS, "case 2 of 2: printed '3\\n7.5', expected '0'"),
    "right and then an exception": (f"{SUMS_PROGRAM}\n1 / 0", SUMS, "case 1 of 2: exit code 1: ZeroDivisionError"),
    "no output": ("pass", SUMS, "case 1 of 2: printed '', expected"),
    "another value": ("def pairs(xs, total): return []", PAIRS, "case 1 of 3: returned '[]', expected '[[1, 2]]'"),
    "no function": ("def twos(xs, total): return []", PAIRS, "case 1 of 3: NameError: the program defines no pairs"),
    "a function that raises": ("def pairs(xs, total): return xs[9]", PAIRS, "case 1 of 3: IndexError"),
    "a name that is no function": ("pairs = 3", PAIRS, "case 1 of 3: pairs is no function"),
    "a value that cannot be sent": ("def pairs(xs, total): return iter(xs)", PAIRS, "case 1 of 3: returned 'Unsent"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_is_wrong_and_the_detail_says_where(name: str, sandbox: Sandbox) -> None:
    program, tests, detail = WRONG[name]
    found = graded(sandbox, program, tests)
    assert (found.verdict, found.lenient) == ("wrong", "wrong")
    assert detail in found.detail


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_does_not_pass(name: str, sandbox: Sandbox) -> None:
    program, tests = trick(name)
    found = graded(sandbox, program, tests)
    assert found.verdict == "wrong", found
    assert found.detail


@pytest.mark.parametrize(
    ("program", "tests", "detail"),
    [
        ("def tail(xs, n):\n    while True: pass", TAIL, "timed out"),
        ("import time\ntime.sleep(99)", TAIL, "timed out"),
        ("def tail(xs, n): return 'x' * 2 ** 40", TAIL, "MemoryError"),
        ("import os\ndef tail(xs, n):\n    while True: os.fork()", TAIL, ""),
        ("import time\ntime.sleep(99)", SUMS, "case 1 of 2: timed out"),
        ("while True: print(3)", SUMS, "case 1 of 2: too much output"),
        ("def pairs(xs, total):\n    while True: pass", PAIRS, "case 1 of 3: timed out"),
        (
            "import time\ndef pairs(xs, total): time.sleep(99 if not xs else 0); return [xs[:2]]",
            PAIRS,
            "case 3 of 3: timed out",
        ),
    ],
)
def test_a_program_over_its_limits_is_wrong(
    program: str, tests: CodeTests, detail: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_module, "START_SECONDS", 0.6)
    found = graded(sandbox, program, replace(tests, seconds=0.3))
    assert found.verdict == "wrong"
    assert detail in found.detail


@pytest.mark.parametrize("tests", [TAIL, PAIRS], ids=["script", "function"])
def test_what_ended_a_program_is_waited_for(
    tests: CodeTests, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no longer heard of before it is over: it hangs up, and then runs into its limit of processor time."""
    monkeypatch.setattr(code_module, "START_SECONDS", 10)
    monkeypatch.setattr(code_module, "SETTLE_SECONDS", 10)
    program = f"import os\ndef {tests.function or 'tail'}(*given):\n    os.closerange(3, 64)\n    while True: pass"
    found = graded(sandbox, program, replace(tests, seconds=0.5))
    assert found.detail.endswith("timed out")


FENCES = {
    "a test": "def test_tail():\n    assert tail([1, 2], 1) == [2]",
    "asserts": "assert tail([1, 2], 1) == [2]\nprint('ok')",
    "a check that defines something else": "class Test:\n    def run(self):\n        return tail([1], 1)",
}


@pytest.mark.parametrize("name", FENCES)
def test_a_fence_that_only_uses_the_function_is_not_the_program(name: str, sandbox: Sandbox) -> None:
    text = f"```python\n{TAIL_PROGRAM}\n```\nTo test it:\n```python\n{FENCES[name]}\n```"
    assert grade_code([text], [Target(tests=TAIL)], sandbox=sandbox, jobs=1)[0].verdict == "correct"
    text = f"```python\n{SUMS_PROGRAM}\n```\nTo test it:\n```python\n{FENCES[name]}\n```\n```\n3\n```"
    assert grade_code([text], [Target(tests=SUMS)], sandbox=sandbox, jobs=1)[0].verdict == "correct"


_EQUAL = "class E(list):\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n"
_EMPTY = (
    "class A:\n    __array_interface__ = {'shape': (0,), 'typestr': '<f8', 'data': b'', 'version': 3}\n"
    "    __len__ = lambda s: 0\n    __getitem__ = [].__getitem__\n"
)
# What is expected, and what a program that never looks at its argument may return for it.
CLOSE = [
    ("0.5", "return 0.5", "correct"),
    ("0.5", "return 0.5 + 1e-9", "correct"),
    ("0.5", "import numpy\n    return numpy.float64(0.5) + 1e-9", "correct"),
    ("(0.5, 2.0)", "return [0.5 + 1e-9, 2]", "correct"),
    ("[]", "return []", "correct"),
    ("inf", "return float('inf')", "correct"),
    ("0.5", "return []", "wrong"),
    ("0.5", "return ()", "wrong"),
    ("0.5", "return [[]]", "wrong"),
    ("0.5", "return {}", "wrong"),
    ("0.5", "return None", "wrong"),
    ("0.5", "return '0.5'", "wrong"),
    ("0.5", "return [0.5]", "wrong"),
    ("0.5", "return float('nan')", "wrong"),
    ("0.5", "return float('inf')", "wrong"),
    ("0.5", "return E()", "wrong"),
    ("0.5", "return A()", "wrong"),
    ("[0.5]", "return []", "wrong"),
    ("[0.5]", "return 0.5", "wrong"),
    ("[0.5]", "return [0.5, 0.5]", "wrong"),
    ("[0.5, 0.5]", "return 0.5 + 1e-9", "wrong"),
    ("[0.5, 0.5]", "return [0.5 + 1e-9]", "wrong"),
    ("[]", "return 7", "wrong"),
    ("[]", "return [7]", "wrong"),
    ("[]", "return [[]]", "wrong"),
    ("[]", "return A()", "wrong"),
]


@pytest.mark.parametrize(("expected", "body", "verdict"), CLOSE)
def test_what_mbpp_plus_takes_for_close_has_the_shape_of_what_is_expected(
    expected: str, body: str, verdict: str, sandbox: Sandbox
) -> None:
    script = plus_script("given", "[[1], [2]]", f"[{expected}, {expected}]")
    row = {"task_id": 7, "prompt": "Give.", "test_list": ["given"], "test": script}
    sample = TASKS["mbpp_plus"].read(Row("place", row))
    assert sample is not None
    text = f"```python\n{_EQUAL}{_EMPTY}def given(n):\n    {body}\n```"
    (found,) = grade_code([text], [sample.target], sandbox=sandbox, jobs=1)
    assert found.verdict == verdict, found.detail


def test_a_text_without_a_program_is_unparsed(sandbox: Sandbox) -> None:
    (found,) = grade_code(["I do not know."], [Target(tests=TAIL)], sandbox=sandbox, jobs=1)
    assert (found.verdict, found.lenient, found.extracted) == ("unparsed", "unparsed", None)


def test_grades_come_in_the_order_of_the_texts(sandbox: Sandbox) -> None:
    programs = [f"def tail(xs, n): return {'list(xs[-n:])' if number % 2 else 'None'}" for number in range(6)]
    texts = [f"```python\n{program}\n```" for program in programs]
    found = grade_code(texts, [Target(tests=TAIL)] * 6, sandbox=sandbox, jobs=3)
    assert [grade.verdict for grade in found] == ["wrong", "correct"] * 3
    assert [(grade.extracted or "").strip() for grade in found] == programs


class Broken(NamedTuple):
    tests: CodeTests | None
    problem: str


BROKEN = {
    "none": Broken(None, "a target without tests"),
    "no cases": Broken(CodeTests(kind="stdin"), "kind stdin without a case"),
    "a case that is no list": Broken(
        CodeTests(kind="function", function="f", cases=(("3", "4"),)), "expected a JSON list"
    ),
    "a case that is no JSON": Broken(
        CodeTests(kind="function", function="f", cases=(("[x]", "4"),)), "expected a JSON"
    ),
    "a script that is no Python": Broken(
        CodeTests(kind="script", script="assert ("), "tests that do not work: SyntaxError"
    ),
    "a script that tests nothing": Broken(CodeTests(kind="script", script="x = 1"), "the tests never call the program"),
    "a script that needs a package": Broken(
        CodeTests(kind="script", script="import no_such_module\nassert tail([1], 1)"),
        "No module named 'no_such_module'",
    ),
    "a prompt that is no Python": Broken(
        CodeTests(kind="script", script="assert f(1)", prompt="def f(", function="f"),
        "tests that do not work: SyntaxError",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_tests_are_an_error_and_no_verdict(name: str, sandbox: Sandbox) -> None:
    tests, problem = BROKEN[name]
    with pytest.raises(ConfigError, match=r"^text 1 of 1: code: ") as told:
        grade_code([f"```python\n{TAIL_PROGRAM}\n```"], [Target(tests=tests)], sandbox=sandbox, jobs=1)
    assert problem in str(told.value)


def test_broken_tests_are_told_with_the_name_of_the_text(sandbox: Sandbox) -> None:
    texts, targets = [f"```python\n{TAIL_PROGRAM}\n```"] * 3, [Target(tests=TAIL), Target(tests=TAIL), Target()]
    with pytest.raises(ConfigError, match=r"^seven: code: a target without tests"):
        grade_code(texts, targets, sandbox=sandbox, jobs=2, names=("five", "six", "seven"))
    with pytest.raises(ConfigError, match=r"^text 3 of 3: code: a target without tests"):
        grade_texts(TASKS["mbpp"], texts, targets, sandbox=sandbox, jobs=2)


def packed(value: object) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode("ascii")


def test_packed_cases_are_opened_and_count(sandbox: Sandbox) -> None:
    records = [{"input": "1\n5 5\n", "output": "10\n", "testtype": "stdin"}]
    tests = CodeTests(kind="stdin", cases=SUMS.cases, blob=packed(json.dumps(records)), seconds=5)
    assert graded(sandbox, SUMS_PROGRAM, tests).verdict == "correct"
    cheat = "print({'2': '3\\n7.5', '1': 0}[input()])"
    assert "case 3 of 3: printed '0', expected '10'" in graded(sandbox, cheat, tests).detail


def test_packed_cases_of_a_function_are_opened_and_count(sandbox: Sandbox) -> None:
    blob = packed(json.dumps([{"input": "[4, 1]\n5", "output": "[[4, 1]]", "testtype": "functional"}]))
    tests = CodeTests(kind="function", function="pairs", blob=blob, seconds=5)
    assert graded(sandbox, PAIRS_PROGRAM, tests).verdict == "correct"


def test_packed_cases_are_opened_once_for_all_texts_of_a_target(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def noted(blob: str, *, sandbox: Sandbox) -> str:
        opened.append(blob)
        return unpack(blob, sandbox=sandbox)

    monkeypatch.setattr(code_module, "unpack", noted)
    targets = [
        Target(tests=CodeTests(kind="stdin", blob=packed(f'[{{"input": "", "output": "{number}"}}]')))
        for number in range(3)
    ]
    texts = ["print(0)"] * 9
    found = grade_code(texts, [targets[number // 3] for number in range(9)], sandbox=sandbox, jobs=2)
    assert [grade.verdict for grade in found] == ["correct"] * 3 + ["wrong"] * 6
    assert sorted(opened) == sorted(target.tests.blob for target in targets if target.tests)


class Command:
    """Pickles as a call of os.system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_calls_something_is_refused_and_calls_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    blob = packed(Command(tmp_path / "called"))
    with pytest.raises(ConfigError, match=r"cannot be opened .*system is asked for, and only plain data is taken"):
        unpack(blob, sandbox=sandbox)
    assert not (tmp_path / "called").exists()
    pickle.loads(zlib.decompress(base64.b64decode(blob)))  # what it would have done
    assert (tmp_path / "called").exists()


@pytest.mark.parametrize(
    ("blob", "problem"),
    [
        ("AAAA", "cannot be opened"),
        (packed("no JSON"), "no cases"),
        (packed('{"input": "1"}'), "no cases"),
        (packed([{"input": 1, "output": "2"}]), "no cases"),
        (packed("[]"), "without a case"),
    ],
)
def test_packed_cases_that_are_none_are_an_error(blob: str, problem: str, sandbox: Sandbox) -> None:
    with pytest.raises(ConfigError, match=problem):
        graded(sandbox, SUMS_PROGRAM, CodeTests(kind="stdin", blob=blob))
