"""How many operations a step takes: counted as they run, forward, backward and again where a checkpoint recomputes.

torch's own FlopCounterMode follows modules with hooks, which a gradient taken inside a forward pass does not allow.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, final

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


@final
class Operations(TorchDispatchMode):
    """As a context: `total` counts two operations for each multiply-add of the matrix products inside.

    By torch's table. It has the attention kernels of GPUs and not those of CPUs: there scores are left out.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        count = cast("Callable[..., int] | None", flop_registry.get(func._overloadpacket))
        if count is None:
            with self:  # in inference mode a linear map comes whole, and has to be taken apart
                parts = func.decompose(*args, **options)
            return func(*args, **options) if parts is NotImplemented else parts
        out = func(*args, **options)
        self.total += count(*args, **options, out_val=out)
        return out
