"""Loads a program and answers what is asked about it over a wire: the side of the program, in the sandbox.

The order comes on stdin, as JSON: ways to build the program, each a list of pieces that run one after the other in one
module; the first way whose pieces all compile is taken. Nothing here is trusted by anybody. The program shares this
interpreter and may answer whatever it likes: it has to be the right values, and it is not told which those are.
"""

import json
import operator
import os
import socket
import sys
from collections.abc import Callable, Mapping
from types import CodeType, ModuleType
from typing import Any

from rmas.eval.inside.wire import Wire, WireError, decode, encode

_TOLD = 300  # characters of an exception's text


class Answerer:
    """Holds the program's names and the objects that the other side knows by number."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}

    def answer(self, request: Any) -> Any:
        """The reply to one request: its value, or the exception that it ended with."""
        try:
            verb, target, given, named = request
            arguments = [decode(item, self._objects.__getitem__) for item in given]
            keywords = {name: decode(item, self._objects.__getitem__) for name, item in named.items()}
            value = (
                self._find(target, is_method=verb == "method")
                if verb in ("name", "method")
                else _VERBS[verb](self._objects[target], *arguments, **keywords)
            )
            return {"value": encode(value, self._keep)}
        except BaseException as problem:  # noqa: BLE001 (it may raise what it likes, SystemExit included)
            return {"error": told(problem)}

    def _find(self, name: str, *, is_method: bool) -> Any:
        """A name of the program; where it may be a method, of an instance of its class Solution before that."""
        solution = self._names.get("Solution")
        if is_method and isinstance(solution, type) and name in dir(solution):
            return getattr(solution(), name)
        if name in self._names:
            return self._names[name]
        raise NameError(f"the program defines no {name}")

    def _keep(self, value: Any) -> int:
        number = self._numbers.setdefault(id(value), len(self._objects))
        if number == len(self._objects):
            self._objects.append(value)  # kept alive, so its id stays its own
        return number


_VERBS: Mapping[str, Callable[..., Any]] = {
    "call": lambda target, *given, **named: target(*given, **named),
    "get": getattr,
    "set": setattr,
    "item": operator.getitem,
    "in": operator.contains,
    "iter": iter,
    "next": next,
    "len": len,
    "bool": bool,
    "text": str,
}


def told(problem: BaseException) -> list[str]:
    """The name of an exception and what it says, if it says it without trouble."""
    try:
        text = str(problem)[:_TOLD]
    except BaseException:  # noqa: BLE001 (so may its text)
        text = ""
    return [type(problem).__name__, text]


def load(ways: list[list[str]]) -> Mapping[str, Any]:
    """The names of the program after it was run as a module called `solution`. Raises whatever it raises."""
    module = ModuleType("solution")
    sys.modules["solution"] = module
    for code in _compiled(ways):
        exec(code, module.__dict__)
    return vars(module)


def _compiled(ways: list[list[str]]) -> list[CodeType]:
    for pieces in ways[:-1]:
        try:
            return [compile(piece, "solution.py", "exec") for piece in pieces]
        except (SyntaxError, ValueError):
            continue
    return [compile(piece, "solution.py", "exec") for piece in ways[-1]]


def main() -> None:
    ways = json.load(sys.stdin)
    wire = Wire(socket.socket(fileno=int(sys.argv[1])))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what it prints is nobody's answer
    try:
        answerer = Answerer(load(ways))
    except BaseException as problem:  # noqa: BLE001
        wire.send({"error": told(problem)})
        return
    wire.send({"value": None})
    try:
        while True:
            wire.send(answerer.answer(wire.receive()))
    except WireError:
        os._exit(0)  # its threads need not be waited for


if __name__ == "__main__":
    main()
