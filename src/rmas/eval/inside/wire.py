"""What crosses between a program and those who test it: plain values, as lines of JSON over a socket.

The surprising thing: an object of any other kind stays where it is, and a number goes in its place. So what the tests
compare was made by the tests' own interpreter, and no `__eq__` of a program ever has a say.
"""

import json
import socket
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

LONGEST = 8 << 20  # bytes of a line
_EXACT = 1 << 63  # larger numbers are written in hexadecimal, which has no limit on digits


class WireError(Exception):
    """The other side is gone, or what it said is no message."""


def encode(value: Any, keep: Callable[[Any], int]) -> Any:
    """`value` as JSON holds it. `keep`: gives an object that is no plain value its number, or raises.

    Instances of subclasses (a Counter, a named tuple) count as what they derive from; numpy's as lists and numbers.
    """
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return value if -_EXACT < value < _EXACT else {"int": hex(value)}
    if isinstance(value, list):
        return [encode(item, keep) for item in value]
    if isinstance(value, dict):
        return {"dict": [[encode(key, keep), encode(item, keep)] for key, item in value.items()]}
    for kind, name in ((tuple, "tuple"), (set, "set"), (frozenset, "frozenset")):
        if isinstance(value, kind):
            return {name: [encode(item, keep) for item in value]}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": value.hex()}
    if isinstance(value, Decimal | Fraction):
        return {type(value).__name__: str(value)}
    if type(value).__module__ == "numpy":
        return encode(value.tolist(), keep)
    return {"object": keep(value)}


def decode(data: Any, find: Callable[[int], Any]) -> Any:
    """The value that `encode` was given. `find`: what stands for an object by its number. Raises WireError."""
    try:
        return _decode(data, find)
    except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as problem:
        raise WireError(f"no value: {type(problem).__name__}") from None


def _decode(data: Any, find: Callable[[int], Any]) -> Any:
    if isinstance(data, list):
        return [_decode(item, find) for item in data]
    if not isinstance(data, dict):
        return data
    ((name, content),) = data.items()
    if name in _PARTS:
        return _PARTS[name]([_decode(item, find) for item in content])
    return find(content) if name == "object" else _WHOLE[name](content)


_PARTS: Mapping[str, Callable[[list[Any]], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict}
_WHOLE: Mapping[str, Callable[[Any], Any]] = {
    "int": lambda text: int(text, 16),
    "range": lambda parts: range(*parts),
    "complex": lambda parts: complex(*parts),
    "bytes": bytes.fromhex,
    "Decimal": Decimal,
    "Fraction": Fraction,
}


class Wire:
    """Messages over `connection`, which is closed with it. Only one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._read = bytearray()

    def send(self, message: Any, seconds: float | None = None) -> None:
        """Write one message. Raises TimeoutError where it is not taken in `seconds`, WireError where nobody is left."""
        self._connection.settimeout(seconds)
        try:
            self._connection.sendall(json.dumps(message).encode("ascii") + b"\n")
        except TimeoutError:
            raise
        except OSError:
            raise WireError("the other side is gone") from None

    def receive(self, seconds: float | None = None) -> Any:
        """The next message. Raises TimeoutError after `seconds`, WireError where none can come."""
        until = None if seconds is None else time.monotonic() + seconds
        seen = 0
        while (end := self._read.find(b"\n", seen)) < 0:
            seen = len(self._read)
            if seen > LONGEST:
                raise WireError(f"a message of more than {LONGEST} bytes")
            self._connection.settimeout(None if until is None else max(until - time.monotonic(), 0.001))
            try:
                data = self._connection.recv(1 << 16)
            except TimeoutError:
                raise
            except OSError:
                data = b""
            if not data:
                raise WireError("the other side is gone")
            self._read += data
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise WireError("no message") from None

    def close(self) -> None:
        self._connection.close()
