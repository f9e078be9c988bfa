"""The program in what a model wrote: the last whole Python fence that defines something, or the code between prose.

The surprising thing: the last fence is often an example call, its output or a test. So a fence that has what the task
asks for (its function; reading the input) goes before a later one without, and so does one with a `def` or a `class`.
Any text; raises nothing; nothing is parsed or run.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from rmas.eval.extract import said

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n`]*$", re.MULTILINE)
_PYTHON = ("", "python", "python3", "py", "py3", "python2", "pycon", "code")
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


class _Block(NamedTuple):
    text: str
    is_python: bool  # by its tag
    is_whole: bool


def defines(names: Collection[str]) -> re.Pattern[str]:
    """What finds a definition of one of `names`: a function, a method, a class, or a name at the margin that is set."""
    given = "|".join(map(re.escape, names))
    return re.compile(
        rf"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+(?:{given})\b|^(?:{given})[ \t]*(?::[^=\n]*)?=(?!=)", re.MULTILINE
    )


def find_program(text: str, wanted: re.Pattern[str] | None = None) -> str | None:
    """The program of an answer, its lines as they stand; None: unparsed.

    Of the Python fences (tagged so, or not tagged), those in which `wanted` is found, where there are any: the last
    closed one that defines a function or class, else one that is not closed and does, else the last tagged one, else
    the last. Without a fence: from the first line that is surely code up to the prose behind it, or the whole text
    where its first line is indented or looks like code.
    """
    spoken = said(text)
    if spoken is None or not spoken.strip():
        return None
    blocks = [block for block in _blocks(spoken) if block.text.strip()]
    if not blocks:
        return None if _FENCE.search(spoken) else _unfenced(spoken)
    blocks = [block for block in blocks if wanted and wanted.search(block.text)] or blocks
    defining = [block for block in blocks if _DEFINES.search(block.text)]
    for candidates in (
        [block for block in defining if block.is_whole],
        defining,
        [block for block in blocks if block.is_python and block.is_whole],
        blocks,
    ):
        if candidates:
            return candidates[-1].text
    return None


def _blocks(text: str) -> list[_Block]:
    """The fences that may be Python, in order; one that is never closed reaches to the end."""
    blocks, opened, tag, start = [], "", "", 0
    for mark in _FENCE.finditer(text):
        if not opened:
            opened, tag, start = mark[1], mark[2].lower(), mark.end() + 1
        elif mark[1].startswith(opened) and not mark[2]:
            if tag in _PYTHON:
                blocks.append(_Block(text[start : mark.start()], bool(tag), True))
            opened = ""
    if opened and tag in _PYTHON:
        blocks.append(_Block(text[start:], bool(tag), False))
    return blocks


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
