"""Patterns: who takes part, who writes to whom, in what order, who answers. Data only; no torch.

There is no feedback edge type. `solver -> planner` in a schedule planner, critic, solver is read in the next
round before it is rewritten, so it carries the message of the round before. So does an edge from a role to itself.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rmas.errors import PatternError, unknown
from rmas.tomlfile import TomlFile, read_toml

PATTERNS = Path(__file__).parent / "patterns"


class Edge(NamedTuple):
    """One direction in which messages travel."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}->{self.target}"


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A validated pattern. `schedule` is a tuple of steps; the roles of one step are independent of each other."""

    name: str
    schedule: tuple[tuple[str, ...], ...]
    edges: tuple[Edge, ...]
    answerer: str

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role, in the order of the schedule."""
        return tuple(role for step in self.schedule for role in step)

    def into(self, role: str) -> tuple[Edge, ...]:
        """The edges that `role` reads, in the file's order."""
        return tuple(edge for edge in self.edges if edge.target == role)

    def out_of(self, role: str) -> tuple[Edge, ...]:
        """The edges that `role` writes, in the file's order."""
        return tuple(edge for edge in self.edges if edge.source == role)

    def is_forward(self, edge: Edge) -> bool:
        """Whether its message is read in the round in which it was written; otherwise it is read in the next one."""
        return self.roles.index(edge.source) < self.roles.index(edge.target)

    def heard(self, rounds: int, mute: Collection[Edge] = ()) -> tuple[Edge, ...]:
        """The edges whose messages the answer after `rounds` rounds depends on. `mute`: those that tell nothing of what
        their source thinks, such as learned constants."""
        found, turns = set[Edge](), [(self.answerer, rounds)]
        for role, number in turns:  # grows as it goes
            for edge in self.into(role):
                written = number if self.is_forward(edge) else number - 1
                if written < 1:
                    continue
                found.add(edge)
                if edge not in mute and (edge.source, written) not in turns:
                    turns.append((edge.source, written))
        return tuple(edge for edge in self.edges if edge in found)

    @property
    def least_rounds(self) -> int:
        """The fewest rounds in which the answerer hears anybody."""
        return 1 if any(map(self.is_forward, self.into(self.answerer))) else 2


def known_patterns() -> list[str]:
    """The names of the patterns that ship with the package."""
    return sorted(path.stem for path in PATTERNS.glob("*.toml"))


def load_pattern(name: str, *, base: Path | None = None) -> Pattern:
    """A shipped pattern by name, or a file by path (relative to `base`). Raises PatternError: file, line, key, fix."""
    if name in known_patterns():
        return _parse(read_toml(PATTERNS / f"{name}.toml", PatternError))
    if not name.endswith(".toml"):
        raise PatternError(unknown("pattern", name, known_patterns()) + " A path to a pattern ends in .toml.")
    return _parse(read_toml((base or Path()) / name, PatternError))


def _parse(file: TomlFile) -> Pattern:
    file.only(file.table, ("schedule", "edges", "answerer"))
    schedule = _schedule(file, file.table.get("schedule"))
    edges = _edges(file, file.table.get("edges", []), [role for step in schedule for role in step])
    answerer = file.table.get("answerer")
    pattern = Pattern(name=file.path.stem, schedule=schedule, edges=edges, answerer=str(answerer))
    if answerer not in schedule[-1]:
        raise file.fail(
            "answerer",
            f"{answerer!r} is not in the last step {list(schedule[-1])}. "
            "The answerer speaks when the last step runs: name one of these, or move it there.",
        )
    for step_number, step in enumerate(schedule):
        for edge in edges:
            if edge.source in step and edge.target in step and edge.source != edge.target:
                raise file.fail(
                    f"edges[{edges.index(edge)}]",
                    f"{edge} runs inside step {step_number}. Agents of one step cannot read each other: "
                    "drop the edge, or put them in two steps.",
                )
    _everyone_is_heard(file, pattern)
    return pattern


def _schedule(file: TomlFile, value: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, list) or not value:
        raise file.fail("schedule", f"expected a list of steps like [['planner'], ['solver']], got {value!r}.")
    for number, step in enumerate(value):
        if not isinstance(step, list) or not step or not all(isinstance(role, str) for role in step):
            raise file.fail(f"schedule[{number}]", f"expected a non-empty list of role names, got {step!r}.")
    roles = [role for step in value for role in step]
    for role in roles:
        if not role.isidentifier():
            raise file.fail("schedule", f"role {role!r} is not a plain name. Use letters, digits and underscores.")
        if role in RESERVED:
            raise file.fail("schedule", f"role {role!r} is a word that prompts use. Choose another name.")
        if roles.count(role) > 1:
            raise file.fail("schedule", f"role {role!r} stands twice. A role has one turn a round: drop one.")
    return tuple(tuple(step) for step in value)


def _edges(file: TomlFile, value: Any, roles: list[str]) -> tuple[Edge, ...]:
    if not isinstance(value, list):
        raise file.fail("edges", f"expected a list of [source, target] pairs, got {value!r}.")
    edges: list[Edge] = []
    for number, pair in enumerate(value):
        key = f"edges[{number}]"
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(role, str) for role in pair):
            raise file.fail(key, f"expected [source, target], got {pair!r}.")
        edge = Edge(*pair)
        for role in edge:
            if role not in roles:
                raise file.fail(key, f"{edge}: {unknown('role', role, roles)} Fix {key}, or schedule {role!r}.")
        if edge in edges:
            raise file.fail(key, f"{edge} stands twice. Drop one.")
        edges.append(edge)
    return tuple(edges)


def _everyone_is_heard(file: TomlFile, pattern: Pattern) -> None:
    """Refuse a role none of whose messages can reach the answerer, by whatever way and in whatever round."""
    heard = {pattern.answerer}
    while reached := {edge.source for edge in pattern.edges if edge.target in heard} - heard:
        heard |= reached
    for role in pattern.roles:
        if role not in heard:
            raise file.fail(
                "edges",
                f"nothing that {role!r} thinks can reach the answerer {pattern.answerer!r}. "
                f"Add an edge out of {role!r}, or take it out of the schedule.",
            )


RESERVED = ("question", "context", "brief", "answer")  # placeholders of a prompt pack
