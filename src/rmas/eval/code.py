"""Programs against hidden tests, in the sandbox. No torch.

The program and what judges it are never in one process. A program that reads stdin is judged by what it printed. One
whose function is called sits in a sandbox of its own and answers over a wire; arguments and results are plain values,
compared here (`function`) or by the test script in a second sandbox (`script`). So the expected values never come near
the program: leaving early, printing what a judge would print, patching builtins or reading frames gain it nothing.

What an adversary can still do: know the answers beforehand, answer at random, and, where a script takes helpers from
the program itself (a class that it defines, a constant), choose those. Arguments go by value: a function that is meant
to change its argument in place cannot be tested so.
"""

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import lru_cache
from math import ceil
from textwrap import dedent
from threading import Lock
from typing import Any, NamedTuple

from rmas.errors import ConfigError
from rmas.eval.answering import WIRE, Caller, FailedError, answering, source, ways_to_build
from rmas.eval.compare import same_output, same_value
from rmas.eval.fences import READS_INPUT, defines, find_program
from rmas.eval.grade import Grade, Verdict, grade
from rmas.eval.inside.wire import WireError
from rmas.eval.prelude import prelude
from rmas.eval.task import CodeTests, Target, Task
from rmas.eval.tasks.livecode import read_cases
from rmas.tools import Limits, Outcome, Sandbox, find_sandbox

MEMORY_MIB = 1024
PATIENCE = 2.0  # by the clock, times the limit of processor time: on a busy machine a right program stays right
START_SECONDS = 2.0  # by the clock, for sandbox and interpreter
SETTLE_SECONDS = 1.0  # by the clock, for a program that is no longer heard of to be gone: then it is known why
_STOPPED: Mapping[str, str] = {
    "time": "timed out",
    "output": "too much output",
    "memory": "too much memory",
    "files": "too many files",
}
_CALLED = re.compile(r"\b([A-Za-z_]\w*)[ \t]*\(")
_DEFINED = re.compile(r"^[ \t]*(?:def|class)[ \t]+(\w+)", re.MULTILINE)


class Tried(NamedTuple):
    """How the tests went. `detail`: what failed; empty where all passed."""

    passed: bool
    detail: str = ""


def sandbox_for(task: Task, *, allow_unsafe: bool = False) -> Sandbox | None:
    """This machine's sandbox for a code task, None for others. Raises ConfigError where it cannot be set up."""
    return find_sandbox(allow_unsafe=allow_unsafe) if task.format == "code" else None


def grade_texts(
    task: Task,
    texts: Sequence[str],
    targets: Sequence[Target],
    *,
    sandbox: Sandbox | None,
    jobs: int,
    names: Sequence[str] | None = None,
) -> list[Grade]:
    """One grade a text, by the grader of `task`. Code tasks come with a sandbox, and `names` for errors."""
    if task.format != "code":
        return [grade(text, target, task.format) for text, target in zip(texts, targets, strict=True)]
    assert sandbox is not None, "a code task comes with a sandbox"
    return grade_code(texts, targets, sandbox=sandbox, jobs=jobs, names=names)


def grade_code(
    texts: Sequence[str],
    targets: Sequence[Target],
    *,
    sandbox: Sandbox,
    jobs: int,
    names: Sequence[str] | None = None,
) -> list[Grade]:
    """Grade what a model wrote by the tests of its target, `jobs` programs at a time, in the order given.

    Both readings are the same one. Raises ConfigError where a target has no tests, where its tests are broken or cannot
    be opened, and where the sandbox fails; never because of what a program does. The error begins with the text's own
    of `names`, such as its sample's id; without them, with which text it is.
    """
    names = [f"text {number} of {len(texts)}" for number, _ in enumerate(texts, 1)] if names is None else names
    opened = _opening(targets, sandbox, keep=jobs)

    def graded(text: str, target: Target, name: str) -> Grade:
        try:
            return _grade(text, target, sandbox, opened)
        except ConfigError as problem:
            raise ConfigError(f"{name}: {problem}") from None

    with ThreadPoolExecutor(jobs, thread_name_prefix="code") as pool:
        return list(pool.map(graded, texts, targets, names))


def _grade(text: str, target: Target, sandbox: Sandbox, opened: Callable[[CodeTests], CodeTests]) -> Grade:
    if target.tests is None:
        raise ConfigError("code: a target without tests. Expected CodeTests.")
    program = find_program(text, _wanted(target.tests))
    if program is None:
        return Grade(verdict="unparsed", lenient="unparsed", extracted=None, detail="no program")
    tests = opened(target.tests)
    tried = _KINDS[tests.kind](program, tests, sandbox)
    verdict: Verdict = "correct" if tried.passed else "wrong"
    return Grade(verdict=verdict, lenient=verdict, extracted=program, detail=tried.detail)


def _wanted(tests: CodeTests) -> re.Pattern[str] | None:
    """What tells the program of a text from its examples: that it reads the input, or defines what the tests call."""
    if tests.kind == "stdin":
        return READS_INPUT
    called = {tests.function} if tests.function else set(_CALLED.findall(tests.script))
    called -= set(_DEFINED.findall(tests.script))
    return defines(called) if called else None


def _opening(targets: Sequence[Target], sandbox: Sandbox, *, keep: int) -> Callable[[CodeTests], CodeTests]:
    """What opens the tests of a target once for all texts that share it. The last `keep` that were opened are kept."""
    cached = lru_cache(maxsize=keep)(lambda tests: _opened(tests, sandbox))
    locks = {target.tests: Lock() for target in targets}

    def opened(tests: CodeTests) -> CodeTests:
        with locks[tests]:  # who comes second waits for what the first one opens
            return cached(tests)

    return opened


def unpack(blob: str, *, sandbox: Sandbox) -> str:
    """The text in a `CodeTests.blob`, opened in the sandbox. Raises ConfigError where it holds more than plain data."""
    limits = Limits(seconds=120, cpu_seconds=60, memory_mib=4096, output_kib=1 << 20)
    outcome = sandbox.run(source("unpack.py"), stdin=blob, limits=limits)
    if outcome.exit_code != 0:
        raise ConfigError(f"code: packed tests that cannot be opened ({_ending(outcome)}). Get the data anew.")
    return outcome.stdout


def _try_stdin(program: str, tests: CodeTests, sandbox: Sandbox) -> Tried:
    """One run a case. The program has to end with exit code 0."""
    cases = tests.cases
    text = f"{prelude(program)}\n{dedent(program)}"
    for number, (given, expected) in enumerate(cases, 1):
        limits = _limits(tests.seconds, output_kib=256 + (len(expected) >> 8))
        outcome = sandbox.start(text, stdin=given, limits=limits, packages=_packages(program)).wait()
        problem = ""
        if outcome.exit_code != 0:
            problem = _ending(outcome)
        elif not same_output(outcome.stdout, expected):
            problem = f"printed {_short(outcome.stdout)}, expected {_short(expected)}"
        if problem:
            return Tried(False, f"case {number} of {len(cases)}: {problem}")
    return Tried(True)


def _try_function(program: str, tests: CodeTests, sandbox: Sandbox) -> Tried:
    """One process for all cases; each call has its own limit by the clock."""
    calls = _calls(tests.cases)
    ways = [[f"{prelude(program)}\n{dedent(program)}"]]
    limits = _limits(tests.seconds * (len(calls) + 1))
    done, problem = 0, ""
    with answering(ways, sandbox, limits, _packages(program)) as (connection, ended):
        caller = Caller(connection, seconds=tests.seconds * PATIENCE)
        try:
            caller.find(tests.function, start_seconds=START_SECONDS)
            for arguments, expected in calls:
                if not same_value(found := caller.call(arguments), expected):
                    raise FailedError(f"returned {_short(found)}, expected {_short(expected)}")
                done += 1
        except TimeoutError:
            problem = "timed out"
        except FailedError as failure:
            problem = str(failure)
        except WireError as failure:
            problem = str(failure)
            wait([ended], SETTLE_SECONDS)
    stopped = _STOPPED.get(ended.result().stopped_by)
    return Tried(False, f"case {done + 1} of {len(calls)}: {stopped or problem}") if problem else Tried(True)


def _try_script(program: str, tests: CodeTests, sandbox: Sandbox) -> Tried:
    """Two sandboxes, wired to each other: the program in one, the script in the other."""
    limits, packages = _limits(tests.seconds), _packages(program, tests.script)
    token = secrets.token_hex(16)
    order = {"token": token, "script": tests.script, "prompt": tests.prompt, "function": tests.function}
    with answering(ways_to_build(program, tests), sandbox, limits, packages) as (connection, ended):
        checker = sandbox.start(
            source("checker.py"),
            stdin=json.dumps(order),
            limits=limits,
            files=WIRE,
            channel=connection,
            packages=packages,
        )
        connection.close()  # so that each side sees the end of the other
        verdict, detail = _report(checker.wait(), token)
        if verdict != "passed":
            wait([ended], SETTLE_SECONDS)
    stopped = _STOPPED.get(ended.result().stopped_by)
    if verdict == "broken":
        raise ConfigError(f"code: tests that do not work: {detail}. Repair the row, or install what they need.")
    return Tried(True) if verdict == "passed" else Tried(False, stopped or detail)


_KINDS: Mapping[str, Callable[[str, CodeTests, Sandbox], Tried]] = {
    "script": _try_script,
    "stdin": _try_stdin,
    "function": _try_function,
}


def _report(outcome: Outcome, token: str) -> tuple[str, str]:
    """Verdict and detail as the checker wrote them; `failed` where it did not get that far."""
    try:
        report = json.loads(outcome.stdout)
    except ValueError:
        report = {}
    if not isinstance(report, dict) or report.get("token") != token:
        return "failed", f"the tests did not end: {_ending(outcome)}"
    return str(report["verdict"]), str(report["detail"])


def _opened(tests: CodeTests, sandbox: Sandbox) -> CodeTests:
    """Tests whose packed cases stand with the others. Raises ConfigError where there are none."""
    cases = tests.cases
    if tests.blob:
        text = unpack(tests.blob, sandbox=sandbox)
        try:
            cases = (*cases, *read_cases(text, function=tests.function))
        except (ValueError, RecursionError) as problem:
            raise ConfigError(f"code: packed tests that are no cases ({problem}). Get the data anew.") from None
    if not cases and tests.kind != "script":
        raise ConfigError(f"code: tests of kind {tests.kind} without a case. Repair the row.")
    return replace(tests, cases=cases, blob="")


def _calls(cases: Sequence[tuple[str, str]]) -> list[tuple[list[Any], Any]]:
    """Arguments and expected value of each case."""
    calls = []
    for given, expected in cases:
        try:
            arguments, value = json.loads(given), json.loads(expected)
        except (ValueError, RecursionError):
            arguments, value = None, None
        if not isinstance(arguments, list):
            raise ConfigError(f"code: the case {_short(given)} -> {_short(expected)}: expected a JSON list and JSON.")
        calls.append((arguments, value))
    return calls


def _limits(seconds: float, *, output_kib: int = 256) -> Limits:
    return Limits(
        seconds=seconds * PATIENCE + START_SECONDS,
        cpu_seconds=ceil(seconds),
        memory_mib=MEMORY_MIB,
        output_kib=output_kib,
    )


def _packages(*texts: str) -> tuple[str, ...]:
    """numpy where it is spoken of: the tests of MBPP+ need it. Nothing else beyond the standard library."""
    return ("numpy",) if any("numpy" in text for text in texts) else ()


def _ending(outcome: Outcome) -> str:
    last = next((line.strip() for line in reversed(outcome.stderr.splitlines()) if line.strip()), "")
    return _STOPPED.get(outcome.stopped_by) or f"exit code {outcome.exit_code}{': ' if last else ''}{last[:200]}"


def _short(value: object) -> str:
    try:
        text = value.strip() if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # more digits than Python prints; deeply nested
        text = f"a {type(value).__name__}"
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
