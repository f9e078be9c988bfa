"""Rounds that learn one by one: no gradient passes from a round to the one before it."""

from collections.abc import Callable, Mapping
from typing import final

from torch import Tensor

from rmas.conversation import Prompt
from rmas.engine import Agent, Runnable
from rmas.pattern import Edge, Pattern
from rmas.prompt import Question
from rmas.settings import Memory


@final
class RoundsApart:
    """A system as it is, but for the backward pass: what a round is told by the one before it is a given.

    The link that it came through still learns, and so does who reads it; who thought it does not. A loss then reaches
    back over the latents of one round, where through all rounds its gradient can grow without bound. Backpropagation
    truncated at the rounds, after Williams and Peng 1990 (Neural Computation 2:490).
    """

    def __init__(self, system: Runnable) -> None:
        self._system = system

    @property
    def pattern(self) -> Pattern:
        return self._system.pattern

    @property
    def agents(self) -> Mapping[str, Agent]:
        return self._system.agents

    @property
    def memory(self) -> Memory:
        return self._system.memory

    def link(self, edge: Edge) -> Callable[[Tensor], Tensor]:
        link = self._system.link(edge)
        return link if self.pattern.is_forward(edge) else lambda z_BMD: link(z_BMD.detach())

    def render(self, role: str, question: Question, filled: frozenset[str]) -> Prompt:
        return self._system.render(role, question, filled)
