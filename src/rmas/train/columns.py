"""Which column is what: a row's question, answer, private contexts and role targets, checked one by one.

Required columns go by their name or by `columns`; a role's target is also looked for under the names that the authors'
released data use.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rmas.errors import ConfigError, unknown
from rmas.rows.stored import Row
from rmas.train.config import DataConfig

# Role -> where its target is looked for, in this order.
TARGETS: Mapping[str, tuple[str, ...]] = {
    "planner": ("plan",),
    "critic": ("refined_plan",),
    "summarizer": ("hie_summarizer", "summary"),
    "expert": ("distill_expert", "refined_plan", "expert_plan"),
    "learner": ("distill_learner", "learner_answer"),
    "reflector": ("reflector",),
    "toolcaller": ("toolcaller",),
}
EXPERT = ("hie_{}_expert", "{}_expert", "expert_{}")  # of every other role


class Texts(NamedTuple):
    """What a row says, stripped. Contexts and targets by role; empty ones are left out. `answers`: see Example."""

    question: str
    answer: str
    context: Mapping[str, str]
    targets: Mapping[str, str]
    answers: tuple[str, ...]


class Columns:
    """Reads rows by the names of `config.columns`, ours -> the file's. The file's name "" means: not read."""

    def __init__(self, config: DataConfig, roles: Sequence[str]) -> None:
        """Raises ConfigError for a mapped column that we do not know, or a solution without its mark."""
        known = ["question", "answer", "answers", "context", *(f"context.{role}" for role in roles), *roles]
        for ours in config.columns:
            if ours not in known:
                raise ConfigError("columns: " + unknown("column", ours, known))
        if config.solution_as_target and config.answer_after is None:
            raise ConfigError("solution_as_target is true, and answer_after is not given. Name the mark, such as ####.")
        self._config, self._roles = config, tuple(roles)

    def read(self, row: Row) -> Texts:
        """One row's texts. Raises ConfigError: the row's place, the column, what was expected, the nearest name."""
        question, answer = (self._required(row, name) for name in ("question", "answer"))
        solution = ""
        if self._config.answer_after is not None:
            solution, answer = _cut(row.place, answer, self._config.answer_after)
        spare = solution if self._config.solution_as_target else ""
        targets = {role: text for role in self._roles if (text := self._target(row, role) or spare)}
        return Texts(question, answer, self._context(row), targets, self._answers(row, answer))

    def _answers(self, row: Row, answer: str) -> tuple[str, ...]:
        """One answer a round, the last of which is `answer`; none where the row has no such column."""
        name = self._config.columns.get("answers", "answers")
        value = row.fields.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not value:
            raise ConfigError(f"{row.place}: {name} is {_short(value)}, expected a list with one answer a round.")
        answers = tuple(_text(item, row.place, name, numbers=True) for item in value)
        if not all(answers):
            raise ConfigError(f"{row.place}: {name} holds an empty text. Give an answer for every round.")
        if answers[-1] != answer:
            raise ConfigError(
                f"{row.place}: {name} ends with {answers[-1]!r}, but the answer is {answer!r}. Repair one."
            )
        return answers

    def _required(self, row: Row, ours: str) -> str:
        name = self._config.columns.get(ours, ours)
        if name not in row.fields:
            raise _missing(row, ours, name)
        text = _text(row.fields[name], row.place, name, numbers=ours == "answer")
        if not text:
            raise ConfigError(f"{row.place}: {name} is empty. Fill it in, or delete the row.")
        return text

    def _context(self, row: Row) -> dict[str, str]:
        name = self._config.columns.get("context", "context")
        nested = row.fields.get(name) if name else None
        if nested is not None and not isinstance(nested, dict):
            raise ConfigError(
                f"{row.place}: {name} is no table of role -> text. If it is not private context, leave it out: "
                'columns.context = "".'
            )
        found = {key: (f"{name}.{key}", value) for key, value in (nested or {}).items()}
        flat = [key for key in row.fields if key.startswith("context.")] if name else []
        found |= {key.removeprefix("context."): (key, row.fields[key]) for key in flat}
        for role in self._roles:
            mapped = self._config.columns.get(f"context.{role}")
            if mapped and mapped not in row.fields:
                raise _missing(row, f"context.{role}", mapped)
            if mapped is not None:
                found[role] = (mapped, row.fields.get(mapped))
        self._check_roles(row, "context", found)
        texts = {role: _text(value, row.place, key) for role, (key, value) in found.items() if value is not None}
        return {role: text for role, text in texts.items() if text}

    def _target(self, row: Row, role: str) -> str:
        self._check_roles(
            row, "target", [key.removeprefix("target.") for key in row.fields if key.startswith("target.")]
        )
        mapped = self._config.columns.get(role)
        if mapped and mapped not in row.fields:
            raise _missing(row, f"the target of {role}", mapped)
        names = (f"target.{role}", *TARGETS.get(role, tuple(name.format(role) for name in EXPERT)))
        for name in names if mapped is None else (mapped,):
            if row.fields.get(name) is not None and (text := _text(row.fields[name], row.place, name)):
                return text
        return ""

    def _check_roles(self, row: Row, what: str, named: Any) -> None:
        for role in named:
            if role not in self._roles:
                raise ConfigError(
                    f"{row.place}: {what}: {unknown('role', role, self._roles)} "
                    "Rename the column; a deal takes to=ROLE,ROLE."
                )


def _missing(row: Row, ours: str, name: str) -> ConfigError:
    return ConfigError(
        f"{row.place}: no column for {ours}: " + unknown("column", name, row.fields) + " Map it with columns."
    )


def _text(value: Any, place: str, name: str, *, numbers: bool = False) -> str:
    """A column's text, stripped; for an answer also a number, a whole one without a point."""
    if numbers and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if numbers and isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value == int(value) else str(value)
    if not isinstance(value, str):
        expected = "a text or a number" if numbers else "a text"
        raise ConfigError(f"{place}: {name} is {_short(value)}, expected {expected}.")
    if re.search("[\ud800-\udfff]", value):
        raise ConfigError(f"{place}: {name} holds half of a surrogate pair, which is no text. Repair the row.")
    return value.strip()


def _cut(place: str, text: str, mark: str) -> tuple[str, str]:
    """Solution and answer around the last `mark`: calculator notes `<<48/2=24>>` and thousands' commas removed."""
    solution, found, answer = text.rpartition(mark)
    if not found or not answer.strip():
        raise ConfigError(
            f"{place}: nothing behind {mark!r} in the answer {_short(text)}. Repair the row or answer_after."
        )
    return re.sub("<<[^<>]*>>", "", solution).strip(), re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", answer).strip()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
