"""The stand-in for text in the paper's proof of Theorem 4.1: what diagnosis lays beside a system's own links."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from rmas.alignment import shared_rows
from rmas.backbone import HFBackbone
from rmas.conversation import Prompt
from rmas.engine import Agent
from rmas.link import Affine, SoftToken, fit_affine
from rmas.pattern import Edge, Pattern
from rmas.prompt import Question
from rmas.settings import Memory
from rmas.system import System


@final
@dataclass(frozen=True, kw_only=True)
class TextSurrogate:
    """The system with the proof's stand-in for text: agents pass on expected embeddings, and nothing trains."""

    system: System
    carriers: Mapping[Edge, Callable[[Tensor], Tensor]]

    @property
    def pattern(self) -> Pattern:
        return self.system.pattern

    @property
    def memory(self) -> Memory:
        return self.system.memory

    @property
    def backbones(self) -> Mapping[str, HFBackbone]:
        return self.system.backbones

    @property
    def agents(self) -> Mapping[str, Agent]:
        return {
            role: replace(agent, inner=SoftToken(self.system.backbones[role]))
            for role, agent in self.system.agents.items()
        }

    def link(self, edge: Edge) -> Callable[[Tensor], Tensor]:
        return self.carriers[edge]

    def render(self, role: str, question: Question, filled: frozenset[str]) -> Prompt:
        return self.system.render(role, question, filled)


def text_surrogate(system: System) -> TextSurrogate:
    """Carriers: the identity between roles of one model, else the least-squares map between shared tokens."""
    return TextSurrogate(system=system, carriers={edge: _carrier(system, edge) for edge in system.pattern.edges})


def _carrier(system: System, edge: Edge) -> Callable[[Tensor], Tensor]:
    source, target = system.backbones[edge.source], system.backbones[edge.target]
    if source is target:
        return _Same()
    return _Carried(fit_affine(*shared_rows(source, target)))


@final
class _Same:
    def __call__(self, z: Tensor) -> Tensor:
        return z.clone()  # of its own for each edge, so that their gradients are told apart


@final
class _Carried:
    """An affine map in the message's dtype."""

    def __init__(self, affine: Affine) -> None:
        self._affine = affine

    def __call__(self, z: Tensor) -> Tensor:
        return z @ self._affine.matrix.T.to(z) + self._affine.bias.to(z)
