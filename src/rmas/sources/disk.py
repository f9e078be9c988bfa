"""What every writer of a big file needs: room, one writer at a time, and a checksum."""

import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rmas.errors import SourceError

_GIB = 1 << 30
_log = logging.getLogger(__name__)


def ensure_room(path: Path, needed_bytes: int) -> None:
    """Raise SourceError unless the disk that `path` is on, or will be on, has `needed_bytes` free. Writes nothing."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if free < needed_bytes:
        raise SourceError(
            f"needs {needed_bytes / _GIB:.2f} GiB, {free / _GIB:.2f} GiB free at {path}; "
            "free some room or pass --cache DIR."
        )


def sha256_of(path: Path) -> str:
    """The SHA-256 of a whole file, in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the right to write `path` (a `.lock` file beside it); waits, with one log line, while another has it."""
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.warning("%s: another process is writing it; waiting", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """An empty folder at `path` that is gone afterwards; one that a killed process left is emptied first."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
