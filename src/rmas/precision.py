"""Numbers in the type in which they can be reduced."""

import torch
from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """In float32, or the wider type that it has."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
