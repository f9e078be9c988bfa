"""Units behind numbers: one name for each, and which words behind a number are none."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from rmas.eval.notation import FACTORS, MONEY, number_of

# A unit in one of its spellings, in the singular -> its one name. Units that are not here decide nothing.
_UNITS: Mapping[str, str] = {
    "%": "%", "percent": "%", "percentage": "%", "pct": "%", "°": "degree", "degree": "degree", "deg": "degree",
    "radian": "radian", "rad": "radian", MONEY: "dollar", "dollar": "dollar", "usd": "dollar", "€": "euro",
    "euro": "euro", "£": "pound", "¥": "yen", "yen": "yen", "₹": "rupee", "rupee": "rupee", "cent": "cent",
    "mm": "mm", "millimeter": "mm", "cm": "cm", "centimeter": "cm", "m": "m", "meter": "m", "km": "km",
    "kilometer": "km", "in": "inch", "inch": "inch", "inche": "inch", "ft": "foot", "foot": "foot", "feet": "foot",
    "yd": "yard", "yard": "yard", "mi": "mile", "mile": "mile", "g": "g", "gram": "g", "kg": "kg", "kilogram": "kg",
    "mg": "mg", "milligram": "mg", "lb": "lb", "pound": "pound", "ounce": "ounce", "oz": "ounce",
    "second": "second", "sec": "second", "s": "second", "ms": "ms", "h": "hour", "m/s": "m/s", "am": "am", "a.m": "am",
    "pm": "pm", "p.m": "pm", "c": "celsius", "celsius": "celsius", "f": "fahrenheit", "fahrenheit": "fahrenheit",
    "minute": "minute", "min": "minute", "hour": "hour", "hr": "hour", "day": "day", "week": "week",
    "month": "month", "year": "year", "l": "liter", "liter": "liter", "ml": "ml", "mph": "mph", "km/h": "km/h",
    "km/hr": "km/h", "mi/h": "mph", "mi/hr": "mph", "ft/s": "ft/s", "gallon": "gallon", "unit": "unit",
}  # fmt: skip
# Words that make another number of the one before them, in a way that we do not work out: no unit has one.
_NO_UNIT = re.compile(
    rf"\b(?:{'|'.join(FACTORS)}|quarters?|lakhs?|crores?|than|plus|minus|pi|squared|cubed|factorial|power|[ixyz])\b|"
    r"\b(?:half|third|(?:four|fif|six|seven|eigh|nin|ten|hundred|thousand|million)th)(?= of\b|\W*$)"
)
_ANOTHER = re.compile(
    rf"[\s*_]*(?:\\text\{{\s*)?(?!dozens?\b|quarters?\b)(?:(?:more|less|fewer)\s+than\s+[a-z]\b|"
    rf"(?:and\s+(?:an?\s+|one\s+|two\s+|three\s+)?)?(?:{_NO_UNIT.pattern})|([b-z])(?![\w'./]))",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"\b(?:[b-z]\b|a$)")
_CURRENCY = re.compile(rf"([+-]?)(?:US)?([{MONEY}€£¥₹])\s*([+-]?)(?=[\d.\\])")
_WRAPPED = re.compile(
    r"(?<=[^\s{(\[,=])\s*(?:°(?=\\text\{ ?[CF]))?\\text\{([^{}]*)\}\.?(?:\^\{(\d)\})?(?:\\text\{([^{}]*)\})?$"
)
_SIGN = re.compile(rf"\s*([%°{MONEY}€£¥₹])\s*([CF]?)$")
_ANGLE = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")  # the degrees behind these are an argument's
_TAIL = re.compile(r"(?<=[\d})])(\s*)([A-Za-z][A-Za-z./ ]*?)(?:\^\{(\d)\})?\.?$")


class Quantity(NamedTuple):
    """A value and what it is counted in. `unit`: a name of the unit table, with a power; other words as they stand."""

    body: str
    unit: str
    is_known: bool


def split_unit(text: str, *, any_word: bool = False, letter: str = "") -> Quantity:
    """A tidy text without its unit: currency, percent, degrees, `\\text{...}`, a word of the unit table.

    `any_word`: other words behind a number are a unit too (`15 apples`). What makes another number of it is none
    (`15 million`, `15 less than x`). A letter is a variable, unless it names the unit `letter`.
    """
    if found := _CURRENCY.match(text):
        rest = split_unit(text[found.end() :], any_word=True).body
        return Quantity((found[1] or found[3]) + rest, _UNITS[found[2]], True)
    if (found := _WRAPPED.search(text)) and found.start():
        quantity = _quantity(text[: found.start()], f"{found[1]} {found[3] or ''}", found[2])
        return quantity if quantity.is_known or not _NO_UNIT.search(quantity.unit) else Quantity(text, "", False)
    if (found := _SIGN.search(text)) and found.start() and not _ANGLE.search(text):
        return _quantity(text[: found.start()], f"{found[1]} {found[2]}", None)
    if found := _TAIL.search(text):
        quantity = _quantity(text[: found.start()], found[2], found[3])
        is_number = number_of(quantity.body) is not None
        if len(found[2]) == 1:
            is_unit = quantity.is_known and quantity.unit == letter
        elif quantity.is_known:
            is_unit = is_number or quantity.unit not in ("am", "pm")
        else:
            is_unit = not quantity.unit or (any_word and is_number and _is_word(quantity.unit, spaced=bool(found[1])))
        if is_unit:
            return quantity
    return Quantity(text, "", False)


def makes_another(words: str) -> bool:
    """Whether the first of the words behind a number make another number of it: `thousand`, `and a half`, `x`.

    Not `dozen` and `quarters`: who is asked for dozens or coins says so.
    """
    found = _ANOTHER.match(words)
    return found is not None and not (found[1] and found[1].casefold() in _UNITS)


def _is_word(unit: str, *, spaced: bool) -> bool:
    """Whether what stands behind a number is a word, and not the names of variables. Behind `}` no space is left."""
    first, _, rest = unit.partition(" ")
    if first in _UNITS and rest:  # 100g of sugar
        unit, spaced = rest, True
    is_word = re.search("[a-z]{3}|[a-z]{2} [a-z]{2}" if spaced else "[a-z]{4}", unit) is not None
    return is_word and not _NO_UNIT.search(unit) and not _VARIABLE.search(unit)


def _quantity(body: str, unit: str, power: str | None) -> Quantity:
    """`unit` in its one name: `square inches`, `sq in` and `inches^2` are inch^2. Factors stay with the number."""
    words = unit.casefold().replace("metre", "meter").replace("litre", "liter").strip(" .").split()
    body = body.strip()
    while words and words[0] in FACTORS:
        body = f"{body} {words.pop(0)}"
    for name, number in (("square", "2"), ("sq", "2"), ("cubic", "3"), ("cu", "3")):
        if words and words[0].strip(".") == name:
            words, power = words[1:], number
    if len(words) == 2 and words[1] in ("squared", "cubed"):
        words, power = words[:1], "2" if words[1] == "squared" else "3"
    if len(words) == 2 and words[0] in ("°", "deg", "degree", "degrees"):
        words = words[1:]
    if len(words) == 3 and words[1] == "per":
        words = [f"{words[0]}/{words[2]}"]
    word = " ".join(words)
    name_of = _UNITS.get(word) or _UNITS.get(word.removesuffix("s"))
    return Quantity(body, (name_of or word) + (f"^{power}" if power else ""), name_of is not None)
