"""The letter that a model chose, in a box or in prose. "answer a lot" is no letter, and two different letters are none.

The surprising thing: a sentence is only read where it claims. "Option A is wrong" and "whether option A is right" name
a letter and choose none, and a capital A that a word follows is an article. Any text; raises nothing; time in
proportion to the length.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from string import ascii_uppercase

from rmas.eval.extract import is_asked, marked_answer, said
from rmas.eval.notation import words_of

_UNNAMED = ascii_uppercase[:10]  # the letters where the options are not known
_CLAIM = 200  # characters that are read behind "the answer is"
_ALONE = re.compile(r"(?:(?:option|choice|answer|letter)\s+)?\(?([A-Za-z])\)?[.):]?", re.IGNORECASE)
_FIRST = re.compile(
    r"(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter)\s+(?:\(([A-Za-z])\)|([A-Z])(?![\w'])\)?)|"
    r"\(([A-Za-z])\)|([A-Za-z])\)|([A-Z])(?:[.:](?!\w)|(?=,\s|\s+[-–—]|\s+(?:because|since|as|which)\b))|([A-Z])(?=\s))"
    r"[\s:.–—-]*"
)
_ANOTHER = re.compile(r"(?:[/&,]|and\b|or\b)\s*\(?[A-Z](?![\w'])|\(?[A-Z]\)?(?:[.,;:]|$)")
_STATED = re.compile(
    r"(?<!to )(?:\banswers?\b(?! (?:choices|options))|\b(?:option|choice|selection)\b(?!\s*\(?[A-Z]\b))"
    r"[^\n.,:=?!]{0,60}?(?:\b(?:is|are|(?:should|would|must|will) be)\b|[:=])",
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
_END_OF_NAME = re.compile(r"$|[;:)]|[.,](?!\d)(?!\s*(?:and|or)\b)|\s+(?:because|since|as|which)\b|\s+[-–—]")
_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*")


def choice_letter(text: str, options: Sequence[str] = ()) -> str | None:
    """The capital letter that is chosen, one of the letters of `options` (A to J where none are given); None: unparsed.

    A box or an `<answer>` decides alone. Else the first of these that names a letter: what "the answer is" states, what
    is said to be right or is chosen, bold type, the first and the last line. An option's text stands for its letter.
    """
    spoken = said(text)
    if spoken is None or not spoken.strip():
        return None
    if (marked := marked_answer(spoken)).is_marked:
        return named_letter(marked.text or "", options)
    for claims in _PLACES:
        letters = {letter for letter in claims(spoken, options) if letter}
        if letters:
            return letters.pop() if len(letters) == 1 else None
    return None


def named_letter(claim: str, options: Sequence[str] = ()) -> str | None:
    """The letter that a short text names at its beginning: `B`, `(B)`, `\\text{B}`, `B. Paris`, `Paris`."""
    known = ascii_uppercase[: len(options)] or _UNNAMED
    plain = words_of(claim[:_CLAIM].strip().partition("\n")[0]).strip(" *_\"'`$")
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


def _by_text(plain: str, texts: Sequence[str], known: str) -> str | None:
    """The letter of the option whose text, whole, begins the claim; of two that do, the longer."""
    longest = max((text for text in texts if _begins(_plain(plain), text)), key=len, default="")
    return known[texts.index(longest)] if longest and texts.count(longest) == 1 else None


@lru_cache(maxsize=256)
def _plain_texts(options: tuple[str, ...]) -> list[str]:
    return [_plain(option) for option in options]


def _begins(claim: str, text: str) -> bool:
    return bool(text) and claim.startswith(text) and bool(_END_OF_NAME.match(claim, len(text)))


def _plain(text: str) -> str:
    return words_of(text).casefold().strip(" .*_\"'`")


def _stated(text: str, options: Sequence[str]) -> Iterator[str | None]:
    for found in _STATED.finditer(text):
        if not is_asked(text, found.start()):
            yield named_letter(_behind(text, found.end()), options)


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


# Where a letter is looked for, the clearest place first.
_PLACES: tuple[Callable[[str, Sequence[str]], Iterator[str | None]], ...] = (_stated, _declared, _bold, _lines)


def _behind(text: str, start: int) -> str:
    adverbs = _ADVERBS.match(text, start)
    start = adverbs.end() if adverbs else start
    return text[start : start + _CLAIM]


def _only_letter(line: str, options: Sequence[str]) -> str | None:
    """The letter of a line that holds a letter, an option's text, or both, and nothing else."""
    letter, plain = named_letter(line, options), words_of(line[:_CLAIM]).strip(" *_\"'`$")
    if letter is None or _ALONE.fullmatch(plain) or len(line) > _CLAIM:
        return letter if len(line) <= _CLAIM else None
    found = _FIRST.match(plain)
    rest = _plain(plain[found.end() :] if found else plain)
    own = _plain(options[ascii_uppercase.index(letter)]) if options else rest
    return letter if own in (rest, _plain(plain)) and len(rest.split()) <= max(5, len(own.split())) else None
