"""Freed memory stays with the process while many questions are answered, and goes back afterwards."""

import ctypes
import resource
from pathlib import Path

import pytest
import torch

from rmas import heap
from rmas.heap import kept_heap

_BLOCKS, _FLOATS = 4, 2**24  # of 64 MiB each
_PAGES = _BLOCKS * _FLOATS * 4 // resource.getpagesize()

glibc = pytest.mark.skipif(heap._glibc() is None, reason="malloc is not glibc's")


def faults() -> int:
    """Pages that the system had to clear and give for blocks that were taken and freed before."""
    for _ in range(4):  # the heap comes to rest
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(_FLOATS) for _ in range(_BLOCKS)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    """Pages that the process has in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])


@glibc
def test_what_was_freed_is_taken_again_without_asking_the_system() -> None:
    outside = faults()
    with kept_heap():
        within = faults()
    assert outside > _PAGES / 2
    assert within < _PAGES / 100


@glibc
def test_afterwards_freed_memory_goes_back_also_after_a_failure() -> None:
    held: list[int] = []
    with pytest.raises(KeyError):
        _fail_within(held)
    assert held[0] - resident() > _PAGES / 2


def test_another_malloc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def other_library(name: object) -> object:
        asked.append(name)
        return object()

    def no_library(name: object) -> None:
        asked.append(name)
        raise TypeError("bad argument type for built-in operation")

    for library in (other_library, no_library):
        monkeypatch.setattr(ctypes, "CDLL", library)
        with kept_heap():
            pass
    assert asked == [None, None]


def _fail_within(held: list[int]) -> None:
    with kept_heap():
        faults()
        held.append(resident())
        raise KeyError
