"""The system calls that a program in the sandbox may not make, as a BPF filter that bwrap loads.

Two reasons. Memory that no limit counts: SysV segments, queues, memfd. And doors into the kernel that a program
that computes something never opens: new namespaces, mounts, tracing, keyrings, sockets of its own.
Refused calls fail with EPERM; threads, forks, files, pipes and socket pairs work.
"""

import os
import struct
from collections.abc import Iterator, Mapping

# Name: number on x86_64, number on aarch64 (asm/unistd.h; from 424 on they are the same everywhere).
_REFUSED: Mapping[str, tuple[int, int]] = {
    "socket": (41, 198),  # socketpair stays
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
_CLONE: tuple[int, int] = (56, 220)
_CLONE3 = 435
_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
# Machine: its column above, its AUDIT_ARCH, the first number of a second calling convention (x32).
_MACHINES: Mapping[str, tuple[int, int, int | None]] = {
    "x86_64": (0, 0xC000003E, 0x40000000),
    "aarch64": (1, 0xC00000B7, None),
}

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _FLAGS = 0, 4, 16  # offsets in struct seccomp_data; the flags of clone are its first argument
_KILL, _ALLOW = 0x80000000, 0x7FFF0000
_EPERM, _ENOSYS = 0x00050001, 0x00050026  # fail with that errno


def seccomp_filter() -> bytes | None:
    """The filter for this machine's processor. None: no table for it, and the sandbox does without."""
    machine = _MACHINES.get(os.uname().machine)
    return None if machine is None else b"".join(struct.pack("HBBI", *line) for line in _lines(*machine))


def _lines(column: int, arch: int, foreign: int | None) -> Iterator[tuple[int, int, int, int]]:
    """Instructions: code, how many to skip where it holds, and where it does not, operand."""
    yield _LOAD, 0, 0, _ARCH
    yield _EQUAL, 1, 0, arch
    yield _RETURN, 0, 0, _KILL
    yield _LOAD, 0, 0, _NUMBER
    if foreign is not None:
        yield _AT_LEAST, 0, 1, foreign
        yield _RETURN, 0, 0, _ENOSYS
    for numbers in _REFUSED.values():
        yield _EQUAL, 0, 1, numbers[column]
        yield _RETURN, 0, 0, _EPERM
    yield _EQUAL, 0, 1, _CLONE3  # its flags lie in memory, where no filter looks; libc then takes clone
    yield _RETURN, 0, 0, _ENOSYS
    yield _EQUAL, 0, 3, _CLONE[column]
    yield _LOAD, 0, 0, _FLAGS
    yield _ANY_BIT, 0, 1, _NAMESPACES
    yield _RETURN, 0, 0, _EPERM
    yield _RETURN, 0, 0, _ALLOW
