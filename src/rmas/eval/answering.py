"""A program under test that answers calls: how it is put together, started in the sandbox, and asked. No torch."""

import json
import re
import socket
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

from rmas.eval.inside.wire import Wire, decode
from rmas.eval.task import CodeTests
from rmas.tools import Limits, Outcome, Sandbox

_INSIDE = Path(__file__).with_name("inside")


class FailedError(Exception):
    """The program did not answer a call with a value; the text says how."""


@dataclass(frozen=True)
class Unsent:
    """An object that stays in the program's sandbox, by its number there. Equal to no value that was sent."""

    number: int


def source(name: str) -> str:
    """A script of inside/."""
    return (_INSIDE / name).read_text(encoding="utf-8")


WIRE: Mapping[str, str] = {"rmas/eval/inside/wire.py": source("wire.py")}


@contextmanager
def answering(
    ways: list[list[str]], sandbox: Sandbox, limits: Limits, packages: Sequence[str]
) -> Iterator[tuple[socket.socket, "Future[Outcome]"]]:
    """A program that answers at the other end of the socket until the block ends, and what will be known of its end.

    `ways`: how to put it together, as inside/answerer.py takes them.
    """
    ours, theirs = socket.socketpair()
    with ours, ThreadPoolExecutor(1) as waiting:
        with theirs:
            process = sandbox.start(
                source("answerer.py"),
                stdin=json.dumps(ways),
                limits=limits,
                files=WIRE,
                channel=theirs,
                packages=packages,
            )
        ended = waiting.submit(process.wait)
        try:
            yield ours, ended
        finally:
            process.stop()


def ways_to_build(program: str, tests: CodeTests) -> list[list[str]]:
    """How program and prompt may fit together, likeliest first: the whole function, or what follows the prompt.

    The whole function is run after the prompt all the same, which may hold imports and helpers.
    """
    whole = textwrap.dedent(program)
    if not tests.prompt:
        return [[whole]]
    name = re.escape(tests.function)
    if re.search(rf"^(?:(?:async[ \t]+)?def|class)[ \t]+{name}\b|^{name}[ \t]*=", whole, re.MULTILINE):
        return [[tests.prompt, whole], [whole]]
    prompt = tests.prompt if tests.prompt.endswith("\n") else f"{tests.prompt}\n"
    indented = textwrap.indent(whole, "    ")
    return [[prompt + program], [prompt + indented], [f"{prompt}    {program}"], [whole]]


@final
class Caller:
    """Calls one function of a program, each time for at most `seconds` by the clock.

    What is asked raises FailedError, WireError or TimeoutError.
    """

    def __init__(self, connection: socket.socket, *, seconds: float) -> None:
        self._wire, self._seconds = Wire(connection), seconds
        self._number = -1

    def find(self, function: str, *, start_seconds: float) -> None:
        """Wait until the program is loaded, `start_seconds` longer than a call, and look `function` up."""
        self._reply(self._seconds + start_seconds)
        found = self._ask("method", function)
        if not isinstance(found, Unsent):
            raise FailedError(f"{function} is no function")
        self._number = found.number

    def call(self, arguments: Sequence[object]) -> object:
        """The value that the function returns."""
        return self._ask("call", self._number, *arguments)

    def _ask(self, verb: str, target: object, *given: object) -> object:
        self._wire.send([verb, target, given, {}], self._seconds)
        return self._reply(self._seconds)

    def _reply(self, seconds: float) -> object:
        reply = self._wire.receive(seconds)
        if isinstance(reply, dict) and "value" in reply:
            return decode(reply["value"], Unsent, seconds=self._seconds)
        if isinstance(reply, dict) and isinstance(reply.get("error"), list):
            raise FailedError(": ".join(part for part in reply["error"] if isinstance(part, str))[:300])
        raise FailedError("no answer")
