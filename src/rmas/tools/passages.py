"""A folder of texts as passages: what a search finds and shows. Reads .txt, .md and .jsonl, in order of their names.

A passage is some paragraphs of one file, or one sentence and more of a long one. In Markdown its title is the heading
above it. A line of JSONL is an object with a `text`, and a `title` if it has one.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rmas.errors import ToolError

SIZE = 900  # characters of a passage, at most
ENDINGS = (".txt", ".md", ".jsonl")
_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*\s*$")


class Passage(NamedTuple):
    """`place`: the file in its folder, and for JSONL the line."""

    title: str
    place: str
    text: str


def texts_in(folder: Path) -> dict[str, bytes]:
    """Every file of a corpus below `folder`, by its relative name. Raises ToolError: no folder, nothing to read."""
    if not folder.is_dir():
        raise ToolError(f"corpus {folder}: no such folder. Name one with {', '.join(ENDINGS)} files.")
    try:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    except OSError as problem:
        raise ToolError(f"corpus {folder}: cannot be read ({problem}). Check its files' rights.") from None
    if not found:
        raise ToolError(f"corpus {folder}: no {', '.join(ENDINGS)} files in it. Name a folder that has some.")
    return found


def passages_of(name: str, content: bytes) -> Iterator[Passage]:
    """The passages of one file. Raises ToolError with its name, and the line where that is known."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise ToolError(f"corpus: {name}: not UTF-8 text ({problem}). Convert it to UTF-8.") from None
    ending, stem = Path(name).suffix.lower(), Path(name).stem
    if ending == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                title, body = _row(f"{name}:{number}", line, stem)
                yield from (Passage(title, f"{name}:{number}", piece) for piece in pieces(body))
        return
    blocks = _headed(text, stem) if ending == ".md" else [(stem, text)]
    yield from (Passage(title, name, piece) for title, block in blocks for piece in pieces(block))


def pieces(text: str) -> Iterator[str]:
    """Whole paragraphs together while they fit into SIZE; longer ones by sentences, words, characters."""
    held = ""
    for paragraph in re.split(r"\n\s*\n", text):
        for part in _short(paragraph.strip(), (r"(?<=[.!?。！？])\s+", r"\s+")):
            joined = f"{held}\n\n{part}" if held else part
            if len(joined) > SIZE:
                yield held
                joined = part
            held = joined
    if held:
        yield held


def _short(text: str, borders: tuple[str, ...]) -> Iterator[str]:
    """`text` in parts of at most SIZE characters, cut at the first of `borders` that will do."""
    if len(text) <= SIZE or not borders:
        yield from (text[i : i + SIZE] for i in range(0, len(text), SIZE))
        return
    held = ""
    for part in re.split(borders[0], text):
        joined = f"{held} {part}" if held else part
        if len(joined) > SIZE:
            yield from _short(held, borders[1:])
            joined = part
        held = joined
    yield from _short(held, borders[1:])


def _headed(text: str, title: str) -> Iterator[tuple[str, str]]:
    """Markdown as headings with what stands below them; a # inside a fence is none."""
    lines: list[str] = []
    is_fenced = False
    for line in text.split("\n"):
        is_fenced ^= line.lstrip().startswith(("```", "~~~"))
        if not is_fenced and (heading := _HEADING.match(line)):
            yield title, "\n".join(lines)
            title, lines = heading[1], []
        else:
            lines.append(line)
    yield title, "\n".join(lines)


def _row(place: str, line: str, stem: str) -> tuple[str, str]:
    """Title and text of a line of JSONL."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise ToolError(f"corpus: {place}: no JSON ({problem}). Expected an object with a text.") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise ToolError(f"corpus: {place}: expected an object with a `text` that is a text.")
    title = row.get("title", stem)
    if not isinstance(title, str):
        raise ToolError(f"corpus: {place}: title is {title!r}, expected a text.")
    return title, row["text"]
