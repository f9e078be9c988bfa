"""What kind of object an answer is: an expression, a list, a tuple, a set, an interval, a union, a matrix, an equation.

The surprising thing: `(1,2)` is a point and an open interval, and nothing in it tells which. It is one kind here, "()",
and so is whatever else has these items in this order: a matrix of one column, `[1,2,3]`, `x=1, y=2`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from rmas.eval.notation import number_of, tidy
from rmas.eval.units import split_unit

Kind = Literal["one", "list", "()", "[]", "(]", "[)", "{}", "union", "matrix", "row", "equation"]
_BRACKETS: Mapping[str, Kind] = {"()": "()", "[]": "[]", "(]": "(]", "[)": "[)", "{}": "{}"}
_DEEPEST = 12  # brackets in brackets that are read
_OPEN, _CLOSE = "([{", ")]}"
_RELATION = re.compile(r"(\\[lg]e(?![A-Za-z])|<|>)")
_MIRROR = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_SUBSCRIPT = r"(?:_\{(?:[^{}]|\{[^{}]*+\})++\})?"
_NAME = re.compile(rf"\\?[A-Za-z]+{_SUBSCRIPT}'*")
_CALL = r"(?:\^\{-1\}(?=\())?(?:\([^()]*+\)|\[[^\[\]]*+\])?"
_TERM = rf"\\text\{{[^{{}}]*+\}}|\\?[A-Za-z]++{_SUBSCRIPT}'*+{_CALL}!?"
# What may stand before an equals sign and is no part of the answer: names, their sums and products, f(2).
_ASKED = re.compile(rf"(?!-)(?:{_TERM}|\\\||[-+*/(){{}},|° ])++")
_ASKED_WITH_POWERS = re.compile(rf"(?!-)(?:{_TERM}|\^\{{\d+\}}|\\\||[-+*/(){{}},|° ])++")
_NO_NAMES = {r"\frac", r"\sqrt", r"\cdot"}
_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!,?\d)")  # 58,500 outside brackets is one number
_REALS = re.compile(r"\\(?:mathbb|Bbb) ?(?:R|\{R\})")
_MATRIX = re.compile(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}")


class Form(NamedTuple):
    """An answer taken apart. `text`: the whole, tidy; `name`: a name that stood before its equals sign."""

    kind: Kind
    text: str
    items: tuple["Form", ...] = ()
    name: str = ""


@lru_cache(maxsize=4096)
def read_form(text: str) -> Form:
    """How an answer is built, for any text. What cannot be taken apart is one expression."""
    return _form(tidy(text), 0)


def _form(text: str, depth: int) -> Form:
    text = text.strip()
    if depth > _DEEPEST or not text or number_of(split_unit(text, any_word=True).body) is not None:
        return Form("one", text)
    if not re.search(r"[(\[]|\\\{", text):
        text = _GROUPS.sub(lambda found: found[0].replace(",", ""), text)
    if len(parts := _split(text, ",;")) > 1:
        return _listed(text, [_form(part, depth + 1) for part in parts if part.strip()])
    if len(parts := _split(text.replace(r"\cup", "\0"), "\0")) > 1:
        return Form("union", text, tuple(_form(part, depth + 1) for part in parts))
    name, member, rest = text.partition(r"\in")
    if member and not rest[:1].isalpha() and _NAME.fullmatch(name.strip()):
        return _form(rest, depth + 1)._replace(name=name.strip())
    if _REALS.fullmatch(text):
        return _form(r"(-\infty,\infty)", depth + 1)
    if (claim := _interval(text, depth) or _equation(text, depth)) is not None:
        return claim
    if _closes_last(text, 0):
        return _form(text[1:-1], depth + 1) if text[0] == "{" else _bracketed(text, text[1:-1], depth)
    if text.startswith("\\{") and _closes_last(text, 1):
        return _bracketed(text, text[2:-2], depth)
    if r"\pm" in text or r"\mp" in text:
        return _both_signs(text, depth)
    if found := _MATRIX.fullmatch(text):
        return _matrix(text, found[1], depth)
    return Form("{}" if text == r"\emptyset" else "one", text)


def _split(text: str, separators: str) -> list[str]:
    """`text` cut at every separator, one character each, that stands outside brackets."""
    if not any(mark in text for mark in separators):
        return [text]
    parts, depth, start = [], 0, 0
    for position, mark in enumerate(text):
        depth += (mark in _OPEN) - (mark in _CLOSE)
        if depth == 0 and mark in separators:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


def _listed(text: str, items: Sequence[Form]) -> Form:
    """A list without brackets. Values with names of their own, `x=1, y=2`, are a tuple in the order of the names."""
    names = [item.name for item in items]
    if len(items) > 1 and all(names) and len(set(names)) == len(names):
        ordered = sorted(items, key=lambda item: item.name)
        return Form("()", text, tuple(item._replace(name="") for item in ordered))
    return Form("list", text, tuple(_flat(items)))


def _flat(items: Sequence[Form]) -> Iterator[Form]:
    """The items; `1 \\pm 2` is two of them."""
    for item in items:
        yield from item.items if item.kind == "list" else (item,)


def _interval(text: str, depth: int) -> Form | None:
    """`x > 5`, `-2 \\le x < 7`: the interval that one name is in."""
    sides = [part.strip() for part in _RELATION.split(text)]
    sides, signs = sides[::2], sides[1::2]
    names = [side for side in sides if _NAME.fullmatch(side) and side not in (r"\infty", r"\pi")]
    if len(names) != 1 or not 1 <= len(signs) <= 2 or not all(sides):
        return None
    if signs[0] in (">", r"\ge"):
        sides, signs = sides[::-1], [_MIRROR[sign] for sign in reversed(signs)]
    if len(signs) == 1 and sides[0] == names[0]:
        sides, signs = [r"-\infty", *sides], ["<", *signs]
    elif len(signs) == 1:
        sides, signs = [*sides, r"\infty"], [*signs, "<"]
    if sides[1] != names[0] or not {*signs} <= {"<", r"\le"}:
        return None
    kind = _BRACKETS[("(" if signs[0] == "<" else "[") + (")" if signs[1] == "<" else "]")]
    return Form(kind, text, (_form(sides[0], depth + 1), _form(sides[2], depth + 1)), names[0])


def _equation(text: str, depth: int) -> Form | None:
    """`x = 5` is 5 with a name; `10 - 4 = 6` and `2x = 5` are equations of the parts that claim something.

    In `x^2 + y^2 = 5` that is one part. It may be an answer by itself, so it stays an equation.
    """
    exact, mark, rounded = text.partition(r"\approx")
    if mark:
        return _form(rounded if not exact.strip() or _ASKED.fullmatch(exact) else exact, depth + 1)
    parts = [part.strip() for part in _split(text, "=")]
    if len(parts) == 1 or not all(parts):
        return None
    if _NAME.fullmatch(parts[-1]) and not _ASKED.fullmatch(parts[0]):
        parts = parts[::-1]  # 5 = x
    claimed = [part for part in parts[:-1] if not _is_asked(part)] + parts[-1:]
    if len(claimed) == 1 and not any(map(_is_combined, parts[:-1])):
        name = parts[0] if _NAME.fullmatch(parts[0]) else ""
        return _form(claimed[0], depth + 1)._replace(name=name)
    return Form("equation", text, tuple(_form(part, depth + 1) for part in claimed))


def _is_asked(part: str) -> bool:
    """Whether a side only says what was asked for. A combination of one name, `x^2 + x`, is still to be solved."""
    if not _ASKED_WITH_POWERS.fullmatch(part):
        return False
    return not _is_combined(part) or len({*re.findall(_TERM, part)} - _NO_NAMES) > 1


def _is_combined(part: str) -> bool:
    """Whether it has a sum or a power."""
    return re.search(r"[-+^]", re.sub(_TERM, "", part)) is not None


def _closes_last(text: str, start: int) -> bool:
    """Whether the bracket at `start` is closed by the last character."""
    if text[start] not in _OPEN or text[-1] not in _CLOSE:
        return False
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] in _OPEN) - (text[position] in _CLOSE)
        if depth == 0:
            return position == len(text) - 1
    return False


def _bracketed(text: str, inside: str, depth: int) -> Form:
    """Brackets and their items. Around one expression, parentheses and braces mean nothing."""
    kind = _BRACKETS.get(text.replace("\\", "")[0] + text[-1])
    items = tuple(_flat([_form(part, depth + 1) for part in _split(inside, ",;") if part.strip()]))
    if kind is None or (kind not in ("()", "{}") and len(items) < 2):
        return Form("one", text)
    if len(items) == 1 and (kind == "()" or items[0].kind == "one"):
        return items[0]
    return Form("()" if kind == "[]" and len(items) > 2 else kind, text, items)


def _both_signs(text: str, depth: int) -> Form:
    plus = text.replace(r"\pm", "+").replace(r"\mp", "-").removeprefix("+")
    minus = text.replace(r"\pm", "-").replace(r"\mp", "+").removeprefix("+")
    return Form("list", text, tuple(_form(side, depth + 1) for side in (plus, minus)))


def _matrix(text: str, inside: str, depth: int) -> Form:
    """Rows of cells; a single column is a tuple."""
    lines = [line for line in re.split(r"\\\\(?:\[[^\]]*\])?", inside) if line.strip()]
    rows = [Form("row", line, tuple(_form(cell, depth + 1) for cell in _split(line, "&"))) for line in lines]
    if all(len(row.items) == 1 for row in rows):
        return Form("()", text, tuple(row.items[0] for row in rows))
    return Form("matrix", text, tuple(rows))
