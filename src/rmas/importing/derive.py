"""From what a builder returns to the sections of a template, and from a pack back to what it should have returned."""

import re
from collections.abc import Mapping
from typing import final

from rmas.conversation import Slot
from rmas.errors import PromptError
from rmas.importing.builders import Builder
from rmas.prompt import FUNCTION, PromptPack, Question

_MARKER = re.compile(r"<<[A-Z_]+_SLOT>>")
_BORDER = "\ue100"  # between system text and user text


def sections_of(builder: Builder, text: str, question: Question) -> list[str]:
    """`text`, what `builder` gave for `question`, as texts of sections that stand side by side.

    A place for private context follows the question: it is nothing where there is none. Raises PromptError for a
    question or marker that does not stand exactly once, and for a marker that is not expected.
    """
    names = {question.text: "question", **builder.slots} | ({question.function: FUNCTION} if question.function else {})
    for piece, name in names.items():
        if name != FUNCTION and (times := text.count(piece)) != 1:
            what = "the question" if name == "question" else f"the marker {piece}"
            raise PromptError(f"{builder.name}: {what} stands {times} times in what it gives, expected once.")
    parts = re.split("(" + "|".join(map(re.escape, names)) + ")", text)
    if stray := _MARKER.search("".join(parts[::2])):
        raise PromptError(
            f"{builder.name}: gives the marker {stray[0]}, expected {', '.join(builder.slots) or 'none'}."
        )
    sections, current = [], ""
    for number, part in enumerate(parts):
        name = names.get(part, "") if number % 2 else ""
        current += f"{{{name}}}" if name in ("question", FUNCTION) else "" if name else _escaped(part)
        if name and name != FUNCTION:
            sections += [current] if current else []
            sections.append("\n{context}" if name == "question" else f"{{{name}}}")
            current = ""
    return [*sections, current] if current else sections


def spelled(pack: PromptPack, builder: Builder, question: Question) -> str:
    """The user's text of a prompt of the pack, with their markers in its slots: what `builder` should give."""
    filled = frozenset(builder.slots.values())
    prompt = pack.render(builder.role, question, _Letters(), filled=filled)
    marks = {source: marker for marker, source in builder.slots.items()}
    parts = [prompt.head, *prompt.body]
    text = "".join(marks[part.source] if isinstance(part, Slot) else "".join(map(chr, part)) for part in parts)
    return text.partition(_BORDER)[2]


def check(pack: PromptPack, builder: Builder, question: Question, given: str) -> None:
    """Refuse a template that words another question otherwise than its builder. Raises PromptError."""
    ours = spelled(pack, builder, question)
    if ours != given:
        place = next(
            (i for i, (a, b) in enumerate(zip(ours, given, strict=False)) if a != b), min(map(len, (ours, given)))
        )
        raise PromptError(
            f"{builder.name}: gives another text for another question, at character {place}: "
            f"{given[place : place + 30]!r}, its template {ours[place : place + 30]!r}. It cannot be imported as it is."
        )


def conditions(builder: Builder, question: Question) -> Mapping[str, list[str]]:
    """When the sections of `builder` stand: by round, and for code by what is to be written."""
    after = [builder.heard] if builder.is_later else []
    unless = [builder.heard] if builder.heard and not builder.is_later else []
    if question.kind == "code":
        (after if question.function else unless).append(FUNCTION)
    return {name: names for name, names in (("after", after), ("unless", unless)) if names}


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


@final
class _Letters:
    """A tokenizer whose ids are characters, with a template that only joins."""

    bos: list[int] = []  # noqa: RUF012 (never changed; the protocol wants a list)

    def template(self, system: str | None, user: str) -> str:
        return f"{system or ''}{_BORDER}{user}"

    def encode_template(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def encode_text(self, text: str) -> list[int]:
        return self.encode_template(text)
