"""The isolated way to start a program: bubblewrap, with the interpreter, its standard library and nothing else to see.

The surprising thing is the user. The kernel keeps no process limit for the user 0, in whatever namespace. So where we
are root, the program becomes a user that nobody is: a number drawn for this run alone, mapped into the namespace.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import NamedTuple, final

from rmas.errors import ConfigError
from rmas.tools.process import Limits, Started
from rmas.tools.seccomp import seccomp_filter
from rmas.tools.watch import Holding, look

FOLDER = "/tmp"  # the only writable place
PACKAGES = "/packages"
# A fixed hash seed: a program that prints a set has to get the same verdict each time.
ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/bin",
    "HOME": FOLDER,
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "MALLOC_ARENA_MAX": "1",  # else each thread takes 64 MiB of address space
    "OPENBLAS_NUM_THREADS": "1",  # numpy's threads count as processes
}
PYTHON_FLAGS = ("-s", "-P", "-B", "-X", "utf8")
INSIDE = Path(__file__).with_name("inside.py")

_USER = 65534
_FIRST_FREE_USER, _FREE_USERS = 1_879_048_192, 1 << 24  # above what accounts and containers are given
_ALL_USERS = ["0", "0", "4294967295"]  # /proc/self/uid_map outside any user namespace
_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store", "/gnu/store", "/etc/ld.so.cache")
_DEVICES = ("null", "zero", "full", "random", "urandom")


class Job(NamedTuple):
    """What to run: files by their names in the folder, the first of them the program, and what it is given."""

    files: Mapping[str, bytes]
    arguments: Sequence[str]
    limits: Limits
    inherited: Sequence[int]  # open file descriptors, the same numbers inside
    packages: Sequence[Path]  # folders of packages that can be imported


@final
class Bubblewrap:
    """Starts programs through the bwrap at `path`."""

    name = "bubblewrap"

    def __init__(self, path: str) -> None:
        self._is_root = os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == _ALL_USERS
        self._python = interpreter()
        self._filter = seccomp_filter()
        capabilities = ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID") if self._is_root else ()
        self._isolation = (
            *(path, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
            *("--unshare-cgroup-try", "--as-pid-1", "--die-with-parent", "--new-session", "--hostname", "sandbox"),
            *("--cap-drop", "ALL", *capabilities, "--clearenv"),
            *(word for item in ENVIRONMENT.items() for word in ("--setenv", *item)),
            *(() if self._is_root else ("--uid", str(_USER), "--gid", str(_USER))),
        )
        self._system = tuple(_system(self._python))

    def start(self, job: Job) -> Started:
        """Set up the namespaces and start the program in them. What fails in there is told by `wait`."""
        with ExitStack() as passing, ExitStack() as kept:
            status, their_status = map(kept.enter_context, _pipe())
            lifeline, our_lifeline = map(kept.enter_context, _pipe())
            files = {name: _in_memory(passing, content) for name, content in job.files.items()}
            given = [their_status.fileno(), lifeline.fileno(), *files.values(), *job.inherited]
            words = [*self._isolation, "--json-status-fd", str(their_status.fileno())]
            if self._filter is not None:
                given.append(_in_memory(passing, self._filter))
                words += ["--seccomp", str(given[-1])]
            if self._is_root:
                nowhere = passing.enter_context(FileIO(os.devnull, "wb")).fileno()
                given.append(nowhere)  # bwrap waits for its users only where it can say who it is
                words += ["--userns-block-fd", str(lifeline.fileno()), "--info-fd", str(nowhere)]
            words += [*self._view(job, files), "--", str(self._python), *PYTHON_FLAGS, "/inside.py"]
            user = _USER if self._is_root else -1
            words += inside_arguments(job, FOLDER, job.limits.processes + 1, user, lifeline.fileno(), PACKAGES)
            popen = start_piped(words, given, {})
            their_status.close()
            lifeline.close()
            # Printed once the namespaces are there; nothing where they cannot be had.
            first = json.loads(status.readline() or b"{}").get("child-pid")
            if self._is_root and first is not None:
                _map_users(first, popen)
                our_lifeline.write(b"\n")
            kept.pop_all()
        return _started(popen, first, status, our_lifeline)

    def _view(self, job: Job, files: Mapping[str, int]) -> Iterator[str]:
        """The file system as the program sees it. `files`: their contents, by descriptor."""
        yield from ("--perms", "1777", "--size", str(job.limits.file_mib << 20), "--tmpfs", FOLDER)
        for name, descriptor in files.items():
            for parent in reversed(Path(FOLDER, name).parents[:-2]):
                yield from _open(str(parent), "0777")
            yield from ("--file", str(descriptor), f"{FOLDER}/{name}")
        yield from self._system
        if job.packages:
            yield from _open(PACKAGES)
        for package in job.packages:
            yield from ("--ro-bind", str(package), f"{PACKAGES}/{package.name}")
        yield from ("--remount-ro", "/", "--chdir", FOLDER)


def interpreter() -> Path:
    """The Python that runs us, as installed: not its copy in a virtual environment."""
    return Path(sys.base_exec_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()


def inside_arguments(
    job: Job, folder: str, processes: int = -1, user: int = -1, lifeline: int = -1, packages: str = ""
) -> list[str]:
    """The command line of inside.py; -1 and "" are none. `packages`: the folder that they are in."""
    mib, limits = 1 << 20, job.limits
    values = (limits.cpu_seconds, limits.memory_mib * mib, processes, limits.file_mib * mib, limits.files, 0)
    program = f"{folder}/{next(iter(job.files))}"
    return [*map(str, (*values, user, lifeline)), packages if job.packages else "", program, *job.arguments]


def start_piped(
    words: Sequence[str], inherited: Iterable[int], environment: Mapping[str, str], cwd: str | None = None
) -> "subprocess.Popen[bytes]":
    """A process of its own session with three unbuffered pipes, and no descriptors but those and `inherited`."""
    try:
        return subprocess.Popen(
            words,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=tuple(inherited),
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as problem:
        raise ConfigError(f"sandbox: {words[0]} cannot be started ({problem}). The program was not run.") from None


def _started(popen: "subprocess.Popen[bytes]", first: int | None, status: FileIO, lifeline: FileIO) -> Started:
    """`first`: process 1 of the sandbox as it is called outside; the kernel ends the others with it."""
    process = None
    if first is not None:
        try:
            process = os.pidfd_open(first)  # a number may be given to another process, this may not
        except ProcessLookupError:
            first = None  # over already

    def kill() -> None:
        if process is None:
            popen.kill()
            return
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
        except ProcessLookupError:
            return

    def close() -> None:
        status.close()
        lifeline.close()
        if process is not None:
            os.close(process)

    return Started(
        popen=popen,
        kill=kill,
        look=lambda: Holding(0, 0) if first is None else look(first, FOLDER),
        has_run=lambda: b'"exit-code"' in status.read(),  # bwrap writes it where the program was reached
        close=close,
    )


def _map_users(pid: int, popen: "subprocess.Popen[bytes]") -> None:
    """Give the namespace of `pid` its root, who sets up, and a user of this run's own, who runs the program."""
    user = _FIRST_FREE_USER + secrets.randbelow(_FREE_USERS)
    try:
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"0 0 1\n{_USER} {user} 1\n", encoding="ascii")
    except OSError as problem:
        with popen:
            popen.kill()
        raise ConfigError(f"sandbox: no user for the program ({problem}). The program was not run.") from None


def _system(python: Path) -> Iterator[str]:
    """What is there to read: system libraries, the interpreter, its standard library, this package's inside.py."""
    for path in map(Path, _SYSTEM):
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.exists():
            yield from _show(path)
    library = Path(sysconfig.get_path("stdlib")).resolve()
    modules = Path(sysconfig.get_config_var("DESTSHARED") or library).resolve()
    shared = Path(sysconfig.get_config_var("LIBDIR") or "/", sysconfig.get_config_var("INSTSONAME") or "")
    for path in (python, library, *([modules] if modules.is_dir() else []), *([shared] if shared.is_file() else [])):
        yield from _show(path)
    for folder in (library / "site-packages", library / "dist-packages", Path("/usr/lib/python3")):
        if folder.is_dir():  # what is installed there is nobody's business
            yield from ("--tmpfs", str(folder), "--remount-ro", str(folder))
    yield from ("--ro-bind", str(INSIDE), "/inside.py", *_open("/dev"), "--symlink", FOLDER, "/dev/shm")
    for device in _DEVICES:
        yield from ("--dev-bind", f"/dev/{device}", f"/dev/{device}")


def _show(path: Path) -> Iterator[str]:
    for parent in reversed(path.parents[:-1]):
        yield from _open(str(parent))
    yield from ("--ro-bind", str(path), str(path))


def _open(folder: str, mode: str = "0755") -> tuple[str, ...]:
    """Make a folder that everybody may enter; those that bwrap makes on its way are closed to the program's user."""
    return ("--perms", mode, "--dir", folder)


def _in_memory(stack: ExitStack, content: bytes) -> int:
    """A descriptor that reads `content`; no file of it is ever on disk."""
    descriptor = os.memfd_create("rmas")
    stack.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _pipe() -> tuple[FileIO, FileIO]:
    """The reading and the writing end, unbuffered."""
    reading, writing = os.pipe()
    return FileIO(reading, "rb"), FileIO(writing, "wb")
