"""Keys and values with room behind them: a position that is read is written there, and nothing before it is copied.

transformers' own layers join old and new with `torch.cat`, which copies all that was read at every step: a third of a
step of 100 rows and 400 positions on a CPU. With gradients they still do, since autograd may need what was there.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

_LEAST, _SHARE = 8, 16  # positions of room made at once: a sixteenth of what is there, so a step copies about 16


@dataclass
class _Room:
    """What one layer's keys (B, heads, P, D) and values lie in, and how many of the P positions any state has taken."""

    keys: Tensor
    values: Tensor
    taken: int

    def takes(self, length: int, end: int) -> bool:
        """Whether positions `length` to `end` are free, and may be written in this mode."""
        is_ours = self.keys.is_inference() == torch.is_inference_mode_enabled()
        return is_ours and self.taken == length and end <= self.keys.shape[-2]


class GrowingLayer(DynamicLayer):
    """A layer of full attention whose copies may share one room.

    Only a layer that reaches to the end of what is taken may write behind it; any other copy moves to a room of its
    own. So no state changes under another.
    """

    _room: _Room | None = None
    _shown: Tensor | None = None  # the keys as they were when they lay in the room: others may have been set since

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.get_seq_length() or torch.is_grad_enabled():
            grown: tuple[Tensor, Tensor] = super().update(key_states, value_states, *args, **kwargs)
            return grown
        assert self.keys is not None and self.values is not None, "it has positions"
        length = self.keys.shape[-2]
        end, room = length + key_states.shape[-2], self._room
        if room is None or self.keys is not self._shown or not room.takes(length, end):
            room = _Room(_with_room(self.keys, end), _with_room(self.values, end), length)
        room.keys[..., length:end, :] = key_states
        room.values[..., length:end, :] = value_states
        room.taken = end
        self._room = room
        self.keys = self._shown = room.keys[..., :end, :]
        self.values = room.values[..., :end, :]
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Its own rows, copied; the room that it leaves is not held any longer."""
        super().reorder_cache(beam_idx)
        self._room = self._shown = None


def new_cache(config: Any) -> DynamicCache:
    """An empty cache as the family has it, its layers of full attention with room."""
    cache = DynamicCache(config=config)
    growing: type[Any] = GrowingLayer
    cache.layers = [growing() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _with_room(block: Tensor, end: int) -> Tensor:
    """A copy (B, heads, P, D) with room behind its positions, up to `end` and beyond."""
    *rows, length, width = block.shape
    room = block.new_empty((*rows, end + max(_LEAST, end // _SHARE), width))
    room[..., :length, :] = block
    return room
