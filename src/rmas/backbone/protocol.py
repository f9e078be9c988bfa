"""What the engine knows of a model.

`B` batch, `L` new positions, `P` positions read so far, `D` width, `V` vocabulary.
"""

from collections.abc import Sequence
from typing import Protocol, Self

import torch
from torch import Tensor


class State(Protocol):
    """What a backbone has read so far. Immutable: extending a state leaves it as it was, so a fork is free."""

    @property
    def length(self) -> int:
        """P, padding included."""

    def repeat(self, times: int) -> Self:
        """Every row `times` times, in place of itself: B -> B·times."""

    def select(self, rows: Sequence[int]) -> Self:
        """These rows, in this order."""

    def join(self, others: Sequence[Self]) -> Self:
        """Its rows and those of others of its kind, one below the other; what is shorter is padded on the left."""


class Backbone(Protocol):
    """A frozen causal language model."""

    name: str
    dim: int
    context: int
    dtype: torch.dtype
    device: torch.device
    grad_through_cache: bool
    gap_limit: int
    eos_ids: frozenset[int]
    end_id: int

    @property
    def head_trains(self) -> bool:
        """Whether `logits` has a gradient for the head's own weights: under full fine-tuning."""

    def start(self, *, cached: bool = True) -> State:
        """The empty state. `cached=False`: the slow twin, which reads everything again at each step."""

    def embed(self, ids_BL: Tensor) -> Tensor:
        """ids (…,) -> x (…, D), through the model's own embedding module."""

    def extend(self, state: State, x_BLD: Tensor, mask_BL: Tensor | None = None) -> tuple[Tensor, State]:
        """Read L more positions. mask: 1 = real, None = all real. -> h_BLD after the final norm, new state."""

    def logits(self, h: Tensor) -> Tensor:
        """h (…, D) -> logits (…, V), soft caps included."""

    def expected_embedding(self, p: Tensor) -> Tensor:
        """p (…, V), each row a distribution over tokens -> its mean embedding (…, D)."""

    def encode(self, text: str) -> list[int]:
        """A text that someone wrote -> ids. Never yields a special token."""

    def decode(self, ids: Sequence[int], *, control: bool = False) -> str:
        """ids -> text. `control`: special tokens are spelled out, not left out."""
