"""Runs a test script in an interpreter that the program under test never enters: the side of the tests, in the sandbox.

The order comes on stdin, as JSON: the script, the code that stands before the answer (trusted, it is the task's), the
function under test, and a token that makes the report on stdout ours. A name of the program is a `Remote`, whose calls
go over the wire; plain results come back as values of this interpreter, everything else as another Remote.

Which names the program may give: those that the script reads and neither the task's code nor Python itself defines,
and the function under test. So no program gets to replace `abs`, `sorted` or a helper of the task.
"""

import ast
import builtins
import importlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

from rmas.eval.inside.wire import Wire, WireError, decode, encode

# Modules that a script may use without importing them: this interpreter's own, not what the program calls so.
_MODULES = frozenset(
    (
        *("array", "bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq"),
        *("itertools", "json", "math", "operator", "random", "re", "statistics", "string", "sys", "time", "typing"),
    )
)
_SCRIPT = "tests.py"


class GoneError(BaseException):
    """The program is no longer there. No Exception: a script that catches those must not go on without it."""


class UnsendableError(Exception):
    """The tests give the program something that cannot be sent."""


class ProgramError(Exception):
    """An exception of the program that has no namesake here."""


class Program:
    """The program under test, behind the wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._remotes: dict[int, Remote] = {}
        self.calls = 0
        self.is_gone = False
        self.raised: list[BaseException] = []

    def start(self) -> None:
        """Wait until it is loaded. Raises its exception where that failed."""
        self._reply("start")

    def ask(self, verb: str, target: int | str, *given: Any, **named: Any) -> Any:
        """The value of a reply; raises the program's exception, or GoneError."""
        self.calls += verb == "call"
        arguments = [encode(item, _number) for item in given]
        try:
            self._wire.send([verb, target, arguments, {name: encode(item, _number) for name, item in named.items()}])
        except WireError as problem:
            raise self._gone(problem) from None
        return self._reply(verb)

    def _reply(self, verb: str) -> Any:
        try:
            reply = self._wire.receive()
            if "error" not in reply:
                return decode(reply["value"], self._remote)
            name, text = map(str, reply["error"])
        except (WireError, TypeError, ValueError, KeyError) as problem:
            raise self._gone(problem) from None
        self.raised.append(_exception(name, text, verb))
        raise self.raised[-1]

    def _gone(self, problem: Exception) -> GoneError:
        self.is_gone = True
        return GoneError(str(problem))

    def _remote(self, number: int) -> "Remote":
        return self._remotes.setdefault(number, Remote(self, number))


class Remote:
    """An object of the program. Equal to itself only; has no arithmetic, no order."""

    def __init__(self, program: Program, number: int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_number", number)

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._program.ask("call", self._number, *given, **named)

    def __getattr__(self, name: str) -> Any:
        return self._program.ask("get", self._number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._program.ask("set", self._number, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._program.ask("item", self._number, key)

    def __contains__(self, item: Any) -> bool:
        return self._program.ask("in", self._number, item) is True

    def __iter__(self) -> Iterator[Any]:
        iterator = self._program.ask("iter", self._number)
        if not isinstance(iterator, Remote):
            raise TypeError("no iterator")
        return iterator

    def __next__(self) -> Any:
        return self._program.ask("next", self._number)

    def __len__(self) -> int:
        return int(self._program.ask("len", self._number))

    def __bool__(self) -> bool:
        return self._program.ask("bool", self._number) is True

    def __str__(self) -> str:
        return str(self._program.ask("text", self._number))


def _number(value: Any) -> int:
    if isinstance(value, Remote):
        number: int = object.__getattribute__(value, "_number")
        return number
    raise UnsendableError(f"they give the program a {type(value).__name__}, and only plain values can be sent")


def _exception(name: str, text: str, verb: str) -> BaseException:
    """Our own exception of that name. StopIteration only comes from `next`: elsewhere it would end a loop of tests."""
    kind = vars(builtins).get(name)
    if name == "StopIteration" and verb == "next":
        return StopIteration()
    if isinstance(kind, type) and issubclass(kind, Exception) and name not in ("StopIteration", "StopAsyncIteration"):
        try:
            problem = kind(text)
        except TypeError:  # UnicodeDecodeError wants five arguments
            return ProgramError(f"{name}: {text}")
        assert isinstance(problem, Exception)
        return problem
    return ProgramError(f"{name}: {text}")


def check(order: dict[str, str], program: Program) -> tuple[str, str]:
    """Verdict and detail. passed, failed; or broken: the tests themselves are at fault, and nothing was found out."""
    names: dict[str, Any] = {"__name__": "tests"}
    try:
        tree = ast.parse(order["script"], _SCRIPT)
        if order["prompt"]:
            exec(compile(order["prompt"], "task.py", "exec"), names)
    except Exception as problem:  # noqa: BLE001 (foreign code, too)
        return "broken", f"{type(problem).__name__}: {problem}"
    try:
        program.start()
        _take_names(tree, order["function"], names, program)
        exec(compile(tree, _SCRIPT, "exec"), names)
    except BaseException as problem:  # noqa: BLE001
        is_ours = not any(problem is raised for raised in program.raised)
        if isinstance(problem, ImportError | UnsendableError) and is_ours and not program.is_gone:
            return "broken", f"{type(problem).__name__}: {problem}"
        return "failed", _told(problem, order["script"])
    if program.is_gone:
        return "failed", "the program ended before its tests did"
    if not program.calls:
        return "broken", "the tests never call the program"
    return "passed", ""


def _take_names(tree: ast.AST, function: str, names: dict[str, Any], program: Program) -> None:
    """Fill `names` with what the script reads from the program. Raises NameError without the function under test."""
    nodes = list(ast.walk(tree))
    read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)} - set(names)
    owners = {node.value.id for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)}
    for name in sorted(read & owners & _MODULES - {function}):
        names[name] = importlib.import_module(name)
    if function and not _take({function}, names, program):
        raise NameError(f"the program defines no {function}")
    wanted = read - set(names) - set(vars(builtins))
    if not (_take(wanted, names, program) or function):
        _take(read - set(names), names, program)  # a function that is called like one of Python's own


def _take(wanted: set[str], names: dict[str, Any], program: Program) -> bool:
    """Whether the program has any of the names; those that it has are taken."""
    taken = False
    for name in sorted(wanted):
        try:
            names[name] = program.ask("name", name)
        except NameError:
            continue
        taken = True
    return taken


def _told(problem: BaseException, script: str) -> str:
    """The line of the script that failed, and why."""
    line, trace = 0, problem.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _SCRIPT:
            line = trace.tb_lineno
        trace = trace.tb_next
    source = script.splitlines()[line - 1].strip()[:200] if line else ""
    said = f"{type(problem).__name__}: {problem}"[:300].rstrip(": ")
    return f"{source} ({said})" if source else said


def main() -> None:
    order = json.load(sys.stdin)
    program = Program(Wire(socket.socket(fileno=int(sys.argv[1]))))
    report = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the script may print
    verdict, detail = check(order, program)
    line = json.dumps({"token": order["token"], "verdict": verdict, "detail": detail})
    os.write(report, line.encode("ascii") + b"\n")
    os._exit(0)


if __name__ == "__main__":
    main()
