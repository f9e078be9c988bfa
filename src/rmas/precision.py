"""Numbers in the type in which they can be reduced, and those that are too small for one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """In float32, or the wider type that it has."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@contextmanager
def flushed() -> Iterator[None]:
    """Where this thread, and those that start from it, take numbers below 1.2e-38 for zero.

    What a team that is sure of its thoughts passes back shrinks to such numbers, and a CPU multiplies them at a third
    of its speed. Threads that torch has started before keep their ways, so enter it before the first product.
    """
    before = bool(torch.tensor(1e-39) * 1.0 == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
