"""The two states: a key-value cache, and its slow twin that keeps the inputs and reads them all again.

transformers' caches are updated in place. A CachedState is not: extending works on a shallow copy of the cache's
layers, which costs microseconds, because attention layers replace their tensors, or write behind them where no other
state has written (`cache.py`). Recurrent layers do write in place, so theirs are cloned.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor
from transformers.cache_utils import (
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionCacheLayerMixin,
)


@dataclass(frozen=True, kw_only=True)
class CachedState:
    """A cache of P positions. mask_BP is None while no position is padding."""

    cache: DynamicCache
    device: torch.device
    batch: int = 0
    length: int = 0
    mask_BP: Tensor | None = None

    def fork(self) -> DynamicCache:
        """A cache that can be extended in place without touching this state."""
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        for layer in cache.layers:
            if isinstance(layer, LinearAttentionCacheLayerMixin):
                for name in ("is_conv_states_initialized", "is_recurrent_states_initialized", "has_previous_state"):
                    setattr(layer, name, dict(getattr(layer, name)))
                layer.conv_kernel_size = dict(layer.conv_kernel_size)
                layer.conv_states = {i: _clone(state) for i, state in layer.conv_states.items()}
                layer.recurrent_states = {i: _clone(state) for i, state in layer.recurrent_states.items()}
        return cache

    def repeat(self, times: int) -> "CachedState":
        if not self.length or times == 1:
            return self
        return self.select([row for row in range(self.batch) for _ in range(times)])

    def select(self, rows: Sequence[int]) -> "CachedState":
        cache = self.fork()
        index = torch.tensor(rows, device=self.device, dtype=torch.int64)
        cache.reorder_cache(cast(torch.LongTensor, index))
        mask_BP = None if self.mask_BP is None else self.mask_BP[index]
        return replace(self, cache=cache, batch=len(rows), mask_BP=mask_BP)

    def join(self, others: Sequence["CachedState"]) -> "CachedState":
        states = [self, *others]
        length, cache = max(state.length for state in states), self.fork()
        for layer, *theirs in zip(cache.layers, *(state.cache.layers for state in others), strict=True):
            if isinstance(layer, DynamicLayer):
                for name in ("keys", "values"):
                    setattr(layer, name, _below([getattr(own, name) for own in (layer, *theirs)]))
            if isinstance(layer, DynamicSlidingWindowLayer):
                layer.cumulative_length = length
            if isinstance(layer, LinearAttentionCacheLayerMixin):
                for name in ("conv_states", "recurrent_states"):
                    tables = [getattr(own, name) for own in (layer, *theirs)]
                    tables[0].update(
                        {
                            i: torch.cat([table[i] for table in tables])
                            for i, own in tables[0].items()
                            if own is not None
                        }
                    )
        masks = [(state.batch, state.length, state.mask_BP) for state in states]
        return replace(
            self,
            cache=cache,
            batch=sum(state.batch for state in states),
            length=length,
            mask_BP=_below_masks(masks, length, self.device),
        )


@dataclass(frozen=True, kw_only=True)
class RecomputeState:
    """The inputs of P positions. Gradients can always flow through it."""

    x_BPD: Tensor | None = None
    length: int = 0
    mask_BP: Tensor | None = None

    def repeat(self, times: int) -> "RecomputeState":
        if self.x_BPD is None or times == 1:
            return self
        return self.select([row for row in range(len(self.x_BPD)) for _ in range(times)])

    def select(self, rows: Sequence[int]) -> "RecomputeState":
        if self.x_BPD is None:
            return self
        index = torch.tensor(rows, device=self.x_BPD.device)
        mask_BP = None if self.mask_BP is None else self.mask_BP[index]
        return replace(self, x_BPD=self.x_BPD[index], mask_BP=mask_BP)

    def join(self, others: Sequence["RecomputeState"]) -> "RecomputeState":
        read = [(state, state.x_BPD) for state in (self, *others) if state.x_BPD is not None]
        if not read:
            return self
        x_BPD = _below([x_BPD for _, x_BPD in read])
        masks = [(len(x_BPD), state.length, state.mask_BP) for state, x_BPD in read]
        length = x_BPD.shape[1]
        return replace(self, x_BPD=x_BPD, length=length, mask_BP=_below_masks(masks, length, x_BPD.device))


def join_masks(length: int, mask_BP: Tensor | None, x_BLD: Tensor, mask_BL: Tensor | None) -> Tensor | None:
    """The mask of P + L positions, int64; None when nothing is padding."""
    if mask_BP is None and mask_BL is None:
        return None
    batch, new, _ = x_BLD.shape
    ones = torch.ones((batch, 1), dtype=torch.int64, device=x_BLD.device)
    old = ones.expand(batch, length) if mask_BP is None else mask_BP
    return torch.cat([old, ones.expand(batch, new) if mask_BL is None else mask_BL.to(old)], dim=1)


def _below(blocks: Sequence[Tensor]) -> Tensor:
    """Blocks (…, P, D) of unequal P along their first dimension, zeros on the left."""
    length = max(block.shape[-2] for block in blocks)
    return torch.cat([torch.nn.functional.pad(block, (0, 0, length - block.shape[-2], 0)) for block in blocks])


def _below_masks(masks: Sequence[tuple[int, int, Tensor | None]], length: int, device: torch.device) -> Tensor | None:
    """The masks of (rows, P, mask_BP) as one of `length` positions; None when nothing is padding."""
    if all(mask is None and own == length for _, own, mask in masks):
        return None
    whole = [
        torch.ones(rows, own, dtype=torch.int64, device=device) if mask is None else mask for rows, own, mask in masks
    ]
    return torch.cat([torch.nn.functional.pad(mask, (length - mask.shape[1], 0)) for mask in whole])


def _clone(state: Tensor | None) -> Tensor | None:
    return None if state is None else state.clone()
