"""What a program and its descendants hold, seen from outside: for the limits that the kernel only keeps per process.

Thirty processes of 500 MiB each keep to their limits and still take 15 GiB. So somebody adds up, twenty times a second.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple


class Holding(NamedTuple):
    """Bytes of memory that no file stands behind, pages shared by a fork counted for each; and files in the folder."""

    memory: int
    files: int


def look(pid: int, folder: str | None) -> Holding:
    """What `pid` and its descendants hold. `folder`: where they write, as they see it; None: not looked at.

    Processes that end meanwhile count as nothing; so do the files where the folder cannot be looked at.
    """
    memory = sum(_memory(member) for member in _family(pid))
    if folder is None:
        return Holding(memory, 0)
    try:
        theirs = os.open(f"/proc/{pid}/root{folder}", os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return Holding(memory, 0)
    try:
        # Until its own folder is mounted the path leads to ours. One descriptor, as it may be mounted in between.
        is_ours = os.fstat(theirs).st_dev == os.stat(folder).st_dev  # noqa: PTH116
        found = os.fstatvfs(theirs)
    finally:
        os.close(theirs)
    return Holding(memory, 0 if is_ours else found.f_files - found.f_ffree)


def _family(pid: int) -> Iterator[int]:
    pending = [pid]
    while pending:
        member = pending.pop()
        yield member
        try:
            for thread in os.listdir(f"/proc/{member}/task"):  # noqa: PTH208 (twenty times a second)
                with open(f"/proc/{member}/task/{thread}/children", encoding="ascii") as file:  # noqa: PTH123
                    pending += map(int, file.read().split())
        except OSError:
            continue


def _memory(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            lines = file.read().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon:", "RssShmem:", "VmSwap:")))
