"""What crosses between a program and those who test it: plain values, as lines of JSON over a socket.

The surprising thing: an object of any other kind stays where it is, and a number goes in its place. So what the tests
compare was made by the tests' own interpreter, and no `__eq__` of a program ever has a say.
"""

import json
import math
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, final

LONGEST = 8 << 20  # bytes of a line
_LONGEST_FRACTION = 20_000  # hexadecimal digits of either part
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
    if isinstance(value, Fraction):
        return {"Fraction": [hex(value.numerator), hex(value.denominator)]}
    if isinstance(value, Decimal):
        return {"Decimal": str(value)}
    if type(value).__module__ == "numpy":
        return encode(value.tolist(), keep)
    return {"object": keep(value)}


def decode(data: Any, find: Callable[[int], Any], *, seconds: float = math.inf) -> Any:
    """The value that `encode` was given. `find`: what stands for an object by its number. Raises WireError.

    Who sends may be hostile: keys whose hashes all collide make a set of many take hours. Hence `seconds`, and a limit
    on the digits of a fraction, whose greatest common divisor is sought.
    """
    try:
        return _Decoder(find, time.monotonic() + seconds).value(data)
    except (ArithmeticError, AttributeError, KeyError, MemoryError, RecursionError, TypeError, ValueError) as problem:
        raise WireError(f"no value: {type(problem).__name__}") from None


@final
class _Decoder:
    def __init__(self, find: Callable[[int], Any], until: float) -> None:
        self._find, self._until = find, until

    def value(self, data: Any) -> Any:
        if isinstance(data, list):
            return [self.value(item) for item in data]
        if not isinstance(data, dict):
            return data
        ((name, content),) = data.items()
        if name == "object":
            return self._find(content)
        if name == "tuple":
            return tuple([self.value(item) for item in content])
        if name == "dict":
            return self._keyed((self.value(key), self.value(item)) for key, item in content)
        if name in ("set", "frozenset"):
            keys = self._keyed((self.value(item), None) for item in content)
            return set(keys) if name == "set" else frozenset(keys)
        return _WHOLE[name](content)

    def _keyed(self, pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for number, (key, value) in enumerate(pairs):
            found[key] = value
            if number % 64 == 63 and time.monotonic() > self._until:
                raise WireError("a value that takes too long to read")
        return found


def _fraction(parts: list[str]) -> Fraction:
    if max(map(len, parts)) > _LONGEST_FRACTION:
        raise ValueError("a fraction of too many digits")
    numerator, denominator = (int(text, 16) for text in parts)
    return Fraction(numerator, denominator)


_WHOLE: Mapping[str, Callable[[Any], Any]] = {
    "int": lambda text: int(text, 16),
    "range": lambda parts: range(*parts),
    "complex": lambda parts: complex(*parts),
    "bytes": bytes.fromhex,
    "Decimal": Decimal,
    "Fraction": _fraction,
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
