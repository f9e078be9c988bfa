"""Prompt packs on disk: a pattern's wording as a TOML file, checked when it is read.

The surprising thing: a brace that belongs to the text is written twice, `{{` or `}}`; everything else in braces is a
placeholder, and one that is no word of ours is a slot, named after the role whose message it takes.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from rmas.errors import PromptError, unknown
from rmas.prompt import KINDS, PromptPack, RoleText, Section
from rmas.tomlfile import TomlFile, read_toml

PACKS = Path(__file__).parent / "prompts"


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
