"""What latents pass back in training, kept short: one question of a batch must not drown the others."""

from typing import Any, cast, final

import torch
from torch import Tensor

from rmas.precision import widened


@final
class Clip:
    """Leaves a latent as it is; in the backward pass no row's gradient times that row's length is longer than `limit`.

    That product is by how much the loss would change, were the latent to change by its own length. Through a chain of
    latents it grows without bound where one of them was nearly another, and such a row would drown all others of its
    batch. After Pascanu et al. 2013 (arXiv:1211.5063), section 3.2, for each row and step alone.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._counts = torch.zeros(2, dtype=torch.int64)  # gradients that were not 0, and those that were too long

    def __call__(self, z_BD: Tensor) -> Tensor:
        return cast(Tensor, _Clipped.apply(z_BD, self))  # type: ignore[no-untyped-call]

    def count(self, size_B: Tensor) -> None:
        """Take note of gradients as they pass; their number stays on the device."""
        self._counts = self._counts.to(size_B.device) + torch.stack([(size_B > 0).sum(), (size_B > self.limit).sum()])

    @property
    def share(self) -> float:
        """Of the gradients so far, how many were clipped."""
        passed, clipped = self._counts.tolist()
        return clipped / passed if passed else 0.0


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z_BD: Tensor, clip: Clip) -> Tensor:
        ctx.save_for_backward(z_BD)
        ctx.clip = clip
        return z_BD.view_as(z_BD)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        (z_BD,), (slope_BD,), clip = ctx.saved_tensors, slopes, ctx.clip
        size_B = widened(slope_BD).norm(dim=-1) * widened(z_BD).norm(dim=-1)
        clip.count(size_B)
        return (slope_BD * (clip.limit / size_B).clamp(max=1)[:, None]).to(slope_BD.dtype), None
