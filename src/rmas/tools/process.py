"""A program under way: fed, listened to, watched and ended in time. How it was started is somebody else's business.

The surprising thing: output is read while it comes, and what is beyond the limit is thrown away. A program that prints
for ever fills no memory here; one that never reads its input blocks nobody.
"""

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import IO, Literal, NamedTuple, final

from rmas.errors import ConfigError
from rmas.settings import require
from rmas.tools.watch import Holding

StoppedBy = Literal["", "time", "output", "memory", "files", "caller"]
MAX_FILES = 10_000  # in the folder of a program: each takes kernel memory that no size counts
TICK = 0.05  # seconds between two looks at what a program holds
_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a program may use. Beyond it, it is ended or a call of its own fails."""

    seconds: float = 10.0  # of the clock, start included
    cpu_seconds: int = 10  # of each process
    memory_mib: int = 512  # address space of each process, and memory of all of them together
    processes: int = 32  # threads count
    file_mib: int = 16  # all that is written, and any one file
    output_kib: int = 256  # of stdout; of stderr the last so many are kept
    files: int = 64  # open at a time

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            require(value > 0, f"limits: {name}", value, "more than 0")


class Outcome(NamedTuple):
    """How a program ended. `exit_code`: its own, 128 + the signal that ended it, or None where a limit did."""

    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float
    stopped_by: StoppedBy


class Started(NamedTuple):
    """A program as it was started. `kill` ends it and all that it started; twice is fine, after `close` is not."""

    popen: subprocess.Popen[bytes]
    kill: Callable[[], None]
    look: Callable[[], Holding]
    has_run: Callable[[], bool]  # asked after the end: did it get as far as the program?
    close: Callable[[], None]


@final
class Process:
    """A program under way, its clock running since `began`. Somebody has to `wait` once, in a thread of their choice.

    The thread that started it has to live as long as it does: the kernel ends the program with its parent thread.
    """

    def __init__(self, started: Started, *, stdin: bytes, limits: Limits, began: float) -> None:
        self._started, self._unread, self._limits = started, memoryview(stdin), limits
        self._began = began
        self._stopped_by: StoppedBy = ""
        self._out, self._err = bytearray(), bytearray()
        self._lock, self._is_over = threading.Lock(), False

    def stop(self) -> None:
        """End the program now, from any thread. Over already: nothing happens."""
        self._stop("caller")

    def wait(self) -> Outcome:
        """Feed it, collect its output, and return when every process of it is gone.

        Raises ConfigError with what was said where the sandbox could not be set up. Whatever is raised, none survives.
        """
        popen = self._started.popen
        try:
            self._attend(popen)
            seconds = time.monotonic() - self._began
            code = popen.wait()
            err = self._err.decode(errors="replace")
            if not (self._stopped_by or self._started.has_run()):
                raise ConfigError(f"sandbox: {_last_line(err) or f'it ended with {code}'}. The program was not run.")
        finally:
            self._end(popen)
        stopped_by = "time" if code == 128 + signal.SIGXCPU and not self._stopped_by else self._stopped_by
        out = self._out.decode(errors="replace")
        return Outcome(None if stopped_by else code, out, err, seconds, stopped_by)

    def _stop(self, reason: StoppedBy) -> None:
        with self._lock:
            if not self._is_over:
                self._stopped_by = self._stopped_by or reason
                self._started.kill()

    def _end(self, popen: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._is_over = True
            self._started.kill()
            popen.wait()
            for pipe in (popen.stdin, popen.stdout, popen.stderr):
                assert pipe is not None
                pipe.close()
            self._started.close()

    def _attend(self, popen: subprocess.Popen[bytes]) -> None:
        """Until the first process is gone; with it, in a sandbox, are all."""
        assert popen.stdin is not None
        assert popen.stdout is not None
        assert popen.stderr is not None
        ended = os.pidfd_open(popen.pid)
        next_look = self._began + TICK
        try:
            with selectors.DefaultSelector() as ready:
                ready.register(ended, selectors.EVENT_READ)
                for pipe, event, handle in (
                    (popen.stdin, selectors.EVENT_WRITE, self._feed),
                    (popen.stdout, selectors.EVENT_READ, self._hear),
                    (popen.stderr, selectors.EVENT_READ, self._overhear),
                ):
                    os.set_blocking(pipe.fileno(), False)
                    ready.register(pipe, event, (pipe, handle))
                while True:
                    found = {key.fd: key.data for key, _ in ready.select(TICK)}
                    for pipe, handle in (data for data in found.values() if data):
                        if not handle(pipe):
                            ready.unregister(pipe)
                            if pipe is popen.stdin:
                                pipe.close()
                    if ended in found:
                        break
                    if (now := time.monotonic()) >= next_look:
                        next_look = now + TICK
                        self._check(now)
        finally:
            os.close(ended)
        for pipe, handle in ((popen.stdout, self._hear), (popen.stderr, self._overhear)):
            for _ in range(1 + (1 << 20) // _CHUNK):  # what the pipe still holds; its writers are gone
                if not handle(pipe):
                    break

    def _check(self, now: float) -> None:
        if now - self._began >= self._limits.seconds:
            self._stop("time")
        memory, files = self._started.look()
        if memory > self._limits.memory_mib << 20:
            self._stop("memory")
        elif files > MAX_FILES:
            self._stop("files")

    def _feed(self, pipe: IO[bytes]) -> bool:
        """Write what the pipe takes. False: all is written, or nobody reads."""
        try:
            self._unread = self._unread[os.write(pipe.fileno(), self._unread[:_CHUNK]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return len(self._unread) > 0

    def _hear(self, pipe: IO[bytes]) -> bool:
        data, limit = _read(pipe), self._limits.output_kib << 10
        if data is None:
            return True
        self._out += data
        if len(self._out) > limit:
            del self._out[limit:]
            self._stop("output")
        return len(data) > 0

    def _overhear(self, pipe: IO[bytes]) -> bool:
        data = _read(pipe)
        if data is None:
            return True
        self._err += data
        del self._err[: max(len(self._err) - (self._limits.output_kib << 10), 0)]
        return len(data) > 0


def _read(pipe: IO[bytes]) -> bytes | None:
    """What is there; nothing at the end of the stream; None where there is nothing yet."""
    try:
        return os.read(pipe.fileno(), _CHUNK)
    except BlockingIOError:
        return None


def _last_line(text: str) -> str:
    return next((line.strip().rstrip(".") for line in reversed(text.splitlines()) if line.strip()), "")
