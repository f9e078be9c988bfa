"""What a picture of results shows: series of points with error bars, gathered from rows. No torch, no matplotlib."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
