"""Boxes: what stands in the last `\\boxed{}` of a text, and which lines are short enough to be an answer."""

import re

from rmas.eval.notation import LONGEST

_BRACE = re.compile(
    r"\\(?:boxed|fbox)(?![A-Za-z])[ \t]*(?:(\{)|(-?\d[\d.,/]*(?<![.,/])|[A-Za-z](?![A-Za-z])))?|\\.|[{}]", re.DOTALL
)
_BASE = re.compile(r"_(?:\d+|\{\d+\})")  # of a numeral whose digits alone are boxed
_FILLED = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])[ \t]*(?:\{\s*[^\s}]|-?\d|(?!a\s)[A-Za-z](?![A-Za-z]))")
PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
LONGEST_LINE = 400  # characters of a line that is only an answer, at most


def has_box(text: str) -> bool:
    """Whether some box holds something."""
    return _FILLED.search(text) is not None


def last_box(text: str) -> str | None:
    """What is in the last `\\boxed{}` or `\\fbox{}` that holds something.

    Braces are balanced; a box around nothing but a box is that box. One that is never closed ends with its line, where
    that makes a short answer and another line follows: else the text may have been cut off in it. `\\boxed 5` is a box.
    """
    first = min((at for name in (r"\boxed", r"\fbox") if (at := text.find(name)) >= 0), default=len(text))
    is_open: list[tuple[int, int]] = []  # where a command starts and where its content does; of a plain brace: -1, 0
    box, inside = (-1, -1), (-1, -1)  # from, to: the last box with its command, and what it holds
    for mark in _BRACE.finditer(text, first):
        if mark[1]:
            is_open.append((mark.start(), mark.end()))
        elif mark[2]:
            box, inside = mark.span(), mark.span(2)
        elif mark[0] == "{":
            is_open.append((-1, 0))
        elif mark[0] == "}" and is_open:
            command, start = is_open.pop()
            if command < 0 or mark.start() - start > LONGEST or not text[start : mark.start()].strip():
                continue
            if box[0] < start or (text[start : box[0]] + text[box[1] : mark.start()]).strip():
                inside = start, mark.start()
            box = command, mark.end()
    unclosed = max(is_open, default=(-1, 0))
    if unclosed[0] > box[0]:
        line, newline, _ = text[unclosed[1] : unclosed[1] + LONGEST_LINE + 1].partition("\n")
        return short_line(line.rstrip(" .$")) if newline else None
    if box[0] < 0:
        return None
    base = _BASE.match(text, box[1])
    return text[slice(*inside)].strip() + (base[0] if base else "")


def short_line(line: str) -> str | None:
    """A line that may be an answer: short, its braces balanced, not a sentence."""
    line = line.strip()
    is_balanced = line.replace("\\{", "").count("{") == line.replace("\\}", "").count("}")
    return line if line and len(line) <= LONGEST_LINE and is_balanced and len(PROSE.findall(line)) <= 3 else None
