"""The stand-in for text in the paper's proof of Theorem 4.1: what diagnosis lays beside a system's own links."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import final

from torch import Tensor

from rmas.alignment import shared_rows
from rmas.engine import StandIn
from rmas.link import Affine, SoftToken, fit_affine
from rmas.pattern import Edge
from rmas.system import System


@final
class TextSurrogate(StandIn[System]):
    """The system with the proof's stand-in for text: agents pass on expected embeddings, and nothing trains."""

    def __init__(self, system: System, carriers: Mapping[Edge, Callable[[Tensor], Tensor]]) -> None:
        self.backbones, self._carriers = system.backbones, carriers
        inner = {role: SoftToken(backbone) for role, backbone in system.backbones.items()}
        super().__init__(system, {role: replace(agent, inner=inner[role]) for role, agent in system.agents.items()})

    def link(self, edge: Edge) -> Callable[[Tensor], Tensor]:
        return self._carriers[edge]


def text_surrogate(system: System) -> TextSurrogate:
    """Carriers: the identity between roles of one model, else the least-squares map between shared tokens."""
    return TextSurrogate(system, {edge: _carrier(system, edge) for edge in system.pattern.edges})


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
