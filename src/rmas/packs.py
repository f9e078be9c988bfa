"""Prompt packs on disk: a pattern's wording as a TOML file, checked when it is read.

The surprising thing: a brace that belongs to the text is written twice, `{{` or `}}`; everything else in braces is a
placeholder, and one that is no word of ours is a slot, named after the role whose message it takes. A section may be a
table: `{ text = "…", unless = "solver" }` stands until a message of the solver has come, `after` once it has. Both may
be lists; `function` in them means a question that asks for a function by its name, `tools` a role that is told of some.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from rmas.errors import PromptError, unknown
from rmas.pattern import Pattern
from rmas.prompt import FUNCTION, KINDS, TOOLS, PromptPack, RoleText, Section
from rmas.tomlfile import TomlFile, read_toml

PACKS = Path(__file__).parent / "prompts"
_CONDITIONS = ("after", "unless")


class Retry(NamedTuple):
    """A second call for an answer without the text `unless`: it reads the answer and `lead`, and writes `tokens`."""

    unless: str
    lead: str
    tokens: int


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
    file.only(file.table, ("roles", "whole", "note"))
    whole, note = file.table.get("whole", False), file.table.get("note", "")
    if not isinstance(whole, bool):
        raise file.fail("whole", f"expected true or false, got {whole!r}.")
    if not isinstance(note, str):
        raise file.fail("note", f"expected a text, got {note!r}.")
    return PromptPack(name=name, path=path, tasks=_tasks(tasks), roles=_roles(file, whole), whole=whole, note=note)


def solo_pack(pack: PromptPack, pattern: str) -> PromptPack:
    """The wording of `pattern`, of one agent, that stands beside that of a team: in its folder, or the native one.

    A pack that is a file has no folder of its own. Raises PromptError.
    """
    if pack.name.endswith(".toml") or not pack.path.with_name(f"{pattern}.toml").exists():
        return load_pack("native", pattern)
    return replace(load_pack(str(pack.path.parent), pattern), name=pack.name)


def load_retries(pack: PromptPack) -> dict[str, Retry]:
    """By task kind, how an answer that does not hold its mark is asked for again: the pack's own way, else the
    release's. Raises PromptError."""
    own, released = pack.path.parent / "tasks.toml", PACKS / "released" / "tasks.toml"
    for path in (own, released):
        file = read_toml(path, PromptError) if path.exists() else TomlFile(path, "", {}, PromptError)
        tables = {kind: file.table[kind]["retry"] for kind in KINDS if "retry" in file.table.get(kind, {})}
        if tables:
            return {kind: _retry(file, f"{kind}.retry", table) for kind, table in tables.items()}
    return {}


def with_later_kinds(pack: PromptPack, pattern: Pattern, kinds: Mapping[str, str]) -> PromptPack:
    """The pack with another kind's wording, by kind, for agents that have heard back: the release's slip, code -> math.

    An agent hears back where its one slot is that of an edge that points backwards.
    """
    roles = dict(pack.roles)
    for role in pattern.roles:
        heard = [edge.source for edge in pattern.into(role) if not pattern.is_forward(edge)]
        if len(heard) != 1 or len(pattern.into(role)) != 1:
            continue
        for kind, later in kinds.items():
            first = [
                part._replace(unless=(*part.unless, *heard))
                for part in pack.roles[role, kind].sections
                if heard[0] not in (*part.after, *part.names)
            ]
            rest = [
                part._replace(after=(*part.after, *heard))
                for part in pack.roles[role, later].sections
                if heard[0] not in part.unless
            ]
            roles[role, kind] = pack.roles[role, kind]._replace(sections=(*first, *rest))
    return replace(pack, roles=roles)


def _retry(file: TomlFile, key: str, table: object) -> Retry:
    file.only(table, Retry._fields, prefix=f"{key}.")
    retry = Retry(**{"unless": "", "lead": "", "tokens": 0, **table}) if isinstance(table, dict) else None
    texts = retry is not None and all(isinstance(text, str) and text for text in retry[:2])
    if retry is None or not texts or type(retry.tokens) is not int or retry.tokens < 1:
        raise file.fail(key, f"expected two texts, unless and lead, and a number of tokens, got {table!r}.")
    return retry


def _tasks(file: TomlFile) -> dict[str, dict[str, str]]:
    file.only(file.table, KINDS)
    tasks: dict[str, dict[str, str]] = {}
    for kind in KINDS:
        table = file.table.get(kind)
        texts = {key: text for key, text in table.items() if key != "retry"} if isinstance(table, dict) else {}
        if sorted(texts) != ["answer", "brief"] or not all(isinstance(text, str) for text in texts.values()):
            raise file.fail(kind, f"expected two texts, brief and answer, got {table!r}.")
        tasks[kind] = texts
    return tasks


def _roles(file: TomlFile, whole: bool) -> dict[tuple[str, str], RoleText]:
    roles = file.table.get("roles")
    if not isinstance(roles, dict) or not roles:
        raise file.fail("roles", "the file words no role. Add a table [roles.NAME] with system and sections.")
    texts: dict[tuple[str, str], RoleText] = {}
    for role, table in roles.items():
        key = f"roles.{role}"
        file.only(table, ("system", "sections", "tasks"), prefix=f"{key}.")
        file.only(table.get("tasks", {}), KINDS, prefix=f"{key}.tasks.")
        base = _role_text(file, key, table, whole)
        for kind in KINDS:
            own = table.get("tasks", {}).get(kind, {})
            file.only(own, ("system", "sections"), prefix=f"{key}.tasks.{kind}.")
            texts[role, kind] = _role_text(file, f"{key}.tasks.{kind}", {**table, **own}, whole)
            if sorted(texts[role, kind].slots) != sorted(base.slots):
                raise file.fail(f"{key}.tasks.{kind}", f"its slots {texts[role, kind].slots} differ from {base.slots}.")
    return texts


def _role_text(file: TomlFile, key: str, table: Mapping[str, object], whole: bool) -> RoleText:
    system, sections = table.get("system"), table.get("sections")
    if not isinstance(system, str) or not isinstance(sections, list) or not sections:
        raise file.fail(key, "expected a text `system` and a list of texts `sections`.")
    parsed = tuple(_section(file, key, section, whole) for section in sections)
    text = RoleText(system if whole else system.strip(), parsed)
    for section in parsed:
        optional = [name for name in section.names if name not in ("question", "brief", "answer", FUNCTION)]
        if len(optional) > 1 or (optional and "question" in section.names):
            raise file.fail(key, f"the section with {optional} must hold one slot and no {{question}}: split it.")
    _check_conditions(file, key, text)
    return text


def _check_conditions(file: TomlFile, key: str, text: RoleText) -> None:
    """Refuse a condition on no slot, and a question that does not stand exactly once whatever messages have come."""
    sources = {name for section in text.sections for name in (*section.after, *section.unless)}
    for name in sorted(sources - {*text.slots, FUNCTION, TOOLS}):
        raise file.fail(key, f"a section depends on {name!r}, which has no slot here (have {list(text.slots)}).")
    there = sorted(sources | set(text.slots))
    for chosen in (some for size in range(len(there) + 1) for some in combinations(there, size)):
        stand = [section for section in text.sections if section.stands(frozenset(chosen), {"context": ""})]
        names = [name for section in stand for name in section.names]
        if (times := names.count("question")) != 1:
            when = f" once {' and '.join(chosen)} wrote" if chosen and sources else ""
            raise file.fail(key, f"{{question}} must stand exactly once, stands {times} times{when}.")
        for name in text.slots:
            if names.count(name) > 1:
                raise file.fail(key, f"slot {{{name}}} stands {names.count(name)} times. Keep one.")


def _section(file: TomlFile, key: str, section: object, whole: bool) -> Section:
    given = {"text": section} if isinstance(section, str) else section
    known = ("text", *_CONDITIONS)
    if not isinstance(given, dict) or not isinstance(given.get("text", ""), str):
        raise file.fail(key, f"a section must be a text, got {section!r}. A table holds texts: {', '.join(known)}.")
    file.only(given, known, prefix=f"{key}.sections.")
    conditions = {name: _names(file, key, section, given[name]) for name in _CONDITIONS if name in given}
    text = str(given.get("text", ""))
    parts = re.split(r"(?<!\{)\{(\w+)\}(?!\})", text if whole else text.strip())
    texts = [part.replace("{{", "\0").replace("}}", "\1") for part in parts[::2]]
    if any("{" in text or "}" in text for text in texts):
        raise file.fail(key, f"a lone brace in {text!r}. Write {{{{ or }}}} for a brace itself.")
    parts[::2] = [text.replace("\0", "{").replace("\1", "}") for text in texts]
    return Section(tuple(parts), **conditions)


def _names(file: TomlFile, key: str, section: object, value: object) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise file.fail(key, f"a section must be a text, got {section!r}. A condition is a name or a list of names.")
    return tuple(names)
