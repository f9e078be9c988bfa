"""Prompts as data: a pack's wording, rendered through a chat template into token ids around named slots.

The surprising thing: text that a user wrote never passes through the chat template or through the tokenizer's
table of special tokens. The template is rendered around stand-ins, cut there, and the user's text is tokenised
on its own with that table emptied. So a question that spells out `<|im_end|>`, `{critic}` or `{{ jinja }}` stays
a question.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args

from rmas.errors import PromptError, QuestionError, unknown
from rmas.tomlfile import TomlFile, read_toml

PACKS = Path(__file__).parent / "prompts"
Kind = Literal["open", "math", "choice", "code", "search"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_WORDS = ("question", "context", "brief", "answer")  # every other placeholder is a slot, named after its source


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked: a text, the kind of task, and per role the private context that no other role sees."""

    text: str
    kind: Kind = "open"
    context: Mapping[str, str] = field(default_factory=dict)

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
    """One paragraph of a template, as literal text and placeholders: `("", "Task: ", "question", "")` alternate."""

    parts: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.parts[1::2]


class RoleText(NamedTuple):
    """A role's system text and its sections, in order."""

    system: str
    sections: tuple[Section, ...]

    @property
    def slots(self) -> tuple[str, ...]:
        return tuple(name for section in self.sections for name in section.names if name not in _WORDS)


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

    `holders`: the role whose private context a role is told, where that is not its own name.
    """

    name: str
    path: Path
    tasks: Mapping[str, Mapping[str, str]]
    roles: Mapping[tuple[str, str], RoleText]
    holders: Mapping[str, str] = field(default_factory=dict)

    def slots(self, role: str) -> tuple[str, ...]:
        """The sources whose messages `role` has a place for, in the order of the prompt."""
        return self.roles[role, "open"].slots

    def render(self, role: str, question: Question, tokenizer: ChatTokenizer, *, filled: frozenset[str]) -> Prompt:
        """The prompt of `role` with the slots of `filled`; sections of other slots are left out."""
        text = self.roles[role, question.kind]
        told = question.context.get(self.holders.get(role, role), "")
        words = {"question": question.text, "context": told, **self.tasks[question.kind]}
        content = _join(text.sections, words, filled)
        return _tokenize(text.system, content, tokenizer, cue=f"{role.capitalize()}:")


def known_packs() -> list[str]:
    """The names of the prompt packs that ship with the package."""
    return sorted(path.name for path in PACKS.iterdir() if path.is_dir())


def load_pack(name: str, pattern: str, *, base: Path | None = None) -> PromptPack:
    """The wording of `pattern` in a shipped pack, or in a folder by path. Raises PromptError: file, line, key, fix.

    For a pattern file of your own the pack is a file too: `prompts = "my_prompts.toml"`; it may leave out the
    task texts, which then come from the native pack.
    """
    if name.endswith(".toml"):
        path = (base or Path()) / name
        tasks_path = path.parent / "tasks.toml"
        tasks = read_toml(tasks_path if tasks_path.exists() else PACKS / "native" / "tasks.toml", PromptError)
    else:
        folder = PACKS / name if name in known_packs() else (base or Path()) / name
        if not folder.is_dir():
            raise PromptError(unknown("prompt pack", name, known_packs()))
        path, tasks = folder / f"{pattern}.toml", read_toml(folder / "tasks.toml", PromptError)
        if not path.exists():
            raise PromptError(
                f"{folder}: the pack has no wording for pattern {pattern!r} "
                f"(have {', '.join(sorted(p.stem for p in folder.glob('*.toml') if p.stem != 'tasks'))}). "
                f'Write one and name it in the system file: prompts = "{pattern}_prompts.toml".'
            )
    file = read_toml(path, PromptError)
    file.only(file.table, ("roles",))
    return PromptPack(name=name, path=path, tasks=_tasks(tasks), roles=_roles(file))


def _tasks(file: TomlFile) -> dict[str, dict[str, str]]:
    file.only(file.table, KINDS)
    for kind in KINDS:
        table = file.table.get(kind)
        texts = table if isinstance(table, dict) else {}
        if sorted(texts) != ["answer", "brief"] or not all(isinstance(text, str) for text in texts.values()):
            raise file.fail(kind, f"expected two texts, brief and answer, got {table!r}.")
    return file.table


def _roles(file: TomlFile) -> dict[tuple[str, str], RoleText]:
    roles = file.table.get("roles")
    if not isinstance(roles, dict) or not roles:
        raise file.fail("roles", "the file words no role. Add a table [roles.NAME] with system and sections.")
    texts: dict[tuple[str, str], RoleText] = {}
    for role, table in roles.items():
        key = f"roles.{role}"
        file.only(table, ("system", "sections", "tasks"), prefix=f"{key}.")
        file.only(table.get("tasks", {}), KINDS, prefix=f"{key}.tasks.")
        base = _role_text(file, key, table)
        for kind in KINDS:
            own = table.get("tasks", {}).get(kind, {})
            file.only(own, ("system", "sections"), prefix=f"{key}.tasks.{kind}.")
            texts[role, kind] = _role_text(file, f"{key}.tasks.{kind}", {**table, **own})
            if sorted(texts[role, kind].slots) != sorted(base.slots):
                raise file.fail(f"{key}.tasks.{kind}", f"its slots {texts[role, kind].slots} differ from {base.slots}.")
    return texts


def _role_text(file: TomlFile, key: str, table: Mapping[str, object]) -> RoleText:
    system, sections = table.get("system"), table.get("sections")
    if not isinstance(system, str) or not isinstance(sections, list) or not sections:
        raise file.fail(key, "expected a text `system` and a list of texts `sections`.")
    text = RoleText(system.strip(), tuple(_section(file, key, section) for section in sections))
    names = [name for section in text.sections for name in section.names]
    if names.count("question") != 1:
        raise file.fail(key, f"{{question}} must stand exactly once, stands {names.count('question')} times.")
    for section in text.sections:
        optional = [name for name in section.names if name not in ("question", "brief", "answer")]
        if len(optional) > 1 or (optional and "question" in section.names):
            raise file.fail(key, f"the section with {optional} must hold one slot and no {{question}}: split it.")
    for name in text.slots:
        if names.count(name) > 1:
            raise file.fail(key, f"slot {{{name}}} stands {names.count(name)} times. Keep one.")
    return text


def _section(file: TomlFile, key: str, section: object) -> Section:
    if not isinstance(section, str):
        raise file.fail(key, f"a section must be a text, got {section!r}.")
    parts = re.split(r"(?<!\{)\{(\w+)\}(?!\})", section.strip())
    texts = [part.replace("{{", "\0").replace("}}", "\1") for part in parts[::2]]
    if any("{" in text or "}" in text for text in texts):
        raise file.fail(key, f"a lone brace in {section!r}. Write {{{{ or }}}} for a brace itself.")
    parts[::2] = [text.replace("\0", "{").replace("\1", "}") for text in texts]
    return Section(tuple(parts))


def _join(sections: Sequence[Section], words: Mapping[str, str], filled: frozenset[str]) -> list[str | Slot | None]:
    """Sections to texts and slots. One None marks where the part that never changes between rounds ends."""
    content: list[str | Slot | None] = []
    gap = ""
    for section in sections:
        slots = [name for name in section.names if name not in _WORDS]
        if slots and None not in content:
            content.append(None)
        if not all(name in filled for name in slots) or ("context" in section.names and not words["context"]):
            continue
        content.append(gap + section.parts[0])
        for name, text in zip(section.parts[1::2], section.parts[2::2], strict=True):
            content += [Slot(name) if name in slots else words[name], text]
        gap = "\n\n"
    return content


class Frame(NamedTuple):
    """The ids that surround a conversation. `between` is None where a system text has no place of its own."""

    before: list[int]
    between: list[int] | None
    after: list[int]


_SYSTEM, _USER = "\ue000system\ue001", "\ue000user\ue001"  # private-use stand-ins: no template contains them


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


def _cut(rendered: str, mark: str) -> tuple[str, str]:
    if rendered.count(mark) != 1:
        raise PromptError(
            f"the model's chat template repeats or drops the message (found {rendered.count(mark)} times). "
            "Use a model whose template keeps each message once."
        )
    before, _, after = rendered.partition(mark)
    return before, after
