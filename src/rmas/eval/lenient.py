"""The lenient reading: how the authors' release of RecursiveMAS grades, flaws and all. Never a headline.

Written from a description of that code (checked by its reader at commit bfb0a4e), so that figures can be laid beside
the paper's. What it does, format by format:

- It reads the last box without braces inside, else a line's longest box, else the whole text, thoughts included.
- math: right if any of four comparisons holds. (1) The whole part of the first number, after fractions of whole numbers
  were divided: 1/2 is 4/5, 3.9 is 3.5, 2 is 2\\sqrt{5}. (2) LaTeX without braces, spaces, $, \\left, \\right, quotes.
  (3) The text without white space. (4) The digits before the first full stop: -1 is 1.
- choice: a letter A to D behind the word choice, option or answer, in any case (`answer a lot` is A), or a leading one;
  in the box, the last line with "Final Choice" or "Final Answer", then the whole text. **No letter counts as A.**
- number, short, exact: the same date, or the same without case, punctuation and articles.

Not known, and our choice: the rule for AIME of a later version; texts without any digit are not equal by (1) or (4).
"""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from fractions import Fraction
from string import punctuation

from rmas.eval.task import Format

_FLAT_BOX = re.compile(r"\\boxed\{([^{}]*)\}")
_WHOLE = r"(-?\d{1,400})"
_DIVISION = re.compile(
    rf"\\[dtc]?frac\s*\{{\s*{_WHOLE}\s*\}}\s*\{{\s*{_WHOLE}\s*\}}|(?<![\d/.]){_WHOLE}/{_WHOLE}(?![\d/])"
)
_NUMBER = re.compile(r"(-?)(?:(\d+)|\.\d)")
_NOISE = re.compile(r"\\left|\\right|[{}\s$\"']")
_FINAL = re.compile(r"\bfinal (?:choice|answer)\b([^\n]*)", re.IGNORECASE)
_NAMED = re.compile(r"\b(?:choice|option|answer)\b[ \t]*(?:is|:|=)?[ \t]*\(?([A-D])\b", re.IGNORECASE)
_LEADING = re.compile(r"[ \t\n]*\(?([A-D])\b", re.IGNORECASE)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", punctuation)
_DATES = ("%d %B %Y", "%B %d, %Y", "%B %d %Y", "%d %b %Y", "%b %d, %Y", "%Y-%m-%d", "%m/%d/%Y")


def is_accepted(text: str, gold: str, format: Format) -> bool:
    """Whether the release's rule for this format takes `text` for `gold`. No text is unparsed there."""
    return _RULES[format](text, gold)


def _accepts_math(text: str, gold: str) -> bool:
    given = _box(text) or text
    return any(
        (left := key(given)) is not None and left == key(gold)
        for key in (_whole_part, _latex, _without_spaces, _digits)
    )


def _accepts_letter(text: str, gold: str) -> bool:
    final = _FINAL.findall(text)
    return _letter(_box(text) or "", *final[-1:], text) == _letter(gold)


def _accepts_text(text: str, gold: str) -> bool:
    given = _box(text) or text
    if given.strip().lower() == gold.strip().lower() or _plain(given) == _plain(gold):
        return True
    return (day := _date(given)) is not None and day == _date(gold)


_RULES: Mapping[Format, Callable[[str, str], bool]] = {
    "math": _accepts_math,
    "number": _accepts_text,
    "choice": _accepts_letter,
    "short": _accepts_text,
    "exact": _accepts_text,
}


def _box(text: str) -> str | None:
    if r"\boxed{" not in text:
        return None
    if flat := _FLAT_BOX.findall(text):
        return str(flat[-1])
    for line in text.split("\n"):
        start, end = line.find(r"\boxed{"), line.rfind("}")
        if 0 <= start < end:
            return line[start + len(r"\boxed{") : end]
    return None


def _letter(*candidates: str) -> str:
    for candidate in candidates:
        if found := _NAMED.search(candidate) or _LEADING.match(candidate):
            return found[1].upper()
    return "A"


def _whole_part(text: str) -> str | None:
    """The whole part of the first number, as digits with a sign."""
    found = _NUMBER.search(_DIVISION.sub(_divided, text))
    if not found:
        return None
    digits = (found[2] or "").lstrip("0") or "0"
    return digits if digits == "0" else found[1] + digits


def _divided(found: re.Match[str]) -> str:
    above, below = int(found[1] or found[3]), int(found[2] or found[4])
    return str(int(Fraction(above, below))) if below else found[0]


def _latex(text: str) -> str:
    return _NOISE.sub("", text)


def _without_spaces(text: str) -> str:
    return "".join(text.split())


def _digits(text: str) -> str | None:
    return re.sub(r"[^0-9]", "", text.partition(".")[0]) or None


def _plain(text: str) -> str:
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _date(text: str) -> date | None:
    text = text.strip().rstrip(".")
    if not (6 <= len(text) <= 20 and re.search(r"\d{4}", text)):
        return None
    for style in _DATES:
        try:
            return datetime.strptime(text, style).date()
        except ValueError:
            continue
    return None
