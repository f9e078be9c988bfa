"""Reading a row's fields. Each has several names: those of the hub's columns and of the files people keep.

The first name that the row has counts; `Correct Answer` and `correct_answer` are one name. A field that is null is not
there. Every error is one line: the row's place, the field, what was expected.
"""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from rmas.errors import ConfigError, unknown
from rmas.rows import Row

QUESTION = ("question", "problem")
ANSWER = ("answer", "answers", "golden_answers")


def find(row: Row, names: Sequence[str], expected: str) -> tuple[str, Any]:
    """The field that goes by the first of `names`, as the row spells it, and its value. Raises ConfigError."""
    found = look_up(row, names)
    if found is None:
        known = [name for name, value in row.fields.items() if value is not None]
        near = next((name for name in names if get_close_matches(name, known, n=1)), names[0])
        raise ConfigError(f"{row.place}: no {' or '.join(names)} ({expected}): {unknown('field', near, known)}")
    return found


def look_up(row: Row, names: Sequence[str]) -> tuple[str, Any] | None:
    """As `find`; None where the row has none of them."""
    spelled = {name.casefold().replace(" ", "_"): name for name, value in row.fields.items() if value is not None}
    return next(((spelled[name], row.fields[spelled[name]]) for name in names if name in spelled), None)


def text_of(row: Row, names: Sequence[str], expected: str, *, numbers: bool = False) -> str:
    """A text that is not blank, as written. `numbers`: or a number, a whole one written without a point."""
    name, value = find(row, names, expected)
    return text(row, name, value, expected, numbers=numbers)


def text(row: Row, name: str, value: object, expected: str, *, numbers: bool = False) -> str:
    """`value` as `text_of` says, for a value that is inside a field."""
    if numbers and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        value = str(int(value)) if value == int(value) else str(value)
    if not isinstance(value, str) or not value.strip():
        raise wrong(row, name, value, expected)
    if re.search("[\ud800-\udfff]", value):
        raise ConfigError(f"{row.place}: {name} holds half of a surrogate pair, which is no text. Repair the row.")
    return value


def texts_of(row: Row, names: Sequence[str], expected: str, *, numbers: bool = False) -> tuple[str, ...]:
    """A list of texts, one or more; a text alone is a list of one."""
    name, value = find(row, names, expected)
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise wrong(row, name, value, expected)
    return tuple(text(row, name, item, expected, numbers=numbers) for item in values)


def code_of(row: Row, name: str) -> str:
    """Python that may be missing or blank; a list is one part a line."""
    name, value = look_up(row, (name,)) or (name, "")
    parts = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(part, str) for part in parts):
        raise wrong(row, name, value, "Python text or a list of it")
    return "\n".join(parts).replace("\r\n", "\n").strip("\n").rstrip()


def json_of(row: Row, names: Sequence[str], expected: str) -> Any:
    """A value that is kept as JSON text, or as it is."""
    name, value = find(row, names, expected)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):  # not JSON, a number too long, lists too deep
        raise wrong(row, name, value, expected) from None


def identity(row: Row, asked: str, *names: str) -> str:
    """The row's own id, under the first of `names` that it has; else 16 hex digits of a sha256 of what is asked."""
    _, value = look_up(row, names) or ("", None)
    if isinstance(value, str | int) and str(value).strip():
        return str(value).strip()
    return hashlib.sha256(asked.strip().encode()).hexdigest()[:16]


def wrong(row: Row, name: str, value: object, expected: str) -> ConfigError:
    """The error for a field that is there and does not fit."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return ConfigError(f"{row.place}: {name} is {shown}, expected {expected}. Repair the row.")
