"""Conversations as token ids: a chat template around what a role is told, with named slots for messages.

The surprising thing: text that a user wrote never passes through the chat template or through the tokenizer's
table of special tokens. The template is rendered around stand-ins, cut there, and the user's text is tokenised
on its own with that table emptied. So a question that spells out `<|im_end|>`, `{critic}` or `{{ jinja }}` stays
a question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from rmas.errors import PromptError


class Slot(NamedTuple):
    """A place for the message of `source`."""

    source: str


Segment = tuple[int, ...] | Slot


@dataclass(frozen=True)
class Prompt:
    """One role's prompt for one question. `head` never changes between rounds; `body` follows it, with the slots."""

    head: tuple[int, ...]
    body: tuple[Segment, ...]

    @property
    def num_tokens(self) -> int:
        """Token ids in head and body; slots are not counted."""
        return len(self.head) + sum(len(part) for part in self.body if not isinstance(part, Slot))


# Text and slots in order. One None marks where the part that never changes between rounds ends.
Content = Sequence[str | Slot | None]


class ChatTokenizer(Protocol):
    """What prompts need of a tokenizer; `rmas.backbone` wraps the real ones."""

    def template(self, system: str | None, user: str) -> str | None:
        """The chat template around the texts, ready for the reply; None for a model without a template.

        Raises PromptError when the template does not take these messages.
        """

    def encode_template(self, text: str) -> list[int]:
        """Template text to ids: special tokens are recognised."""

    def encode_text(self, text: str) -> list[int]:
        """Other people's text to ids: never yields a special token."""

    @property
    def bos(self) -> list[int]:
        """What the tokenizer itself puts in front of a plain text: one id or none."""


class Frame(NamedTuple):
    """The ids that surround a conversation. `between` is None where a system text has no place of its own."""

    before: list[int]
    between: list[int] | None
    after: list[int]


_MARK = "\ue000"  # private-use stand-ins: no template contains them
_SYSTEM, _USER = f"{_MARK}system\ue001", f"{_MARK}user\ue001"


def tokenize(system: str, content: Content, tokenizer: ChatTokenizer, *, cue: str) -> Prompt:
    """System text and content to ids. The user's side is tokenised in as few pieces as the slots allow."""
    frame = _frame(tokenizer, cue)
    segments: list[Segment] = [tuple(frame.before)]
    if frame.between is None:
        content = [f"{system}\n\n", *content]
    else:
        segments += [tuple(tokenizer.encode_text(system)), tuple(frame.between)]
    head_length: int | None = None
    text = ""
    for piece in [*content, None]:
        if isinstance(piece, str):
            text += piece
            continue
        if text:
            segments.append(tuple(tokenizer.encode_text(text)))
            text = ""
        if isinstance(piece, Slot):
            segments.append(piece)
        elif head_length is None:
            head_length = len(segments)
    segments.append(tuple(frame.after))
    head = tuple(token for part in segments[:head_length] if not isinstance(part, Slot) for token in part)
    return Prompt(head, tuple(part for part in segments[head_length:] if part))


def spells_control(text: str, tokenizer: ChatTokenizer) -> bool:
    """Whether a text that someone wrote must be tokenised on its own, so that it stays text."""
    return _MARK in text or tokenizer.encode_template(text) != tokenizer.encode_text(text)


def _frame(tokenizer: ChatTokenizer, cue: str) -> Frame:
    """Render the template around stand-ins and cut it there. A base model gets its bos, and a cue at the end."""
    try:
        rendered = tokenizer.template(_SYSTEM, _USER)
    except PromptError:
        rendered = ""
    if rendered is None:
        return Frame(tokenizer.bos, None, tokenizer.encode_template(f"\n\n{cue}"))
    if _SYSTEM in rendered:
        before, rest = _cut(rendered, _SYSTEM)
        between, after = _cut(rest, _USER)
        return Frame(*(tokenizer.encode_template(part) for part in (before, between, after)))
    before, after = _cut(tokenizer.template(None, _USER) or "", _USER)  # no system role: the user's turn carries it
    return Frame(tokenizer.encode_template(before), None, tokenizer.encode_template(after))


def tokenize_whole(
    system: str, drafts: Mapping[frozenset[str], Content], chosen: frozenset[str], tokenizer: ChatTokenizer, *, cue: str
) -> Prompt:
    """As released: the conversation rendered to one string, cut at its slots, each piece tokenised in one go.

    `drafts`: the content for every choice of filled slots, of which `chosen` is one. A token can reach over the end of
    a section, so the head is what the ids of all choices share.
    """
    segments = {choice: _segments(system, content, tokenizer, cue) for choice, content in drafts.items()}
    starts = [first for first, *_ in segments.values() if not isinstance(first, Slot)]
    low, high = min(starts), max(starts)
    length = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    first, *rest = segments[chosen]
    assert not isinstance(first, Slot), "there is text before a slot"
    return Prompt(first[:length], tuple(part for part in (first[length:], *rest) if part))


def _segments(system: str, content: Content, tokenizer: ChatTokenizer, cue: str) -> list[Segment]:
    """The ids between the slots, and the slots."""
    marks = {piece: f"{_MARK}{piece.source}\ue001" for piece in content if isinstance(piece, Slot)}
    user = "".join(marks[piece] if isinstance(piece, Slot) else piece for piece in content if piece is not None)
    rest, bos = _conversation(system, user, tokenizer, cue)
    segments: list[Segment] = []
    for slot, mark in marks.items():
        before, rest = _cut(rest, mark)
        segments += [(*bos, *tokenizer.encode_template(before)), slot]
        bos = []
    return [*segments, (*bos, *tokenizer.encode_template(rest))]


def _conversation(system: str, user: str, tokenizer: ChatTokenizer, cue: str) -> tuple[str, list[int]]:
    """Both texts in the chat template, and the ids that a model without one has in front of plain text."""
    try:
        rendered = tokenizer.template(system, user)
    except PromptError:
        rendered = ""
    if rendered is None:
        return f"{system}\n\n{user}\n\n{cue}", tokenizer.bos
    if system.strip() not in rendered or not rendered:  # no system role: the user's turn carries it
        rendered = tokenizer.template(None, f"{system}\n\n{user}") or ""
    return rendered, []


def _cut(rendered: str, mark: str) -> tuple[str, str]:
    if rendered.count(mark) != 1:
        raise PromptError(
            f"the model's chat template repeats or drops the message (found {rendered.count(mark)} times). "
            "Use a model whose template keeps each message once."
        )
    before, _, after = rendered.partition(mark)
    return before, after
