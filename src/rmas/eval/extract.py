"""The answer in what a model wrote: its last box, its stated answer, or the whole of a text that is only an answer.

Nothing is guessed: where no place of a text says that it is the answer, there is none (None, *unparsed*). The
surprising thing: thoughts do not count. Only what follows the last `</think>` is read, and a thought that never ends
leaves nothing. Every function takes any text, raises nothing, and needs time in proportion to its length.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from rmas.eval.boxes import LONGEST_LINE, PROSE, has_box, last_box, short_line
from rmas.eval.notation import LONGEST, number_of, tidy
from rmas.eval.task import Format
from rmas.eval.units import makes_another, split_unit

_THOUGHT = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)
# A line "Answer"; and what leads from a noun to what is stated, its verb in group 1.
HEADING = r"^[#*_ \t]*(?:the )?(?:final |correct |short )?answers?[*_ \t]*$"
SAYS = r"[^\n.,:=?!]{0,60}?(?:\b(is|are|(?:should|would|must|will) be)\b|[:=])"
_STATED = re.compile(rf"{HEADING}|(?<!to )\banswers?\b{SAYS}", re.IGNORECASE | re.MULTILINE)
_ASKED = re.compile(
    r"\b(?:whether|if)\s+(?:or\s+not\s+)?"
    r"(?:(?:the|this|that|my|our|your|final|short|correct|right|option|choice|answer)\s+)*\Z",
    re.IGNORECASE,
)
_DENIED = re.compile(r"[^.,;\n]{0,80}?\b(?:no|not|wrong|incorrect|false)\b", re.IGNORECASE)
_PRAISE = "correct|consistent|verified|confirmed|checked|accurate|plausible|reasonable|sensible"
_WORDS = "therefore|thus|simply|just|that|then|now"
_HEDGES = "approximately|approx|about|around|roughly|exactly|precisely|only|equal to|a total of"
_BULLET = r"\n[ \t]*[-•][ \t]+(?![^\n]*\n[ \t]*[-•][ \t])"  # of a list of one
_HEDGED = re.compile(
    rf"(?:\\text\w*\{{\s*(?:{_HEDGES})\.?\s*\}}|(?:{_HEDGES})\b\.?)[\s~]*(?=[-+$\\(.\d])", re.IGNORECASE
)
_HASHES = re.compile(r"^[ \t]*####[ \t]*(-?[$€£]?-?[\d.][\d.,]*[ \t]*%?)[ \t]*$", re.MULTILINE)
_ASIDE = re.compile(r"\s+\([^()]*[A-Za-z]{2}[^()]*\)")
_BREAK = re.compile(r"(?<=[\w)}\]$%*])\.\s+(?=[A-Z\\$])|,?\s+(?:because|since|which|as shown|so)\b|;\s")
_NEW_SENTENCE = re.compile(r"(?<=[a-z0-9)'’]{2})\.\s+(?=(?:It|This|That|The|He|She|They|These|In|As|However|I)\b)")
_VERB = re.compile(r"\b(?:is|are|was|were|equals?|be|makes?|gives?|gets?|has|have|obtain|earns?|costs?|needs?)\b")
_JOINT = re.compile(r"(?:[=:]|\b(?:is|are|was|equals?|be|gives?|get|obtain|have|answer|value))\s*$")
_OPENING = re.compile(r"^(?:(?:so|thus|therefore|hence|then|and|finally|now)\b[\s,:]*)+", re.IGNORECASE)
_SEGMENT = re.compile(
    r"\$\$([^$]+)\$\$|(?<![\\$\d])\$([^$\n]+)(?<!\\)\$|\\\(((?:[^\\]|\\[^()])+)\\\)|\\\[((?:[^\\]|\\[^\[\]])+)\\\]"
)
_NUMBER = re.compile(r"(?<![\w.^_])-?[$€£]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?(?:\s*%)?(?![\w/])")
_LEAD = re.compile(r"[\\$({ ]*(?:(?:Rs\b\.?|INR|USD|EUR|GBP|US\$|₹)\s*)?", re.IGNORECASE)
_PAIRS = (("**", "**"), ("$$", "$$"), ("$", "$"), ("`", "`"), (r"\(", r"\)"), (r"\[", r"\]"))
_FENCED = re.compile(r"(```+)[\w+-]*\n(.*?)\n?\1", re.DOTALL)
_TAIL = 600  # characters at the end, where a closing sentence is looked for


def said(text: str) -> str | None:
    """What follows the last thought; None where a thought never ends."""
    marks = list(_THOUGHT.finditer(text)) if "<" in text else []
    if not marks:
        return text
    return text[marks[-1].end() :] if marks[-1][1] else None


def final_answer(text: str, format: Format) -> str | None:
    """The answer of a math, number, short or exact task, as it stands in the text; None: unparsed.

    In this order: the last `<answer>`, the last box, `#### 42`, what stands behind the last "answer is" or "Answer:";
    an exact answer is then the whole text, any other a text of one short line or what the closing sentence says.
    """
    spoken = said(text)
    if spoken is None or not spoken.strip():
        return None
    if (marked := marked_answer(spoken)).is_marked:
        return _kept(_told(marked.text, format), format)
    if hashes := _HASHES.findall(spoken):
        return str(hashes[-1]).strip()
    if (stated := _stated(spoken, format)) is not None:
        return _kept(_STATEMENTS[format](stated), format)
    return _kept(_ENDINGS[format](spoken.strip()), format)


class Marked(NamedTuple):
    """What a tag or a box marks as the answer. `text` is None where what the mark holds cannot be read."""

    is_marked: bool
    text: str | None = None


def marked_answer(text: str) -> Marked:
    """The last box that holds something, in the last `<answer>` where there is one; else that whole `<answer>`."""
    start = text.rfind("<answer>")
    inside, closing = text, ""
    if start >= 0:
        inside, closing, _ = text[start + len("<answer>") :].partition("</answer>")
    if has_box(inside):
        return Marked(True, last_box(inside + "\n" if closing else inside))
    return Marked(start >= 0, inside.strip() if start >= 0 else None)


def readings(text: str) -> Iterator[str]:
    """`text`, and what is left as the marks around it go, pair by pair: `**$42$**`, `$42$`, `42`."""
    yield text
    for opening, closing in _PAIRS:
        inside = text.removeprefix(opening).removesuffix(closing)
        is_pair = len(inside) == len(text) - len(opening) - len(closing)
        if is_pair and inside.strip() and opening not in inside and closing not in inside:
            yield from readings(inside.strip())
            return


def is_asked(text: str, position: int) -> bool:
    """Whether what begins at `position` is asked and not said: "whether the answer is", "if option"."""
    return _ASKED.search(text, max(position - 60, 0), position) is not None


def _stated(text: str, format: Format) -> str | None:
    """Everything behind the last "answer is", "Answer:" or heading "Answer" that has something behind it.

    "Whether the answer is" states none. "The answer is consistent" speaks of one that was stated, and counts where none
    was. Neither holds for a clause that denies: after "whether the answer is correct: no" no earlier answer stands.
    """
    filler, praised = _FILLERS[format], _PRAISES[format]
    marks = [
        mark
        for mark in reversed(list(_STATED.finditer(text)))
        if not is_asked(text, mark.start()) or _DENIED.match(text, mark.end())
    ]
    for mark in sorted(marks, key=lambda mark: praised.match(text, mark.end()) is not None):
        skipped = filler.match(text, mark.end())
        rest = text[skipped.end() if skipped else mark.end() :]
        if rest.strip(" .*_\n"):
            head = text[text.rfind("\n", 0, mark.start()) + 1 : mark.end()]
            return _closed(head, rest) if format == "exact" else rest
    return None


def _closed(head: str, rest: str) -> str:
    """What is stated behind `head`, its line's beginning, without the mark that ends bold type begun there."""
    if head.count("**") % 2 == 0:
        return rest
    if re.match(r"\*\*[\s:]", rest):
        return rest[2:].lstrip(" \t\n:")
    return re.sub(r"\*\*(?=\.?\s*\Z)", "", rest) if rest.count("**") % 2 else rest


def _told(inside: str | None, format: Format) -> str | None:
    """What a tag or a box holds; of a sentence in it, "The answer is 2" or "So 1+1=2", what that states."""
    if inside is None or format == "exact":
        return inside
    if (stated := _stated(inside, format)) is not None:
        return _STATEMENTS[format](stated) or inside
    return inside if format == "short" else _OPENING.sub("", inside, count=1) or inside


def _kept(answer: str | None, format: Format) -> str | None:
    """An answer without the marks around it; None for none, and for one that is none: too long, a box cut short."""
    if answer is None or format == "exact":
        return answer
    answer = answer.strip().removeprefix("**").removesuffix("**").strip()
    hedged = None if format == "short" else _HEDGED.match(answer)
    answer = answer[hedged.end() :] if hedged else answer
    return answer if answer and len(answer) <= LONGEST and "\\boxed" not in answer else None


def _first_line(stated: str) -> str:
    """Of a stated answer: its formula with what else is on the line, or its first sentence."""
    stated = stated[:LONGEST]
    if found := _SEGMENT.match(stated):
        rest = _BREAK.split(stated[found.end() :].partition("\n")[0])[0]
        return _formula(found) + rest
    return _BREAK.split(stated.partition("\n")[0])[0]


def _first_words(stated: str) -> str:
    return _NEW_SENTENCE.split(stated.partition("\n")[0])[0].removesuffix(".")


def _stated_number(stated: str) -> str | None:
    """The number that the statement begins with, or that its sum comes to."""
    line = _ASIDE.sub("", _first_line(stated).replace("**", "")).strip()
    claim = _LEAD.sub("", line.rpartition("=")[2].strip(), count=1)
    found = _NUMBER.match(claim)
    if found and re.fullmatch(r"[^\d+*/=×^-]*", rest := claim[found.end() :]) and not makes_another(rest):
        return found[0].strip(" ,")
    return short_line(line) if re.search(r"\d", line) else None


def _whole_or_last_formula(text: str) -> str | None:
    """A text of one line that is no sentence; else the formula or value that the closing sentence ends with."""
    if "\n" not in text and not _VERB.search(text) and (line := short_line(_OPENING.sub("", text, count=1))):
        return line
    tail = text[-_TAIL:]
    formulas = list(_SEGMENT.finditer(tail))
    if formulas:
        before, after = tail[: formulas[-1].start()], tail[formulas[-1].end() :]
        is_last = not re.search(r"\d|\n\s*\n\s*\S", after) and len(PROSE.findall(after)) <= 3
        is_alone = not before.strip() or "\n" in before[len(before.rstrip()) :]
        return _formula(formulas[-1]) if is_last and (is_alone or _JOINT.search(before)) else None
    sentence = _last_sentence(tail)
    verbs = list(_VERB.finditer(sentence))
    claim = sentence[verbs[-1].end() :] if verbs else _OPENING.sub("", sentence, count=1)
    return short_line(claim) if re.search(r"[\d\\]", claim) and len(PROSE.findall(claim)) <= 3 else None


def _whole_or_last_number(text: str) -> str | None:
    """A text of one line that is a number; else the only number of the closing sentence, or what its sum comes to."""
    if "\n" not in text and (
        number_of(split_unit(tidy(text), any_word=True).body) is not None or not PROSE.search(text)
    ):
        return short_line(text)
    sentence = _last_sentence(text[-_TAIL:])
    bold = [part for part in re.findall(r"\*\*([^*\n]+)\*\*", sentence) if re.search(r"\d", part)]
    claim = bold[0] if len(bold) == 1 else sentence.rpartition("=")[2]
    found = list(_NUMBER.finditer(claim))
    numbers = {mark[0].strip(" ,") for mark in found}
    is_whole = not any(makes_another(claim[mark.end() :]) for mark in found)
    return numbers.pop() if len(numbers) == 1 and is_whole else None


def _whole_line(text: str) -> str | None:
    return text if "\n" not in text and len(text) <= LONGEST_LINE else None


def _stated_exact(stated: str) -> str | None:
    """The full stop after "the answer is 42." belongs to the sentence, and so does the one in `**42.**`."""
    answer = _whole_exact(stated)
    return answer if "\n" in answer else re.sub(r"(?<!\.)\.(\*\*)?\Z", r"\1", answer)


def _whole_exact(text: str) -> str:
    fenced = _FENCED.fullmatch(text.strip())
    return fenced[2].strip() if fenced else text.strip()


def _last_sentence(text: str) -> str:
    line = text.strip().rpartition("\n")[2]
    return re.split(r"(?<=[.!?])\s+(?=[A-Z\\$*(])", line)[-1].strip()


def _formula(found: re.Match[str]) -> str:
    return next(part for part in found.groups() if part is not None).strip()


def _praised(words: str) -> re.Pattern[str]:
    """One of `words`, or two of them, where an answer would stand, and nothing in the clause that denies."""
    return re.compile(
        rf"(?!{_DENIED.pattern})[\s*_]*(?:(?:indeed|also|now|therefore|thus|clearly|both|really|fully)\s+)*"
        rf"(?:{words})(?:\s+and\s+(?:{words}))?\b[*_]*"
        r"(?=[ \t]*(?:[.,;:!?)\n]|\Z|(?:with|because|since|as|and|by|for|too|now|here)\b))",
        re.IGNORECASE,
    )


def _filler(words: str, bullet: str = r"(?!)") -> re.Pattern[str]:
    """What may stand between "the answer is" and the answer."""
    return re.compile(rf"(?:{bullet}|[\s*_:=#]|(?:{words})\b(?:[.,](?!\d))?)*+", re.IGNORECASE)


_FILLERS: Mapping[Format, re.Pattern[str]] = {
    "math": _filler(f"{_WORDS}|{_HEDGES}", _BULLET),
    "number": _filler(f"{_WORDS}|{_HEDGES}", _BULLET),
    "short": _filler(_WORDS),
    "exact": re.compile(r"[\s:]*"),
}
# What is said of an answer. "Right" and "valid" may be what was asked for, where words are.
_PRAISES: Mapping[Format, re.Pattern[str]] = {
    "math": _praised(f"{_PRAISE}|right|valid"),
    "number": _praised(f"{_PRAISE}|right|valid"),
    "short": _praised(_PRAISE),
    "exact": _praised(_PRAISE),
}
# Behind "the answer is"; and in a text that states nothing.
_STATEMENTS: Mapping[Format, Callable[[str], str | None]] = {
    "math": _first_line,
    "number": _stated_number,
    "short": _first_words,
    "exact": _stated_exact,
}
_ENDINGS: Mapping[Format, Callable[[str], str | None]] = {
    "math": _whole_or_last_formula,
    "number": _whole_or_last_number,
    "short": _whole_line,
    "exact": _whole_exact,
}
