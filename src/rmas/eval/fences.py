"""The program in what a model wrote: the last whole Python fence that defines something, or the code between prose.

The surprising thing: the last fence is often an example call, its output or a test. So a fence that has what the task
asks for (its function; reading the input) goes before a later one without, and so does one with a `def` or a `class`.
Any text; raises nothing; nothing is parsed or run.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from rmas.eval.extract import said

# Not possessive: a possessive group inside a group loses matches in Python 3.11.2.
_NO_FENCE = r"(?:[^`\n]|(?<!`)`{1,2}(?!`))*"
_FENCE = re.compile(rf"^(?:({_NO_FENCE})(`{{3,}})|([ \t]*)(~{{3,}}))({_NO_FENCE})$", re.MULTILINE)
_TAG = re.compile(r"[ \t]*([\w+#.-]*)")
_PYTHON = re.compile(r"(?:i?python[\d.]*|py[\d.]*|pycon|code)?", re.IGNORECASE)
_ITEM = re.compile(r"[ \t]*(?:(?:[-*+]|\d+[.)])[ \t]+)?")  # what a fence that begins its line may follow
_PROMPT = re.compile(r"[ \t]*(?:>>>|\.\.\.)(?: |$)")  # of an interpreter
_DEEPER = 4  # columns: a fence so much further in than the one that opened is part of a docstring
_DEFINES = re.compile(r"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+\w", re.MULTILINE)
_START = re.compile(r"^(?:async def |def |class |import \w|from [\w.]+ import |@\w|#!)", re.MULTILINE)
# How a line of a program at the left margin may begin; prose does not begin so.
_LINE = re.compile(
    r"(?:[ \t]|$|[#@)\]}\"']|(?:async |await )?(?:def|class|import|from|for|while|if|elif|with|return|assert|raise|del|"
    r"global|match|case)[ (]|(?:else|try|finally|except)\b.*:|(?:pass|break|continue)\s*$|"
    r"[A-Za-z_][\w.]*(?:\[[^\]\n]*\])?"
    r"(?:[ \t]*(?:[-+*/%&|^@]|//|\*\*|<<|>>|:[ \t]*[\w\[\], .]+)?=[^=]|\(|,[ \t]*\w+[ \t]*=))"
)
READS_INPUT = re.compile(r"\binput[ \t]*\(|\bstdin\b(?![ \t]*=[^=])|\bopen\(0\b")  # what a program of stdin does


class _Fence(NamedTuple):
    """The only fence of a line, `mark`, with what stands before and behind it there."""

    start: int  # of the line, and its end
    end: int
    before: str
    mark: str
    rest: str


class _Block(NamedTuple):
    text: str
    tag: str
    is_whole: bool


def defines(names: Collection[str]) -> re.Pattern[str]:
    """What finds a definition of one of `names`: a function, a method, a class, or a name at the margin that is set."""
    given = "|".join(map(re.escape, names))
    return re.compile(
        rf"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+(?:{given})\b|^(?:{given})[ \t]*(?::[^=\n]*)?=(?!=)", re.MULTILINE
    )


def find_program(text: str, wanted: re.Pattern[str] | None = None) -> str | None:
    """The program of an answer, its lines as they stand; None: unparsed.

    Of the Python blocks (tagged so, or not tagged), those in which `wanted` is found, where there are any: the last
    closed one that defines a function or class, else one that is not closed and does, else the last tagged one, else
    the last. Without a fence: from the first line that is surely code up to the prose behind it, or the whole text
    where its first line is indented or looks like code.
    """
    spoken = said(text)
    if spoken is None or not spoken.strip():
        return None
    fenced = _blocks(spoken)
    if not fenced:
        return _unfenced(spoken)
    blocks = [block for block in fenced if _PYTHON.fullmatch(block.tag) and block.text.strip()]
    blocks = [block for block in blocks if wanted and wanted.search(block.text)] or blocks
    defining = [block for block in blocks if _DEFINES.search(block.text)]
    for candidates in (
        [block for block in defining if block.is_whole],
        defining,
        [block for block in blocks if block.tag and block.is_whole],
        blocks,
    ):
        if candidates:
            return candidates[-1].text
    return None


def _blocks(text: str) -> list[_Block]:
    """What is fenced, in order; a block that is never closed reaches to the end."""
    blocks, opened = [], None
    for found in _FENCE.finditer(text):
        fence = _Fence(*found.span(), found[1] or found[3] or "", found[2] or found[4], found[5])
        if opened is None:
            opened = fence if _opens(fence) else None
        elif _closes(fence, opened):
            end = fence.start + len(fence.before) if fence.before.strip() else fence.start
            blocks.append(_block(opened, text[opened.end + 1 : end], is_whole=True))
            opened = None
    if opened is not None:
        blocks.append(_block(opened, text[opened.end + 1 :], is_whole=False))
    return blocks


def _opens(fence: _Fence) -> bool:
    """A fence that begins its line or a list's item does; behind prose, one with a Python tag or behind a colon."""
    if _ITEM.fullmatch(fence.before):
        return True
    tag = fence.rest.strip()
    if tag and _PYTHON.fullmatch(tag):
        return True
    return fence.before.rstrip()[-1:] in (":", ">", "*") and _TAG.fullmatch(tag) is not None


def _closes(fence: _Fence, opened: _Fence) -> bool:
    """One without a tag does: alone in its line, before prose, or at the end of a line of code."""
    if not fence.mark.startswith(opened.mark):
        return False
    rest, before = fence.rest.strip(), fence.before.rstrip()
    if before:
        return not before.endswith(":") and re.fullmatch(r"(?:</\w+>)?", rest) is not None
    is_tagged = re.match(r"[\w+#]", fence.rest) or (rest and _PYTHON.fullmatch(rest))
    return not is_tagged and _column(fence) < _column(opened) + _DEEPER


def _column(fence: _Fence) -> int:
    """Of the fence, where it begins its line or a list's item; else of its line."""
    before = fence.before if _ITEM.fullmatch(fence.before) else fence.before[: -len(fence.before.lstrip())]
    return len(before.expandtabs(4))


def _block(opened: _Fence, text: str, *, is_whole: bool) -> _Block:
    """Of an interpreter's session, what was typed in."""
    found = _TAG.match(opened.rest)
    tag = found[1].lower() if found else ""
    if tag == "pycon":
        lines = [(line, _PROMPT.match(line)) for line in text.split("\n")]
        text = "".join(f"{line[prompt.end() :]}\n" for line, prompt in lines if prompt) or text
    return _Block(text, tag, is_whole)


def _unfenced(text: str) -> str | None:
    lines = text.strip("\n").split("\n")
    first = lines[0]
    begin = _START.search(text)
    if first[:1] in (" ", "\t") and first.strip():
        return text.strip("\n")  # the rest of a function whose head was given
    if not begin and not (first.strip() and _LINE.match(first)):
        return None
    body = (text[begin.start() :] if begin and not _LINE.match(first) else text.strip("\n")).split("\n")
    return "\n".join(body[: _code_length(body)]).rstrip()


def _code_length(lines: list[str]) -> int:
    """How many lines there are before the first that is prose. Triple-quoted texts may hold prose."""
    quote = ""
    for number, line in enumerate(lines):
        if not quote and not _LINE.match(line):
            return number
        for mark in re.findall(r'"""|\'\'\'', line):
            quote = "" if mark == quote else quote or mark
    return len(lines)
