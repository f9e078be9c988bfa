"""The relay's task: pairs of symbols handed from agent to agent, each of which knows one private function. No torch.

Agent i maps (a, b) to (π_i[b], σ_i[(a + b) mod n]): a bijection in which every new symbol needs what the one before
it carried. A round is all three functions in the order of the schedule, so the answer after R rounds is their R-fold
composition, and no agent alone can tell it from the start state, or knows the start state to begin with.
"""

import json
import random
from collections.abc import Iterable, Sequence
from functools import cached_property
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Relay:
    """One draw of the three functions: `num_symbols` n gives n² states. Same seed, same functions."""

    num_symbols: int = 16
    seed: int = 0

    @cached_property
    def _tables(self) -> dict[str, tuple[list[int], list[int]]]:
        """Per role the permutations π and σ."""
        draw = random.Random(self.seed)
        order = list(range(self.num_symbols))
        return {role: (draw.sample(order, len(order)), draw.sample(order, len(order))) for role in ROLES}

    @property
    def states(self) -> list[State]:
        """Every state, in order."""
        return [State(a, b) for a in range(self.num_symbols) for b in range(self.num_symbols)]

    def apply(self, role: str, state: State) -> State:
        """The private function of one role."""
        first, second = self._tables[role]
        return State(first[state.b], second[(state.a + state.b) % self.num_symbols])

    def after(self, start: State, rounds: int) -> State:
        """The state when `rounds` rounds are over."""
        for role in ROLES * rounds:
            start = self.apply(role, start)
        return start

    def split(self, share: float) -> tuple[list[State], list[State]]:
        """Start states to train links on, `share` of all, and those held out. Drawn by the relay's seed."""
        states = random.Random(self.seed + 1).sample(self.states, self.num_symbols**2)
        size = round(share * len(states))
        return states[:size], states[size:]


def spell(state: State) -> str:
    """A state as text, one letter a symbol: `c k`."""
    return f"{ALPHABET[state.a]} {ALPHABET[state.b]}"


def question(start: State) -> Question:
    """The shared question says nothing; the start state is the planner's private context."""
    return Question(text=GO, context={"planner": spell(start)})


def write_rows(path: Path, relay: Relay, starts: Iterable[State], *, rounds: int) -> None:
    """JSONL for `rmas train outer`: `answers` has the answer of each round, `answer` that of the last."""
    rows = [_row(relay, start, rounds) for start in starts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _row(relay: Relay, start: State, rounds: int) -> dict[str, object]:
    answers = [spell(relay.after(start, round_number)) for round_number in range(1, rounds + 1)]
    return {"question": GO, "context.planner": spell(start), "answers": answers, "answer": answers[-1]}


def commonest_share(relay: Relay, starts: Sequence[State], rounds: int) -> float:
    """The accuracy of the best constant answer: chance, for whoever knows how often each answer occurs."""
    answers = [relay.after(start, rounds) for start in starts]
    return max(answers.count(answer) for answer in answers) / len(answers)
