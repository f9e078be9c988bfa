"""The letter that a model chose, in a box or in prose. "answer a lot" is no letter, and two different letters are none.

The surprising thing: a sentence is only read where it claims. "Option A is wrong" and "whether option A is right" name
a letter and choose none, and a capital A that a word follows is an article. Any text; raises nothing; time in
proportion to the length.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from string import ascii_uppercase
from typing import NamedTuple

from rmas.eval.extract import HEADING, SAYS, is_asked, marked_answer, said
from rmas.eval.notation import words_of

_UNNAMED = ascii_uppercase[:10]  # the letters where the options are not known
_CLAIM = 200  # characters that are read behind "the answer is"
_MARKS = " *_\"'`$“”‘’"
_ALONE = re.compile(r"(?:(?:option|choice|answer|letter)\s+)?\(?([A-Za-z])\)?[.):;!]*", re.IGNORECASE)
_FIRST = re.compile(
    r"(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter)\s+(?:\(([A-Za-z])\)|([A-Z])(?![\w'])\)?)|"
    r"\(([A-Za-z])\)|([A-Za-z])\)|([A-Z])(?:[.:;!](?!\w)|(?=,\s|\s+[-–—]|\s+only\s*(?:[.,;!]|$)|"
    r"\s+(?:because|since|as|which|rather\s+than|instead\s+of|and\s+not|but\s+not)\b))|([A-Z])(?=\s))"
    r"[\s:.=–—-]*"
)
# A letter in marks, such as `$\text{B}$`, `"B"` and `[B]`.
_MARKED = re.compile(
    r"(?:(?:[Oo]ption|[Cc]hoice|[Ll]etter)\s+)?(?:[\s\"'“‘`$*_\[{]|\\[(\[]|\\(?:text|math)[a-z]*\s*\{)*"
    r"(\(?[A-Za-z]\)?)([.!;]?)(?:\s*(?:[\"'”’`$*_\]}]|\\[)\]]))+(?!\w)"
)
_LEAD = re.compile(
    r"(?:(?:the\s+)?(?:(?:final|correct|right|best)\s+)*(?:answer|option|choice)\s*(?:\bis\b\s*:?|[:=])[\s*_]*)+",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"([A-Z])\s*\((?!(?:or|and)\b)([^()]*)\)")  # B (Bergen)
_ANOTHER = re.compile(r"(?:[/&,]|and\b|or\b)\s*[\"'“‘`$(\[]*[A-Z](?![\w'])|\(?[A-Z]\)?(?:[.,;:]|$)")
_STATED = re.compile(
    rf"{HEADING}|(?<!to )(?:\banswers?\b(?! (?:choices|options))|"
    rf"\b(?:option|choice|selection)\b(?!\s*\(?[A-Z]\b)){SAYS}",
    re.IGNORECASE | re.MULTILINE,
)
# A claim that begins with a letter: not `A lot`, `T cells`, `X-ray`.
_LETTERED = re.compile(
    r"(?:[^\w\n]|\\[a-zA-Z]+)*(?:(?:option|choice|answer|letter|either|both|between)s?\W+)*"
    r"[A-HJ-Z](?![\w'-])(?!\s+(?!(?:or|and)\b)[a-z])"
)
_SAID_OF = re.compile(
    r"(?:not|neither|never|wrong|incorrect|false|correct|right|valid|consistent|verified|confirmed|supported|justified|"
    r"explained|reached|based|clear|obvious|evident|likely|best|appropriate|reasonable|given|found|determined)\b",
    re.IGNORECASE,
)
_CHOSEN = re.compile(r"(?<!not )(?<!n't )(?<!never )\b(?:choose|chose|select|pick|go with|going with)\b", re.IGNORECASE)
_ADVERBS = re.compile(
    r"(?:[\s*_:#]|(?:most|likely|definitely|clearly|probably|indeed|therefore|thus)\b)*+", re.IGNORECASE
)
_RIGHT = (
    r"(?:the\s+|most\s+likely\s+|clearly\s+|therefore\s+|thus\s+)*(?:correct|right|best|answer|most\s+appropriate)\b"
)
_DECLARED = (
    re.compile(
        r"\b(?:option|choice|answer)\s+\(?([A-Za-z])\)?(?![\w'])"
        r"(?:(?!\b(?:is|are|not|option|choice|but|while)\b)[^.\n]){0,80}?\b(?:is|would\s+be)\s+" + _RIGHT,
        re.IGNORECASE,
    ),
    re.compile(r"\(([A-Z])\)\s+(?:is|would\s+be)\s+" + _RIGHT),
    re.compile(
        r"(?<![\w'(])([A-Z])\s+is\s+(?:the\s+)?(?:correct|right|best)(?:\s+(?:answer|option|choice)\b|[.!\s]*$)", re.M
    ),
    re.compile(r"\b(?i:therefore|thus|hence|so)\b[,:]?\s+\(?([A-Z])\)?[.!* \t]*$", re.MULTILINE),
)
_END_OF_NAME = re.compile(
    r"[\"'”’`]*(?:$|[;:)]|[.,](?!\d)(?!\s*(?:and|or)\b)|\s+(?:because|since|as|which)\b|\s+[-–—])"
)
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")


class _Statement(NamedTuple):
    letter: str | None
    is_lettered: bool  # it begins with a letter that stands alone
    end: int  # of its verb


def choice_letter(text: str, options: Sequence[str] = ()) -> str | None:
    """The capital letter that is chosen, one of the letters of `options` (A to J where none are given); None: unparsed.

    A box or an `<answer>` decides alone, and so does what "the answer is" states. Else the first of these that names a
    letter: what is said to be right or is chosen, bold type, the first and the last line. Nothing does where the last
    statement speaks of letters and names no single one; where it is prose, only what follows it may. An option's text
    stands for its letter.
    """
    spoken = said(text)
    if spoken is None or not spoken.strip():
        return None
    if (marked := marked_answer(spoken)).is_marked:
        return named_letter(marked.text or "", options)
    stated = list(_stated(spoken, options))
    if letters := {statement.letter for statement in stated if statement.letter}:
        is_last = stated[-1].letter or not stated[-1].is_lettered
        return letters.pop() if is_last and len(letters) == 1 else None
    if stated and stated[-1].is_lettered:
        return None
    rest = spoken[stated[-1].end :] if stated else spoken
    for claims in _PLACES:
        if letters := {letter for letter in claims(rest, options) if letter}:
            return letters.pop() if len(letters) == 1 else None
    return None


def named_letter(claim: str, options: Sequence[str] = ()) -> str | None:
    """The letter that a short text names at its beginning: `B`, `(B)`, `\\text{B}`, `B. Paris`, `Paris`."""
    known = ascii_uppercase[: len(options)] or _UNNAMED
    plain = _bare(claim)
    if (aside := _ASIDE.match(plain)) and named_letter(aside[2], options) in (None, aside[1]):
        plain = f"({aside[1]}){plain[aside.end() :]}"
    if found := _ALONE.fullmatch(plain):
        return found[1].upper() if found[1].upper() in known else None
    texts = _plain_texts(tuple(options))
    if found := _FIRST.match(plain):
        letter, rest = next(group for group in found.groups() if group).upper(), _plain(plain[found.end() :])
        own = texts[known.index(letter)] if options and letter in known else ""
        if _begins(rest, own):
            return letter
        is_clear = not found[6] and letter in known and not _ANOTHER.match(plain, found.end())
        return letter if is_clear and not any(_begins(rest, text) for text in texts) else _by_text(plain, texts, known)
    return _by_text(plain, texts, known)


def _bare(claim: str) -> str:
    """The first line of a claim without a lead ("the answer is") and without marks around the whole or its letter."""
    plain = _unmarked(claim[:_CLAIM].strip().partition("\n")[0])
    lead = _LEAD.match(plain)
    return _unmarked(plain[lead.end() :]) if lead else plain


def _unmarked(claim: str) -> str:
    return words_of(_MARKED.sub(r"\1\2", claim, count=1) if _MARKED.match(claim) else claim).strip(_MARKS)


def _by_text(plain: str, texts: Sequence[str], known: str) -> str | None:
    """The letter of the option whose text, whole, begins the claim; of two that do, the longer."""
    claim = _plain(plain)
    longest = max((text for text in texts if _begins(claim, text)), key=len, default="")
    return known[texts.index(longest)] if longest and texts.count(longest) == 1 else None


@lru_cache(maxsize=256)
def _plain_texts(options: tuple[str, ...]) -> list[str]:
    return [_plain(option) for option in options]


def _begins(claim: str, text: str) -> bool:
    return bool(text) and claim.startswith(text) and bool(_END_OF_NAME.match(claim, len(text)))


def _plain(text: str) -> str:
    return words_of(text).casefold().strip(" .*_\"'`“”‘’")


def _stated(text: str, options: Sequence[str]) -> Iterator[_Statement]:
    """What "the answer is" or the like states, in order; not what is asked, denied or said of an answer."""
    for found in _STATED.finditer(text):
        if is_asked(text, found.start()):
            continue
        claim = _behind(text, found.end())
        letter, is_lettered = named_letter(claim, options), _LETTERED.match(claim) is not None
        is_prose = found[1] and found[0][:6].casefold() == "answer" and not _SAID_OF.match(claim)
        if letter or is_lettered or (is_prose and claim):
            yield _Statement(letter, is_lettered, found.end())


def _declared(text: str, options: Sequence[str]) -> Iterator[str | None]:
    for pattern in _DECLARED:
        for found in pattern.finditer(text):
            if not is_asked(text, found.start()):
                yield named_letter(found[1], options)
    for found in _CHOSEN.finditer(text):
        yield named_letter(_behind(text, found.end()), options)


def _bold(text: str, options: Sequence[str]) -> Iterator[str | None]:
    yield from (_only_letter(found[1], options) for found in _BOLD.finditer(text))


def _lines(text: str, options: Sequence[str]) -> Iterator[str | None]:
    lines = text.strip().split("\n")
    yield _only_letter(lines[0], options)
    yield _only_letter(lines[-1], options)


# Where a letter is looked for if none is stated, the clearest place first.
_PLACES: tuple[Callable[[str, Sequence[str]], Iterator[str | None]], ...] = (_declared, _bold, _lines)


def _behind(text: str, start: int) -> str:
    adverbs = _ADVERBS.match(text, start)
    start = adverbs.end() if adverbs else start
    return text[start : start + _CLAIM]


def _only_letter(line: str, options: Sequence[str]) -> str | None:
    """The letter of a line that holds a letter, an option's text, or both, and nothing else."""
    letter, plain = named_letter(line, options), _bare(line)
    if letter is None or _ALONE.fullmatch(plain) or len(line) > _CLAIM:
        return letter if len(line) <= _CLAIM else None
    found = _FIRST.match(plain)
    rest = _plain(plain[found.end() :] if found else plain)
    own = _plain(options[ascii_uppercase.index(letter)]) if options else rest
    return (
        letter
        if own in (rest, rest.strip("()"), _plain(plain)) and len(rest.split()) <= max(5, len(own.split()))
        else None
    )
