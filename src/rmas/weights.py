"""The weights of a system's models: where they are on this machine, unpacked, and loaded."""

import hashlib
from pathlib import Path

from rmas.backbone import HFBackbone, convert_gguf, load_backbone, merge_adapter, pick_device, pick_dtype, tiny_backbone
from rmas.sources import Progress, Source, ensure_room, fetch, find, silent
from rmas.spec import RoleSpec, SystemSpec

Backbones = dict[RoleSpec, HFBackbone]  # by `RoleSpec.model`


def mirror_notes(spec: SystemSpec, *, cache: Path) -> tuple[str, ...]:
    """What an answer should say about its weights: a short name stands for the hub's, or for a mirror's 4-bit copy."""
    found = {entry.source.name: find(entry.source, cache=cache) for entry in spec.roles.values() if entry.source.model}
    return tuple(
        f"{name}: 4-bit weights from the package index ({path.name}), not the hub's"
        for name, path in found.items()
        if path is not None and path.suffix == ".gguf"
    )


def open_backbones(spec: SystemSpec, loaded: Backbones, *, cache: Path, progress: Progress = silent) -> None:
    """Put the models of `spec` that are not among `loaded` there, adapters added into their weights."""
    for entry in (role.model for role in spec.roles.values()):
        if entry not in loaded:
            loaded[entry] = open_backbone(
                entry.source, cache=cache, device=entry.device, dtype=entry.dtype, progress=progress
            )
            if entry.adapter is not None:
                merge_adapter(loaded[entry], entry.adapter)


def open_backbone(source: Source, *, cache: Path, device: str, dtype: str, progress: Progress = silent) -> HFBackbone:
    """Weights from a source, fetched and unpacked where need be -> a frozen backbone."""
    if source.kind == "tiny":
        return tiny_backbone(source.name.removeprefix("tiny:"))
    where = pick_device(device)
    folder = prepare(source, cache=cache, progress=progress)
    progress(f"loading {source.name}", 0, 1)
    backbone = load_backbone(folder, name=source.name, device=where, dtype=pick_dtype(dtype, where))
    progress(f"loading {source.name}", 1, 1)
    return backbone


def prepare(source: Source, *, cache: Path, progress: Progress = silent) -> Path:
    """The transformers folder of a source: fetched, and unpacked from GGUF, unless that was done before."""
    path = fetch(source, cache=cache, progress=progress)
    if path.suffix != ".gguf":
        return path
    if not unpacked(path, cache).exists():
        progress(f"unpacking {source.name}, once", 0, 1)
        unpack(path, cache)
        progress(f"unpacking {source.name}, once", 1, 1)
    return unpacked(path, cache)


def unpack(file: Path, cache: Path) -> None:
    """Dequantise a GGUF file into its place in `cache`, unless that was done before. On one core, for 20 to 50 s."""
    folder = unpacked(file, cache)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        ensure_room(folder.parent, 5 * file.stat().st_size)  # 4-bit blocks become bfloat16
        convert_gguf(file, folder)


def unpacked(file: Path, cache: Path) -> Path:
    """Where the dequantised copy of a GGUF file belongs: a new file of the same name gets a new place."""
    stat = file.stat()
    key = hashlib.sha256(f"{file.name} {stat.st_size} {file.resolve()} {stat.st_mtime_ns}".encode()).hexdigest()[:12]
    return cache / "unpacked" / f"{file.stem}-{key}"


def is_ready(source: Source, *, cache: Path) -> bool:
    """Whether a source's weights are on this machine."""
    return source.kind == "tiny" or find(source, cache=cache) is not None
