"""Rounds that learn one by one: no gradient passes from a round to the one before it."""

from collections.abc import Callable
from typing import final

from torch import Tensor

from rmas.engine import Runnable, StandIn
from rmas.pattern import Edge


@final
class RoundsApart(StandIn[Runnable]):
    """A system as it is, but for the backward pass: what a round is told by the one before it is a given.

    The link that it came through still learns, and so does who reads it; who thought it does not. A loss then reaches
    back over the latents of one round, where through all rounds its gradient can grow without bound. Backpropagation
    truncated at the rounds, after Williams and Peng 1990 (Neural Computation 2:490).
    """

    def link(self, edge: Edge) -> Callable[[Tensor], Tensor]:
        link = self.system.link(edge)
        return link if self.pattern.is_forward(edge) else lambda z_BMD: link(z_BMD.detach())
