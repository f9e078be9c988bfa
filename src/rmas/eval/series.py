"""What a picture of results shows: series of points with error bars, gathered from rows. No torch, no matplotlib.

The surprising thing: a line is called by what tells it from the other lines and by nothing else, so that the same run
may be `recursive` beside `text` and `smol` beside `smol-untrained`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from rmas.errors import ConfigError


class Measure(NamedTuple):
    """What a row's number is called on the axis, and what it is multiplied by."""

    label: str
    scale: float = 1
    from_zero: bool = True


# Keys of rows. The ends of an error bar are under KEY_low and KEY_high.
MEASURES: Mapping[str, Measure] = {
    "accuracy": Measure("Accuracy (%)", 100, from_zero=False),
    "seconds": Measure("Seconds per question"),
    "sequential_steps": Measure("Sequential steps per question"),
    "completion_tokens": Measure("Tokens written per question"),
}
SETTINGS: Mapping[str, tuple[str, str]] = {"rounds": ("Rounds", "R"), "latent_steps": ("Latent steps", "M")}


class Trait(NamedTuple):
    """A setting that no axis shows: what it is called, how a line's name tells it, and what goes without saying."""

    title: str
    words: str = "{}"
    plain: Any = None


TRAITS: Mapping[str, Trait] = {  # what matters most to a reader first
    "solver": Trait("solver"),
    "system": Trait("system"),
    "answerer": Trait("answerer", "answerer {}"),
    "control": Trait("control", plain="none"),
    "tools": Trait("tools", "tools {}"),
    "samples": Trait("samples", "{} samples", 1),
    "message_tokens": Trait("message tokens", "messages of {} tokens"),
    "temperature": Trait("temperature", "temperature {:g}"),
    "max_new_tokens": Trait("budget", "up to {} tokens"),
    "top_p": Trait("top-p", "top-p {:g}"),
    "top_k": Trait("top-k", "top-k {}"),
    "seed": Trait("seed", "seed {}"),
    "prompts": Trait("prompts", "prompts {}"),
    "links": Trait("links", "links {}"),
    "dtype": Trait("dtype"),
    "judge_model": Trait("judge", "judge {}"),
    "batch_size": Trait("batch size", "batches of {}"),
    "device": Trait("device"),
}
_Told = tuple[tuple[str, Any], ...]  # traits and what a line has of them


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line. Without `x` it is a level: one y, dashed across the picture. `low` and `high` end the error bars."""

    name: str
    x: tuple[float, ...] = ()
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.x) or 1, len(self.y)} | {len(ends) for ends in (self.low, self.high) if ends}
        if len(lengths) > 1 or bool(self.low) != bool(self.high):
            raise ConfigError(f"series {self.name}: x, y, low and high are not equally long. Give one of each a point.")


def series_of(rows: Sequence[Mapping[str, Any]], *, measure: str, against: str, scale: float = 1) -> list[Series]:
    """A series a `name`, and a value of the other setting where a name has several, in the rows' order.

    A row without the setting (a single agent has no rounds) becomes a level. Rows without the measure are left out; a
    series has bars where all its rows have them.
    """
    (other,) = SETTINGS.keys() - {against}
    groups: dict[tuple[str, Any, bool], list[Mapping[str, Any]]] = {}
    for row in rows:
        if _has(row, measure):
            groups.setdefault((row["name"], row.get(other), row.get(against) is None), []).append(row)
    others: dict[str, set[Any]] = {}
    for name, value, _ in groups:
        others.setdefault(name, set()).add(value)
    found = []
    for (name, value, is_level), members in groups.items():
        told = f"{SETTINGS[other][1]} = {value}"
        label = name if len(others[name]) == 1 else f"{name}, {told}" if len(others) > 1 else told
        x = [None if is_level else row[against] for row in members]
        if len(set(x)) < len(x):
            raise ConfigError(f"{label}: two rows with the same {against}. Name the runs apart.")
        found.append(_series(label, members if is_level else _sorted(members, against), measure, against, scale))
    return found


def lines_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with, as `name`, that of their line: the shortest that tells it from the others.

    A line is a value of each of TRAITS. Who has no messages (control `alone`, no latent steps) answers alone, whatever
    R and M. A second row of the same settings is a line of its own and adds its own name.
    """
    lines = [_line(row) for row in rows]
    settings = [tuple(line.get(key) for key in (*TRAITS, *SETTINGS)) for line in lines]
    names = [
        f"{name}, {row['name']}" if own in settings[:number] else name
        for number, (name, row, own) in enumerate(zip(_names(lines), rows, settings, strict=True))
    ]
    return [line | {"name": name} for line, name in zip(lines, names, strict=True)]


def short_paths(paths: Sequence[str]) -> dict[str, str]:
    """Systems by the fewest parts that tell them apart: `runs/a/bundle` and `runs/b/bundle` are a and b.

    Paths that only their endings tell apart stay as they are.
    """
    parts = {path: PurePath(path.removesuffix("system.toml").removesuffix(".toml")).parts or (path,) for path in paths}
    while len(parts) > 1 and len({own[-1] for own in parts.values()}) == 1 and min(map(len, parts.values())) > 1:
        parts = {path: own[:-1] for path, own in parts.items()}
    for size in range(1, max(map(len, parts.values()), default=0) + 1):
        short = {path: "/".join(own[-size:]) for path, own in parts.items()}
        if len(set(short.values())) == len(short):
            return short
    return {path: path for path in paths}


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    if row.get("control") == "alone" or row.get("latent_steps") == 0:
        return {**row, "solver": "alone", **dict.fromkeys(("control", "links", *SETTINGS))}
    return dict(row)


def _names(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each line the traits that tell it from those that the traits before leave equal; none: its solver."""
    told: list[_Told] = [()] * len(lines)
    for key in TRAITS:
        values: dict[_Told, set[Any]] = {}
        for line, own in zip(lines, told, strict=True):
            values.setdefault(own, set()).add(line.get(key))
        more = [((key, line.get(key)),) if len(values[own]) > 1 else () for line, own in zip(lines, told, strict=True)]
        told = [own + added for own, added in zip(told, more, strict=True)]
    return [_words(own) or str(line["solver"]) for line, own in zip(lines, told, strict=True)]


def _words(traits: _Told) -> str:
    return ", ".join(TRAITS[key].words.format(value) for key, value in traits if value not in (None, TRAITS[key].plain))


def _series(name: str, rows: Sequence[Mapping[str, Any]], measure: str, against: str, scale: float) -> Series:
    y, low, high = (
        tuple(row[key] * scale for row in rows) if all(_has(row, key) for row in rows) else ()
        for key in (measure, f"{measure}_low", f"{measure}_high")
    )
    return Series(name=name, x=tuple(row[against] for row in rows if _has(row, against)), y=y, low=low, high=high)


def _sorted(rows: Sequence[Mapping[str, Any]], key: str) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: float(row[key]))


def _has(row: Mapping[str, Any], key: str) -> bool:
    return row.get(key) is not None and not math.isnan(row[key])
