"""The relay's task: a pair of symbols goes from agent to agent, and each agent knows one private function. No torch.

Agent i maps (a, b) to (π_i(a), σ_i(b)), two random permutations. A round is all three functions in the order of the
schedule, so the answer after R rounds is their R-fold composition. The start state is private to the planner: no
agent can answer alone. Links that see some of the n² pairs have to treat the two symbols apart to get the others right.
"""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from rmas.prompt import Question

ROLES = ("planner", "critic", "solver")  # of pattern sequential, in the order of its schedule
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
GO = "go"  # the whole shared question: every prompt holds one, and it must tell nothing


class State(NamedTuple):
    """Two symbols, as numbers below n."""

    a: int
    b: int


class Permutations(NamedTuple):
    """What one agent knows: the new number of each symbol, for the first and for the second."""

    first: Sequence[int]
    second: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Relay:
    """One draw of the three functions: `num_symbols` n, 2 to 26, gives n² states. Same seed, same functions.

    `seen`: the share of the start states that links may see.
    """

    num_symbols: int = 16
    seed: int = 0
    seen: float = 0.4

    @property
    def states(self) -> list[State]:
        """Every state, in order."""
        return [State(a, b) for a in range(self.num_symbols) for b in range(self.num_symbols)]

    def apply(self, role: str, state: State) -> State:
        """The private function of one role."""
        first, second = self._knowledge[role]
        return State(first[state.a], second[state.b])

    def after(self, start: State, rounds: int) -> State:
        """The state when `rounds` rounds are over."""
        for role in ROLES * rounds:
            start = self.apply(role, start)
        return start

    def split(self) -> tuple[list[State], list[State]]:
        """Start states that links may see, and the others. Drawn by the relay's seed."""
        states = random.Random(self.seed + 1).sample(self.states, self.num_symbols**2)
        size = round(self.seen * len(states))
        return states[:size], states[size:]

    @cached_property
    def _knowledge(self) -> dict[str, Permutations]:
        draw = random.Random(self.seed)
        order = range(self.num_symbols)
        return {role: Permutations(*(draw.sample(order, self.num_symbols) for _ in range(2))) for role in ROLES}


def spell(state: State) -> str:
    """A state as text, one letter a symbol: `c k`."""
    return f"{ALPHABET[state.a]} {ALPHABET[state.b]}"


def told(state: State, roles: Iterable[str] = ROLES[:1]) -> Question:
    """The question that tells nothing, with the state as private context of `roles`: in a relay, of the planner."""
    return Question(text=GO, context=dict.fromkeys(roles, spell(state)))


def outer_row(relay: Relay, start: State, *, rounds: int) -> dict[str, object]:
    """A row for `rmas train outer`: `answers` has the answer of each round, `answer` that of the last."""
    answers = [spell(relay.after(start, round_number)) for round_number in range(1, rounds + 1)]
    return {"question": GO, "context": told(start).context, "answers": answers, "answer": answers[-1]}


def inner_row(relay: Relay, state: State) -> dict[str, object]:
    """A row for `rmas train inner`, where agents do not meet: each is told the state, and replies to it."""
    targets = {f"target.{role}": spell(relay.apply(role, state)) for role in ROLES}
    return {"question": GO, "context": told(state, ROLES).context, **targets, "answer": targets[f"target.{ROLES[-1]}"]}


def write_rows(path: Path, rows: Iterable[dict[str, object]]) -> None:
    """JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def chance(relay: Relay, starts: Sequence[State], rounds: int) -> float:
    """The accuracy of the best constant answer."""
    answers = [relay.after(start, rounds) for start in starts]
    return max(answers.count(answer) for answer in answers) / len(answers)
