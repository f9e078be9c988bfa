"""A pack in the authors' own sentences: builders called, templates derived, checked on other questions, written."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from rmas.errors import ConfigError, PromptError
from rmas.importing.builders import FAMILIES, KINDS, Builder, Family, keywords
from rmas.importing.caller import Call, call_all
from rmas.importing.clone import PROMPTS, read_clone
from rmas.importing.derive import check, conditions, sections_of
from rmas.packs import PACKS, load_pack
from rmas.prompt import Kind, Question
from rmas.tools import Sandbox

_SENTINELS: Mapping[Kind, str] = {
    "math": "Sentinel 7f3a: how many sides has it?",
    "choice": "Sentinel 9c1e: which of these?\nA. the first\nB. the second",
    "code": "Sentinel 4b8d: write what is asked.",
}
_FRESH: Mapping[Kind, tuple[str, ...]] = {  # what the templates are checked on
    "math": (
        "Why?",
        "Simplify {x} + \\frac{1}{2}.\n\nGive {{both}} steps.",
        "Ein Würfel: wie viele Kanten?",
    ),
    "choice": ("Which one?\nA) red\nB) blue\nC) green\nD) none", "Name it.\n\nA. {x}\nB. 100 %\nC. \\boxed{A}"),
    "code": ("Add two numbers.", "Read n, then n lines.\n\n```\n{'a': 1}\n```\nPrint them sorted."),
}
_FUNCTION, _OTHER_FUNCTION = "sentinel_fn_5d2c", "add_two"


class Imported(NamedTuple):
    """The patterns that are in the pack, the builders that were not there, and how many templates were checked."""

    patterns: tuple[str, ...]
    missing: tuple[str, ...]
    num_templates: int


class _Case(NamedTuple):
    """One call of one builder."""

    builder: Builder
    question: Question

    @property
    def call(self) -> Call:
        question = self.question
        return Call(self.builder.name, question.text, keywords(self.builder, question.kind, question.function))


def import_prompts(clone: Path, out: Path, *, sandbox: Sandbox, choice_prompt: int = 0) -> Imported:
    """Write the pack `out` from the `prompts.py` of a clone. A pattern that lacks a builder is left out and told.

    `choice_prompt`: their choice_old_prompt, 2 for GPQA. Raises ConfigError for a clone that is none and for a place
    that is taken, PromptError for whatever is wrong with their functions; nothing is written then.
    """
    if out.exists():
        raise ConfigError(f"{out}: is there already. Name a new folder.")
    files = read_clone(clone)
    cases = {name: list(_cases(family, _SENTINELS.items(), _FUNCTION)) for name, family in FAMILIES.items()}
    given, missing = _ask(files, cases, sandbox, choice_prompt)
    whole = {name: family for name, family in FAMILIES.items() if not missing & _names(family)}
    if not whole:
        raise PromptError(f"{clone}: no pattern is whole; {PROMPTS} lacks {', '.join(sorted(missing))}.")
    tables = {name: _table(family, cases[name], given) for name, family in whole.items()}
    fresh = {name: list(_cases(family, _fresh(), _OTHER_FUNCTION)) for name, family in whole.items()}
    expected, _ = _ask(files, fresh, sandbox, choice_prompt)
    source = (
        f"# From {PROMPTS}, sha256 {hashlib.sha256(files[PROMPTS].encode()).hexdigest()}: its authors' sentences.\n"
    )
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.absolute().parent) as scratch:
        pack = Path(scratch) / "pack"
        pack.mkdir()
        shutil.copyfile(PACKS / "released" / "tasks.toml", pack / "tasks.toml")
        for name, table in tables.items():
            (pack / f"{name}.toml").write_text(source + tomli_w.dumps(table), encoding="utf-8")
            loaded = load_pack(str(pack), name)
            for case in fresh[name]:
                check(loaded, case.builder, case.question, expected[case.call])
        pack.rename(out)
    return Imported(tuple(whole), tuple(sorted(missing)), sum(len(cases[name]) for name in whole))


def _cases(family: Family, questions: Iterable[tuple[Kind, str]], function: str) -> Iterator[_Case]:
    """Every builder with every question of its kinds; code as a whole program and as a function."""
    for kind, text in questions:
        for builder in family.builders:
            if kind in builder.kinds:
                for name in ("", function) if kind == "code" else ("",):
                    yield _Case(builder, Question(text=text, kind=kind, function=name))


def _fresh() -> list[tuple[Kind, str]]:
    return [(kind, text) for kind in KINDS for text in _FRESH[kind]]


def _ask(
    files: Mapping[str, str], cases: Mapping[str, list[_Case]], sandbox: Sandbox, choice_prompt: int
) -> tuple[dict[Call, str], frozenset[str]]:
    """The text of each call and each system text, and the names that are not there."""
    calls = [case.call for family in cases.values() for case in family]
    constants = [Call(name) for name in {FAMILIES[name].system for name in cases}]
    texts = call_all(files, [*constants, *calls], sandbox, choice_prompt=choice_prompt)
    asked = list(zip([*constants, *calls], texts, strict=True))
    missing = frozenset(call.name for call, text in asked if text is None)
    return {call: text for call, text in asked if text is not None}, missing


def _names(family: Family) -> set[str]:
    return {family.system, *(builder.name for builder in family.builders)}


def _table(family: Family, cases: Iterable[_Case], given: Mapping[Call, str]) -> dict[str, Any]:
    """The pack's file of one pattern."""
    sections: dict[str, dict[Kind, list[Any]]] = {}
    for builder, question in cases:
        texts = sections_of(builder, given[_Case(builder, question).call], question)
        when = conditions(builder, question)
        of_role = sections.setdefault(builder.role, {})
        of_role.setdefault(question.kind, []).extend({"text": text, **when} if when else text for text in texts)
    system = given[Call(family.system)]
    roles = {
        role: {
            "system": system,
            "sections": kinds["math"],
            "tasks": {kind: {"sections": kinds[kind]} for kind in KINDS if kinds[kind] != kinds["math"]},
        }
        for role, kinds in sections.items()
    }
    return {"whole": True, "roles": roles}
