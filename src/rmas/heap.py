"""What becomes of memory that was freed, while a process answers many questions."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM, _MMAP = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_LARGE = (2**31 - 1, 2**30)  # in that order, bytes: more than a forward of a batch frees at once, and takes at once
_OWN = (2**26, 2**25)  # where glibc's thresholds come to rest by themselves once large blocks were freed


@contextmanager
def kept_heap() -> Iterator[None]:
    """Within it the process keeps what it frees, for its next use, and gives it back at the end.

    A forward of many positions takes and frees the same hundreds of megabytes in every layer. glibc hands them back to
    the system each time, which clears every page before it comes again: a fifth to a quarter of the time of reading
    prompts on a CPU (LOG.md). Nothing where malloc is not glibc's.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    _set(libc, _LARGE)
    try:
        yield
    finally:
        _set(libc, _OWN)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no library of that name
        return None
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def _set(libc: ctypes.CDLL, thresholds: tuple[int, int]) -> None:
    for name, value in zip((_TRIM, _MMAP), thresholds, strict=True):
        libc.mallopt(name, value)
