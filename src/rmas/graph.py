"""A pattern as people read it: steps, who reads whom and from which round, how many turns a run takes. No torch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rmas.pattern import Pattern

_ROUNDS = (1, 2, 3)


def num_turns(pattern: "Pattern", rounds: int) -> int:
    """Turns of a run: it ends when the answerer speaks in the last round."""
    return len(pattern.roles) * (rounds - 1) + pattern.roles.index(pattern.answerer) + 1


def draw(pattern: "Pattern") -> str:
    """The data flow of one round, a line per role, in ASCII."""
    width = max(len(role) for role in pattern.roles)
    lines = ["round r"]
    for number, step in enumerate(pattern.schedule, start=1):
        lines.append("|")
        for place, role in enumerate(step):
            title = f"step {number}" if place == 0 else ""
            lines.append(f"|  {title:8} [{role}]".ljust(width + 14) + _reads(pattern, role))
    lines += ["|", "'--> round r+1"]
    kinds = {pattern.is_forward(edge) for edge in pattern.edges}
    if True in kinds:
        lines += ["", "<-- reads what was written earlier in this round"]
    if False in kinds:
        lines += ["<~~ reads what was written in the round before; empty in round 1"]
    return "\n".join(lines)


def to_json(pattern: "Pattern") -> dict[str, Any]:
    """The same as data."""
    return {
        "pattern": pattern.name,
        "schedule": [list(step) for step in pattern.schedule],
        "edges": [
            {
                "source": edge.source,
                "target": edge.target,
                "reads": "this round" if pattern.is_forward(edge) else "the round before",
            }
            for edge in pattern.edges
        ],
        "answerer": pattern.answerer,
        "turns": {str(rounds): num_turns(pattern, rounds) for rounds in _ROUNDS},
    }


def describe(pattern: "Pattern") -> str:
    """The same as text."""
    turns = ", ".join(f"{num_turns(pattern, rounds)} for R = {rounds}" for rounds in _ROUNDS)
    lines = [
        f"pattern   {pattern.name}",
        f"schedule  {' -> '.join(' + '.join(step) for step in pattern.schedule)}",
        f"edges     {', '.join(map(str, pattern.edges)) or 'none'}",
        f"answerer  {pattern.answerer}",
        f"turns     {turns}",
    ]
    return "\n".join(lines) + "\n\n" + draw(pattern)


def _reads(pattern: "Pattern", role: str) -> str:
    parts = []
    for arrow, forward in (("<--", True), ("<~~", False)):
        sources = [edge.source for edge in pattern.into(role) if pattern.is_forward(edge) == forward]
        if sources:
            parts.append(f"{arrow} {', '.join(sources)}")
    if role == pattern.answerer:
        parts.append("==> the answer, in round R")
    return "   " + "   ".join(parts) if parts else ""
