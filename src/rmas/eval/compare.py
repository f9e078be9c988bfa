"""Whether what a program printed or returned is what was expected, as LiveCodeBench reads it. Any values; no errors."""

from decimal import Decimal, InvalidOperation
from math import isclose
from typing import Any

CLOSE = 1e-6  # relative, for an expected float


def same_output(printed: str, expected: str) -> bool:
    """Line by line, white space around them aside; two unlike lines may still be the same numbers (1.0 and 1)."""
    ours, theirs = printed.strip().split("\n"), expected.strip().split("\n")
    return len(ours) == len(theirs) and all(_same_line(a.strip(), b.strip()) for a, b in zip(ours, theirs, strict=True))


def _same_line(printed: str, expected: str) -> bool:
    if printed == expected:
        return True
    try:
        ours, theirs = ([Decimal(word) for word in line.split()] for line in (printed, expected))
        return ours == theirs
    except InvalidOperation:  # a word that is no number; a signalling nan
        return False


def same_value(found: Any, expected: Any) -> bool:
    """`expected` as JSON gives it. Tuples are lists, floats are close, everything else as Python has it."""
    if isinstance(expected, list):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(expected)
            and all(same_value(a, b) for a, b in zip(found, expected, strict=True))
        )
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(same_value(found[key], value) for key, value in expected.items())
        )
    if isinstance(expected, float) and isinstance(found, int | float):
        try:
            return found == expected or isclose(found, expected, rel_tol=CLOSE, abs_tol=CLOSE * CLOSE)
        except OverflowError:  # an int that no float can hold
            return False
    try:
        return bool(found == expected)
    except ArithmeticError:  # a signalling nan
        return False
