"""How long work tells its caller how far it is. The command line draws a bar with it."""

from typing import Protocol


class Progress(Protocol):
    """`done` of `total` bytes of `what` are here. May be called from any thread, one call at a time."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""
