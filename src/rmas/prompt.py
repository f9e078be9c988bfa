"""Prompts as data: a pack's wording, rendered through a chat template into token ids around named slots.

The surprising thing: text that a user wrote never passes through the chat template or through the tokenizer's
table of special tokens. The template is rendered around stand-ins, cut there, and the user's text is tokenised
on its own with that table emptied. So a question that spells out `<|im_end|>`, `{critic}` or `{{ jinja }}` stays
a question.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args

from rmas.errors import PromptError, QuestionError, unknown

Kind = Literal["open", "math", "choice", "code", "search"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FUNCTION, TOOLS = "function", "tools"
TOLD = (TOOLS, "examples")  # what a role can be told of its tools: a line each, or in short, with an example of each
WORDS = ("question", "context", "brief", "answer", FUNCTION, *TOLD)  # every other placeholder is a slot


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked: a text, the kind of task, and per role the private context that no other role sees.

    `function`: of a code task, what the function that is to be written is called; empty: a whole program is.
    """

    text: str
    kind: Kind = "open"
    context: Mapping[str, str] = field(default_factory=dict)
    function: str = field(default="", repr=False)  # it follows from the text; records know questions by their repr

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise QuestionError("the question is empty. Write what you want to know.")
        for name, text in (("question", self.text), *((f"context of {role}", t) for role, t in self.context.items())):
            if re.search("[\ud800-\udfff]", text):  # bytes that are not UTF-8, as a shell hands them on
                raise QuestionError(f"the {name} holds bytes that are not UTF-8 text. Convert it to UTF-8.")
        if self.kind not in KINDS:
            raise QuestionError(unknown("task kind", self.kind, KINDS))

    def check_roles(self, roles: Sequence[str]) -> None:
        """Refuse a private context for a role that is not one of `roles`."""
        for role in self.context:
            if role not in roles:
                raise QuestionError("context: " + unknown("role", role, roles))


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


class Section(NamedTuple):
    """One paragraph of a template, as literal text and placeholders: `("", "Task: ", "question", "")` alternate.

    `after` and `unless` name sources: the paragraph stands only once all of the ones, and only until any of the others,
    have sent a message. `function` among them is the question's; `tools`, that the role is told of some.
    """

    parts: tuple[str, ...]
    after: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()

    def __repr__(self) -> str:  # a system's digest stands on it: told as a pack writes it, defaults left out
        told = {name: value[0] if len(value) == 1 else value for name, value in self._asdict().items() if value}
        given = "".join(f", {name}={told[name]!r}" for name in self._fields[1:] if name in told)
        return f"Section(parts={self.parts!r}{given})"

    def stands(self, filled: frozenset[str], words: Mapping[str, str]) -> bool:
        """Whether it is part of a prompt in which the slots of `filled` hold messages."""
        slots = [name for name in self.names if name not in WORDS]
        if not all(name in filled for name in slots):
            return False
        if "context" in self.names and not words.get("context"):
            return False
        there = filled | {FUNCTION} if words.get(FUNCTION) else filled
        return there.issuperset(self.after) and there.isdisjoint(self.unless)

    def fits(self, has_tools: bool) -> bool:
        """Whether it can be part of a prompt that tells of tools, or of none."""
        if has_tools:
            return TOOLS not in self.unless
        return TOOLS not in self.after and not any(name in TOLD for name in self.names)

    @property
    def names(self) -> tuple[str, ...]:
        return self.parts[1::2]


class RoleText(NamedTuple):
    """A role's system text and its sections, in order."""

    system: str
    sections: tuple[Section, ...]

    @property
    def slots(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.sections for name in part.names if name not in WORDS))


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


@dataclass(frozen=True, kw_only=True)
class PromptPack:
    """The wording of one pattern: per task kind two texts (`brief`, `answer`), per role and kind a RoleText.

    `holders`: the role whose private context a role is told, where that is not its own name. `whole`: sections stand
    side by side as they are written, and what lies between two slots is tokenised in one piece, template and all.
    `note`: what a run with it should say.
    """

    name: str
    path: Path
    tasks: Mapping[str, Mapping[str, str]]
    roles: Mapping[tuple[str, str], RoleText]
    holders: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False
    note: str = ""

    def slots(self, role: str) -> tuple[str, ...]:
        """The sources whose messages `role` has a place for, in the order of the prompt."""
        return self.roles[role, "open"].slots

    def check_tools(self, role: str, tools: Iterable[str]) -> None:
        """Raise PromptError where the prompt of `role` would not tell it of its tools: by a section with {tools} or
        {examples}, or by words of its own that spell every tag."""
        for (name, kind), text in self.roles.items():
            own = "".join([text.system, *(part for section in text.sections for part in section.parts[::2])])
            is_told = any(name in section.names for section in text.sections for name in TOLD)
            if name == role and not is_told and not all(f"<{tool}>" in own for tool in tools):
                raise PromptError(
                    f"{self.path}: {role} has tools, and no section of its prompt for {kind} tasks holds {{tools}} or "
                    "{examples}. Add one, or give it no tools."
                )

    def without_tools(self, keep: Collection[str] = ()) -> "PromptPack":
        """The pack as it is read where nobody has tools but the roles of `keep`."""
        bare = {
            key: text._replace(sections=_settled(text.sections, has_tools=False))
            for key, text in self.roles.items()
            if key[0] not in keep
        }
        return replace(self, roles=dict(self.roles) | bare)

    def render(
        self,
        role: str,
        question: Question,
        tokenizer: ChatTokenizer,
        *,
        filled: frozenset[str],
        tools: Mapping[str, str] | None = None,
    ) -> Prompt:
        """The prompt of `role` with the slots of `filled`; sections of other slots are left out. `tools`: what it is
        told of those that it has, by the names of TOLD; None or empty: nothing."""
        text = self.roles[role, question.kind]
        text = text._replace(sections=_settled(text.sections, has_tools=bool(tools)))
        told = question.context.get(self.holders.get(role, role), "")
        words = {"question": question.text, "context": told, FUNCTION: question.function, **(tools or {})}
        words |= self.tasks[question.kind]
        cue = f"{role.capitalize()}:"
        if self.whole and not any(
            _spells_control(words[name], tokenizer) for name in ("question", "context", FUNCTION)
        ):
            return _tokenize_whole(text, words, tokenizer, filled=filled, cue=cue)
        content = _join(text.sections, words, filled, "" if self.whole else "\n\n")
        return _tokenize(text.system, content, tokenizer, cue=cue)


def _settled(sections: Sequence[Section], *, has_tools: bool) -> tuple[Section, ...]:
    """The sections that can stand where a role is told of tools, or of none, without that condition: as it never
    changes between rounds, the head goes on behind them."""
    return tuple(
        part._replace(after=_without_tools(part.after), unless=_without_tools(part.unless))
        for part in sections
        if part.fits(has_tools)
    )


def _without_tools(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if name != TOOLS)


def _join(
    sections: Sequence[Section], words: Mapping[str, str], filled: frozenset[str], between: str
) -> list[str | Slot | None]:
    """Sections to texts and slots. One None marks where the part that never changes between rounds ends."""
    content: list[str | Slot | None] = []
    gap = ""
    for section in sections:
        slots = [name for name in section.names if name not in WORDS]
        if (slots or section.after or section.unless) and None not in content:
            content.append(None)
        if not section.stands(filled, words):
            continue
        content.append(gap + section.parts[0])
        for name, text in zip(section.parts[1::2], section.parts[2::2], strict=True):
            content += [Slot(name) if name in slots else words[name], text]
        gap = between
    return content


class Frame(NamedTuple):
    """The ids that surround a conversation. `between` is None where a system text has no place of its own."""

    before: list[int]
    between: list[int] | None
    after: list[int]


_MARK = "\ue000"  # private-use stand-ins: no template contains them
_SYSTEM, _USER = f"{_MARK}system\ue001", f"{_MARK}user\ue001"


def _tokenize(system: str, content: Sequence[str | Slot | None], tokenizer: ChatTokenizer, *, cue: str) -> Prompt:
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


def _tokenize_whole(
    text: RoleText, words: Mapping[str, str], tokenizer: ChatTokenizer, *, filled: frozenset[str], cue: str
) -> Prompt:
    """As released: the conversation rendered to one string, cut at its slots, each piece tokenised in one go.

    A token can reach over the end of a section, so the head is what the ids of all choices of filled slots share.
    """
    choices = [frozenset(chosen) for size in range(len(text.slots) + 1) for chosen in combinations(text.slots, size)]
    drafts = {choice: _pieces(text, words, tokenizer, filled=choice, cue=cue) for choice in choices}
    starts = [first for first, *_ in drafts.values() if not isinstance(first, Slot)]
    low, high = min(starts), max(starts)
    length = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    first, *rest = drafts[filled & frozenset(text.slots)]
    assert not isinstance(first, Slot), "there is text before a slot"
    return Prompt(first[:length], tuple(part for part in (first[length:], *rest) if part))


def _pieces(
    text: RoleText, words: Mapping[str, str], tokenizer: ChatTokenizer, *, filled: frozenset[str], cue: str
) -> list[Segment]:
    """The ids between the slots, and the slots."""
    content = [piece for piece in _join(text.sections, words, filled, "") if piece is not None]
    marks = {piece: f"{_MARK}{piece.source}\ue001" for piece in content if isinstance(piece, Slot)}
    user = "".join(marks[piece] if isinstance(piece, Slot) else piece for piece in content)
    rest, bos = _conversation(text.system, user, tokenizer, cue)
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


def _spells_control(text: str, tokenizer: ChatTokenizer) -> bool:
    """Whether a text that someone wrote must be tokenised on its own, so that it stays text."""
    return _MARK in text or tokenizer.encode_template(text) != tokenizer.encode_text(text)


def _cut(rendered: str, mark: str) -> tuple[str, str]:
    if rendered.count(mark) != 1:
        raise PromptError(
            f"the model's chat template repeats or drops the message (found {rendered.count(mark)} times). "
            "Use a model whose template keeps each message once."
        )
    before, _, after = rendered.partition(mark)
    return before, after
