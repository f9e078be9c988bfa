"""What decides about programs besides running them: comparisons, the wire that values come by, names that are given."""

import builtins
import json
import socket
from collections import Counter, OrderedDict, namedtuple
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import pytest

from rmas.eval.compare import same_output, same_value
from rmas.eval.inside.wire import Wire, WireError, decode, encode
from rmas.eval.prelude import _GIVEN, prelude


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("3", "3", True),
        ("3\n", "3", True),
        ("  3  \n\n", "3\n", True),
        ("1 2\n3", "1 2 \n 3\n", True),
        ("1.0", "1", True),
        ("1.50 2", "1.5 2.0", True),
        ("1e3", "1000", True),
        ("YES", "YES", True),
        ("", "", True),
        ("yes", "YES", False),
        ("3 4", "3  4", True),
        ("a b", "a  b", False),
        ("3\n4", "3 4", False),
        ("3", "3\n4", False),
        ("3\n\n4", "3\n4", False),
        ("1.0000001", "1", False),
        ("3 x", "3 y", False),
        ("nan", "1", False),
        ("snan", "1", False),
        ("1e999999999", "1", False),
        ("0x10", "16", False),
        ("", "0", False),
    ],
)
def test_outputs_are_compared_line_by_line_and_numbers_by_value(printed: str, expected: str, same: bool) -> None:
    assert same_output(printed, expected) is same


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        (3, 3, True),
        ((1, (2, 3)), [1, [2, 3]], True),
        (0.1 + 0.2, 0.3, True),
        ([0.1 + 0.2], [0.3], True),
        (3, 3.0, True),
        (3.0, 3, True),
        ({"a": (1,)}, {"a": [1]}, True),
        (None, None, True),
        (True, True, True),
        (float("inf"), float("inf"), True),
        (3.0000001, 3, False),
        (0.30001, 0.3, False),
        (float("nan"), 0.3, False),
        (10**400, 0.3, False),
        ("3", 3, False),
        (3, "3", False),
        ([1, 2], [2, 1], False),
        ([1], [1, 2], False),
        ({1, 2}, [1, 2], False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        (None, [], False),
        (0, None, False),
        (Decimal("sNaN"), 1, False),
        ("[1]", [1], False),
    ],
)
def test_values_are_compared_with_tuples_as_lists_and_floats_as_close(found: Any, expected: Any, same: bool) -> None:
    assert same_value(found, expected) is same


class Side(IntEnum):
    LEFT = 1


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "arrives_as"),
    [
        (None, None),
        (True, True),
        (-3, -3),
        (2**63, 2**63),
        pytest.param(-(10**5000), -(10**5000), id="many digits"),
        (0.1, 0.1),
        (float("-inf"), float("-inf")),
        (-0.0, -0.0),
        ("a\n\u2028\ud800\0", "a\n\u2028\ud800\0"),
        ([1, [2, ()]], [1, [2, ()]]),
        ({"a": 1, 2: [3], (4, 5): None}, {"a": 1, 2: [3], (4, 5): None}),
        ({1, frozenset({2})}, {1, frozenset({2})}),
        (1 + 2j, 1 + 2j),
        (b"\0\xff", b"\0\xff"),
        (Fraction(1, 3), Fraction(1, 3)),
        (Decimal("1.10"), Decimal("1.10")),
        (Side.LEFT, 1),
        (Point(1, 2), (1, 2)),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
    ],
)
def test_a_plain_value_crosses_the_wire_as_it_is(value: Any, arrives_as: Any) -> None:
    arrived = decode(json.loads(json.dumps(encode(value, _refuse))), _refuse)
    assert type(arrived) is type(arrives_as)
    assert arrived == arrives_as


def _refuse(value: Any) -> Any:
    raise TypeError(value)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"a": 1},
        {"int": "x"},
        {"int": 3},
        {"tuple": 3},
        {"set": [[1]]},
        {"dict": [[1]]},
        {"Fraction": "1/0"},
        {"a": 1, "b": 2},
    ],
)
def test_what_is_no_value_is_refused(data: Any) -> None:
    with pytest.raises(WireError, match="no value"):
        decode(data, _refuse)


def test_a_wire_gives_up_on_silence_nonsense_length_and_the_end() -> None:
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    with theirs:
        with pytest.raises(TimeoutError):
            wire.receive(0.05)
        theirs.sendall(b'{"value": 3}\n{"val')
        assert wire.receive(1) == {"value": 3}
        theirs.sendall(b"}\n")
        with pytest.raises(WireError, match="no message"):
            wire.receive(1)
    with pytest.raises(WireError, match="gone"):
        wire.receive(1)
    with pytest.raises(WireError, match="gone"):
        wire.send("x" * (1 << 20), 1)
    wire.close()


@pytest.mark.parametrize(
    ("program", "imports"),
    [
        ("print(input())", ""),
        ("def f(x: List[int]) -> Optional[int]: ...", "from typing import List, Optional"),
        (
            "q = deque(); heapq.heappush(q, 1)",
            "from collections import deque; from heapq import heappush; import heapq",
        ),
        ("bisect.bisect_left(x, 1)", "from bisect import bisect, bisect_left; import bisect"),
        ("x = bisect(y, 1)", "from bisect import bisect"),
        ("from __future__ import annotations\nx: List[int]", ""),
    ],
)
def test_names_that_contest_sites_give_are_imported(program: str, imports: str) -> None:
    assert prelude(program) == imports


def test_every_name_that_is_given_exists_and_is_none_of_pythons_own() -> None:
    for name, words in _GIVEN.items():
        scope: dict[str, Any] = {}
        exec(f"from {name} import {', '.join(words.split())}", scope)
        assert not set(words.split()) & set(vars(builtins))


def test_keys_that_all_collide_are_given_up() -> None:
    modulus = (1 << 61) - 1  # of Python's hashes of integers: all of these hash to 0
    message = {"set": [encode(number * modulus, no_object) for number in range(60_000)]}
    with pytest.raises(WireError, match="takes too long"):
        decode(message, no_object, seconds=0.2)


def test_fractions_are_sent_as_they_are_and_never_as_text() -> None:
    class Sly(Fraction):
        def __str__(self) -> str:
            return "1e3000000000"

    assert decode(encode(Sly(3, 6), no_object), no_object) == Fraction(1, 2)
    with pytest.raises(WireError, match="ValueError"):
        decode({"Fraction": ["0x" + "f" * 30_000, "0x3"]}, no_object)
    with pytest.raises(WireError, match="ZeroDivisionError"):
        decode({"Fraction": ["0x1", "0x0"]}, no_object)


def no_object(value: Any) -> int:
    raise AssertionError(f"{value!r} is a plain value")
