"""Answers against targets: correct, wrong or unparsed, under a strict and a lenient reading. No torch.

The strict reading is the headline; the lenient one repeats the rule of the authors' release (lenient.py) and is there
for comparison with the paper only. The surprising thing: `unparsed` is never `wrong`, and both are not correct. It
means that no place of the text says that it is the answer; nothing is filled in. Programs are graded in code.py.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from string import punctuation
from typing import Literal, NamedTuple

from rmas.errors import ConfigError, unknown
from rmas.eval.extract import final_answer, readings
from rmas.eval.lenient import is_accepted
from rmas.eval.letters import choice_letter, named_letter
from rmas.eval.maths import equal
from rmas.eval.notation import words_of
from rmas.eval.prover import require_math_verify
from rmas.eval.task import Format, Target

Verdict = Literal["correct", "wrong", "unparsed"]
GRADING = "2"  # of all graders, programs' too: raised whenever a verdict may change, and runs are then graded anew
_ARTICLE = re.compile(r"\b(?:an?|the)\b")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MARK = re.compile(r"(?<=\d)\.(?=\d)|(?<!\S)-(?=\d)|([^\w\s]|_)")  # a mark in group 1 may go


@dataclass(frozen=True, kw_only=True)
class Grade:
    """What an answer is worth. `extracted`: what was read as the answer, None where nothing could be."""

    verdict: Verdict  # strict: the headline
    lenient: Verdict  # by the rule of the authors' release
    extracted: str | None
    scores: Mapping[str, float] = field(default_factory=dict)
    detail: str = ""


class Reading(NamedTuple):
    """The strict part of a grade."""

    verdict: Verdict
    extracted: str | None
    scores: Mapping[str, float] = {}
    detail: str = ""


Grader = Callable[[str, Target], Reading]


def grade(text: str, target: Target, format: Format) -> Grade:
    """Grade any text, in any thread, in bounded time.

    Raises ConfigError, whatever the text, for a format that has no grader here (code: rmas.eval.code), for a target
    without an answer, and for math and number where math-verify is not installed.
    """
    if format not in GRADERS:
        raise ConfigError(unknown("format", format, GRADERS))
    if not target.answers:
        raise ConfigError(f"a target of format {format} has no answer. Give it at least one.")
    reading = GRADERS[format](text, target)
    is_lenient = any(is_accepted(text, gold, format) for gold in target.answers)
    return Grade(lenient="correct" if is_lenient else "wrong", **reading._asdict())


def grade_math(text: str, target: Target) -> Reading:
    """The same value in the same kind of object; rmas.eval.maths says what that is."""
    return _mathematical(final_answer(text, "math"), target)


def grade_number(text: str, target: Target) -> Reading:
    """As math; a closing sentence with one number in it states that number."""
    return _mathematical(final_answer(text, "number"), target)


def grade_choice(text: str, target: Target) -> Reading:
    """The letter, read by rmas.eval.letters; an option's text stands for its letter."""
    letter = choice_letter(text, target.options)
    golds = [named_letter(gold, target.options) or gold for gold in target.answers]
    return Reading("unparsed" if letter is None else _verdict(letter in golds), letter)


def grade_short(text: str, target: Target) -> Reading:
    """Equal without case, punctuation, articles and white space, as in SQuAD; `f1` of the words, for the best answer.

    Unlike SQuAD's rule, 10.8 is not 108 and -5 is not 5: a point in a number and a minus before one stay.
    """
    answer = final_answer(text, "short")
    if answer is None:
        return Reading("unparsed", None, {"f1": 0.0})
    answer = words_of(answer)
    given, golds = plain_words(answer), [plain_words(gold) for gold in target.answers]
    return Reading(_verdict(given in golds), answer, {"f1": max(_f1(given, gold) for gold in golds)})


def grade_exact(text: str, target: Target) -> Reading:
    """The very text, as reasoning-gym's families compare it; white space and marks around it (`**42**`) apart."""
    answer = final_answer(text, "exact")
    if answer is None:
        return Reading("unparsed", None)
    given, golds = list(readings(answer)), [gold.strip() for gold in target.answers]
    found = next((reading for reading in given if reading in golds), None)
    return Reading(_verdict(found is not None), given[-1] if found is None else found)


GRADERS: Mapping[Format, Grader] = {
    "math": grade_math,
    "number": grade_number,
    "choice": grade_choice,
    "short": grade_short,
    "exact": grade_exact,
}


def plain_words(text: str) -> str:
    """`text` as short answers are compared. A text of articles and marks alone stays as it is, in lower case."""
    folded = _THOUSANDS.sub("", unicodedata.normalize("NFKC", text).casefold().replace("−", "-"))
    marked = _MARK.sub(lambda found: "" if found[1] and _is_punctuation(found[1]) else found[0], folded)
    return " ".join(_ARTICLE.sub(" ", marked).split()) or folded.strip()


def _mathematical(answer: str | None, target: Target) -> Reading:
    require_math_verify()
    if answer is None:
        return Reading("unparsed", None)
    detail = ""
    for gold in target.answers:
        is_equal, detail = equal(gold, answer)
        if is_equal:
            break
    return Reading(_verdict(is_equal), answer, detail=detail)


def _verdict(is_correct: bool) -> Verdict:
    return "correct" if is_correct else "wrong"


def _is_punctuation(mark: str) -> bool:
    """ASCII's marks, as in SQuAD, and every other script's; not the signs of currencies and units."""
    return mark in punctuation or unicodedata.category(mark).startswith("P")


def _f1(given: str, gold: str) -> float:
    words, wanted = given.split(), gold.split()
    common = (Counter(words) & Counter(wanted)).total()
    return 2 * common / (len(words) + len(wanted)) if common else 0.0
