"""Strict equality of two mathematical answers: the same value, in the same kind of object. No torch.

Cheap comparisons come first (spelling, exact numbers, structure), so that most answers never reach math-verify. What is
left goes to it piece by piece, in a process that a time limit can stop. The surprising thing: brackets are never given
up. `(1,2)`, `[1,2]` and `\\{1,2\\}` are three answers, and `3.14` is not `\\pi`. Where notation is free:

- a unit may be left out or added, but two known units must agree: `5 cm`, `5 m`
- a letter behind a number is a variable, but for the letter that is the gold's unit; `3 million` is a number
- a percent sign means /100 or is a unit: 25% is 0.25, and 25 where 25 was asked; a bare gold below 1 is a share
- `x=5` is 5, `10-4=6` is 6, `x^2+y^2=5` is 5 where 5 was asked and an equation where that was; `2x=5` and `x^2=5` are
  neither 5 nor what x is; what stands before a sign of approximation counts
- a list without brackets has no order; it is a set, and never a tuple or an interval
- digits with a base are compared with their base: `52_8` is neither 52 nor 42
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, final

from rmas.eval.forms import Form, read_form
from rmas.eval.notation import LONGEST, based_numeral, compact, number_of, words_of
from rmas.eval.prover import Prover, shared_prover
from rmas.eval.units import Quantity, split_unit

_MOST = 50  # items of a list that are compared
_PROSE = re.compile(r"\\text\{|(?<![\\A-Za-z])[A-Za-z]{5,}")  # math-verify would look for a formula in it
_WORDS = re.compile(r"[^\W\d_]{3,}")


class Equality(NamedTuple):
    """Whether two answers are the same; `detail`: why that could not be told, where it could not."""

    is_equal: bool
    detail: str = ""


class _UnprovenError(Exception):
    """The comparison could not be made; the message says why."""


def equal(gold: str, given: str, *, prover: Prover | None = None) -> Equality:
    """Whether `given` says what `gold` says, for any two texts, in any thread.

    Raises ConfigError where math-verify is needed and not installed. What takes longer than the prover's limit is not
    equal, and `detail` says so.
    """
    if max(len(gold), len(given)) > LONGEST:
        return Equality(False, f"longer than {LONGEST} characters")
    try:
        return Equality(_Comparison(prover or shared_prover()).is_same(read_form(gold), read_form(given)))
    except _UnprovenError as problem:
        return Equality(False, str(problem))


@final
class _Comparison:
    """One comparison, on one clock: its pieces share the prover's limit."""

    def __init__(self, prover: Prover) -> None:
        self._prover, self._left = prover, prover.seconds

    def is_same(self, gold: Form, given: Form) -> bool:
        if gold.name and given.name and gold.name != given.name:
            return self._is_turned(gold, given)
        if gold.kind == given.kind and gold.text and compact(gold.text) == compact(given.text):
            return True
        kinds = {gold.kind, given.kind}
        if "equation" in kinds:
            return self._is_same_equation(gold, given)
        if kinds == {"one"}:
            return self._is_same_expression(gold.text, given.text)
        if kinds <= {"list", "{}"}:
            return self._have_same_items(gold.items, given.items)
        if "union" in kinds:
            return self._is_same_union(gold, given)
        return len(kinds) == 1 and self._are_same(gold.items, given.items)

    def _are_same(self, gold: Sequence[Form], given: Sequence[Form]) -> bool:
        """In order."""
        return len(gold) == len(given) <= _MOST and all(map(self.is_same, gold, given))

    def _have_same_items(self, gold: Sequence[Form], given: Sequence[Form]) -> bool:
        """In any order."""
        left = list(given)
        if not len(gold) == len(given) <= _MOST:
            return False
        for item in gold:
            found = next((index for index, other in enumerate(left) if self.is_same(item, other)), None)
            if found is None:
                return False
            del left[found]
        return True

    def _is_same_union(self, gold: Form, given: Form) -> bool:
        """The same parts, else the same set. `x < 1 or x > 2` is a list of parts."""
        if {gold.kind, given.kind} <= {"union", "list"} and self._have_same_items(gold.items, given.items):
            return True
        return "list" not in (gold.kind, given.kind) and self._proves(gold.text, given.text)

    def _is_turned(self, gold: Form, given: Form) -> bool:
        """`y = 2x` and `x = y/2`: one equation, solved for either name."""
        if any(form.kind != "one" or not re.search(r"[A-Za-z]", form.text) for form in (gold, given)):
            return False
        return self._proves(f"{gold.name}={gold.text}", f"{given.name}={given.text}")

    def _is_same_equation(self, gold: Form, given: Form) -> bool:
        """Against another equation, the two must have the same solutions; against a value, every side must be it."""
        if gold.kind == given.kind:
            return self._proves(gold.text, given.text)
        if gold.kind == "equation":
            return bool(given.name) and self._proves(gold.text, f"{given.name}={given.text}")
        if gold.name and self._proves(f"{gold.name}={gold.text}", given.text):
            return True
        if gold.name and len(given.items) == 1:  # x = 5 and x + y = 5
            return False
        return all(self.is_same(gold, side) for side in given.items)

    def _is_same_expression(self, gold: str, given: str) -> bool:
        if (words := _same_words(gold, given)) is not None:
            return words
        left = split_unit(gold)
        right = split_unit(given, any_word=number_of(left.body) is not None, letter=left.unit)
        if not _units_agree(left, right):
            return False
        numerals = based_numeral(left.body), based_numeral(right.body)
        if any(numerals):
            return numerals[0] == numerals[1]
        values = number_of(left.body), number_of(right.body)
        if values[0] is not None and values[1] is not None:
            return _values_agree(values[0], left.unit == "%", values[1], right.unit == "%")
        return self._proves(left.body, right.body)

    def _proves(self, gold: str, given: str) -> bool:
        """What math-verify says of two pieces of LaTeX, unless one of them is prose, a ratio or a time of day."""
        if any(":" in text or "%" in text or _PROSE.search(text) for text in (gold, given)):
            return False
        if _differ_in_case(gold, given):  # math-verify reads R and r alike
            return False
        proof = self._prover.prove(_exact(gold), _exact(given), seconds=self._left)
        self._left -= proof.seconds
        if proof.detail:
            raise _UnprovenError(proof.detail)
        return proof.is_equal


def _same_words(gold: str, given: str) -> bool | None:
    """Whether two texts are the same words; None: at least one is not in words."""
    both = [words_of(text).casefold().strip(" .'\"()") for text in (gold, given)]
    both = [re.sub(r"^(?:an?|the) ", "", words) for words in both]
    is_text = any(re.fullmatch(r"\\text\{[^{}]*\}\.?", text) for text in (gold, given))
    if is_text or all(_WORDS.fullmatch(words) and "\\" not in words for words in both):
        return both[0] == both[1] != ""
    return None


def _units_agree(gold: Quantity, given: Quantity) -> bool:
    """Two units of the table must be one. `unit` itself is any; a percent sign is settled with the values."""
    if not (gold.is_known and given.is_known) or gold.unit.startswith("unit") or given.unit.startswith("unit"):
        return True
    return gold.unit == given.unit


def _values_agree(gold: Fraction, gold_is_percent: bool, given: Fraction, given_is_percent: bool) -> bool:
    if gold_is_percent == given_is_percent:
        return gold == given
    if gold == given:
        return gold_is_percent or abs(gold) >= 1  # the sign as a unit
    return gold / (100 if gold_is_percent else 1) == given / (100 if given_is_percent else 1)


def _differ_in_case(gold: str, given: str) -> bool:
    """Whether one of the two has R where the other has r."""
    names = [{*re.sub(r"\\[A-Za-z]+", "", text)} for text in (gold, given)]
    only = {name for name in names[0] ^ names[1] if name.isalpha()}
    return any(name.swapcase() in only for name in only)


def _exact(text: str) -> str:
    """A piece of LaTeX for the prover: decimals as fractions, since they are exact; degrees in radians."""
    text = re.sub(r"(?<![\d.])\d*\.(?:\d*\\overline\{\d+\}|\d+)", _as_fraction, text)
    return re.sub(r"(\d+|\\frac\{\d+\}\{\d+\})°", r"\\frac{\1\\pi}{180}", text)


def _as_fraction(found: re.Match[str]) -> str:
    value = number_of(found[0])
    return found[0] if value is None else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
