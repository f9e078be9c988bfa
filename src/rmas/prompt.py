"""Prompts as data: a pack's wording for a role and a question, with named slots. Ids are `rmas.conversation`'s."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from rmas.conversation import ChatTokenizer, Content, Prompt, Slot, spells_control, tokenize, tokenize_whole
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
        if self.whole and not any(spells_control(words[name], tokenizer) for name in ("question", "context", FUNCTION)):
            sizes = range(len(text.slots) + 1)
            choices = [frozenset(chosen) for size in sizes for chosen in combinations(text.slots, size)]
            drafts = {choice: _join(text.sections, words, choice, "") for choice in choices}
            return tokenize_whole(text.system, drafts, filled & frozenset(text.slots), tokenizer, cue=cue)
        content = _join(text.sections, words, filled, "" if self.whole else "\n\n")
        return tokenize(text.system, content, tokenizer, cue=cue)


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


def _join(sections: Sequence[Section], words: Mapping[str, str], filled: frozenset[str], between: str) -> Content:
    """Sections to texts and slots."""
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
