"""Several processes as one: each takes its share of a global batch, and gradients are summed once a step.

The processes are those of `accelerate launch` or `torchrun`, found and connected by accelerate. Links weigh
megabytes, so one all-reduce of a flat buffer a step is all that they exchange; the sum over shares equals the
gradient of the whole batch, because each share is weighted by the global batch's size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, final

import torch
from torch import nn

from rmas.train.data import Batches

T = TypeVar("T")

_PATIENCE = timedelta(days=1)  # the others wait while the first process extracts states; launchers end hung jobs


@final
@dataclass(frozen=True)
class Team:
    """`rank` of `size` processes; `state` is accelerate's PartialState, None for one process."""

    rank: int = 0
    size: int = 1
    state: Any = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of a batch. Every size-th item, so that like lengths spread evenly."""
        return list(items[self.rank :: self.size])

    def met(self, batches: Batches, steps: int) -> list[int]:
        """The examples, by place, that this process's part of so many batches is of."""
        return sorted({place for number in range(steps) for place in self.share(batches[number])})

    def sum_up(self, parameters: Sequence[nn.Parameter], loss: float, tokens: int) -> tuple[float, int]:
        """Sum gradients over all processes, in place; -> the summed loss and tokens."""
        if self.size == 1:
            return loss, tokens
        from accelerate.utils import reduce

        device = self.state.device
        dtype = torch.promote_types(parameters[0].dtype, torch.float32)
        counts = torch.tensor([loss, tokens], dtype=torch.float64, device=device)
        total = reduce(counts, "sum")
        # every process must send the same buffer: a link that no row of its share reached counts as zero there
        has = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=device)
        reached = reduce(has, "sum")
        flat = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).to(device, dtype).flatten() for p in parameters]
        )
        summed = reduce(flat, "sum").split([p.numel() for p in parameters])
        for parameter, piece, count in zip(parameters, summed, reached.tolist(), strict=True):
            parameter.grad = piece.view_as(parameter).to(parameter) if count else None
        return float(total[0]), int(total[1])

    def total(self, counts: Mapping[str, float]) -> dict[str, float]:
        """The sums over all processes of numbers that each has under the same names."""
        if self.size == 1:
            return dict(counts)
        from accelerate.utils import reduce

        names = sorted(counts)
        mine = torch.tensor([counts[name] for name in names], dtype=torch.float64, device=self.state.device)
        return dict(zip(names, reduce(mine, "sum").tolist(), strict=True))

    def any(self, fact: bool) -> bool:
        """Whether it holds in any process, so that all do the same."""
        return self.total({"fact": float(fact)})["fact"] > 0

    def wait(self) -> None:
        """Until all have come here."""
        if self.state is not None:
            self.state.wait_for_everyone()


ALONE = Team()


def join_team() -> Team:
    """The processes that a launcher started, or one. Puts each on a GPU of its own; call it before weights load."""
    from accelerate import PartialState

    # without a GPU accelerate has to be told so: it would let every process work alone
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
    return Team(state.process_index, state.num_processes, state) if state.num_processes > 1 else ALONE
