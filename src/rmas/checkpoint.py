"""Bundles: `system.toml`, one safetensors file of links, and a manifest that says which backbones they fit.

A bundle weighs megabytes and carries no copy of a backbone. All files are written beside their places, then renamed,
so a save that runs out of room leaves the old bundle whole. Loading refuses tensors that were altered and backbones
that differ, with both values.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import tomli_w
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from rmas.alignment import fingerprint
from rmas.backbone import HFBackbone
from rmas.errors import CheckpointError
from rmas.packs import PACKS
from rmas.spec import SystemSpec

LINKS, MANIFEST, SYSTEM = "links.safetensors", "manifest.json", "system.toml"
_FORMAT = 1


class Kept(Protocol):
    """What a bundle is made from: a System, or what is to become one."""

    @property
    def spec(self) -> SystemSpec: ...

    @property
    def backbones(self) -> Mapping[str, HFBackbone]: ...

    def state_dict(self) -> dict[str, Tensor]: ...


class Linked(Kept, Protocol):
    """What a bundle's links go into."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over tensors by name: shape, dtype and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def save_system(
    system: Kept,
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    told: Mapping[str, Any] | None = None,
    roles: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """Write a bundle that `load_system(str(folder))` reads; -> its manifest. The backbones stay where they are.

    `dtype`: to keep the links in, such as bfloat16 for half the size; None: as they are. `told`, `roles`: as in
    `system_files`. It answers through its links, whatever the system's own file says.
    """
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in system.state_dict().items()}
    manifest = manifest_of(system) | {"digest": digest(tensors)}
    files = {LINKS: save(tensors), MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode()}
    answers = {"solver": "recursive"} if system.spec.solver == "text" else {}
    write_files(folder, files | system_files(system.spec, {**answers, **(told or {}), "links": LINKS}, roles))
    return manifest


def manifest_of(system: Kept) -> dict[str, Any]:
    """What the links were made for: backbones with revision, width, vocabulary and weights, and every link's design."""
    spec = system.spec
    return {
        "format": _FORMAT,
        "pattern": spec.pattern.name,
        "roles": {
            role: {
                "backbone": backbone.name,
                "revision": spec.roles[role].source.revision,
                "width": backbone.dim,
                "vocabulary": backbone.tokenizer.vocabulary_hash,
                "weights": fingerprint(backbone),
                "inner": spec.roles[role].inner,
            }
            for role, backbone in system.backbones.items()
        },
        "outer": {str(edge): design for edge, design in spec.outer.items()},
    }


def load_links(system: Linked, file: Path) -> tuple[str, ...]:
    """Put a bundle's links into `system`, all or none. Returns notes. Raises CheckpointError with the two values."""
    manifest = read_manifest(file.parent / MANIFEST)
    notes = _compare(manifest, manifest_of(system), file.parent)
    tensors = read_links(file, manifest)
    expected = system.state_dict()
    for name in sorted(expected.keys() ^ tensors.keys()):
        raise CheckpointError(f"{file}: tensor {name} is {'missing' if name in expected else 'not in this system'}.")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{file}: {name} is {tuple(tensor.shape)}, this system has {tuple(expected[name].shape)}."
            )
    system.load_state_dict(tensors)
    return notes


def read_links(file: Path, manifest: Mapping[str, Any]) -> dict[str, Tensor]:
    """A bundle's tensors by name, if they are those of its manifest. Raises CheckpointError."""
    try:
        tensors = load_file(file)
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such file. Restore it, or drop `links` from the system file.") from None
    except (SafetensorError, OSError) as problem:
        raise CheckpointError(f"{file}: truncated or altered ({problem}). Get the bundle again.") from None
    if (found := digest(tensors)) != manifest["digest"]:
        raise CheckpointError(
            f"{file}: its tensors have digest {found[:16]}…, the manifest says {str(manifest['digest'])[:16]}…. "
            "The file was altered: get the bundle again."
        )
    return tensors


def read_manifest(path: Path) -> dict[str, Any]:
    """What a bundle says of itself. Raises CheckpointError where it is missing, not readable, or of another format."""
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        complete = isinstance(manifest, dict) and _is_complete(manifest)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file. A bundle needs its manifest: get it again.") from None
    except (OSError, ValueError) as problem:
        raise CheckpointError(f"{path}: cannot be read ({problem}). Get the bundle again.") from None
    if not complete or manifest["format"] != _FORMAT:
        raise CheckpointError(f"{path}: not a manifest of format {_FORMAT}. Get the bundle again, or update rmas.")
    return manifest


def _is_complete(manifest: dict[str, Any]) -> bool:
    """Whether every key that is compared is there; what the keys hold is compared later."""
    roles = manifest.get("roles")
    needed = {"backbone", "width", "vocabulary", "weights", "inner"}
    return (
        {"format", "outer", "digest"} <= manifest.keys()
        and isinstance(roles, dict)
        and all(isinstance(role, dict) and needed <= role.keys() for role in roles.values())
    )


def _compare(theirs: dict[str, Any], ours: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """Refuse links of other backbones or designs. Same model, other weights of it (a quantised copy): a note."""
    notes = []
    for role, mine in ours["roles"].items():
        made_for = theirs["roles"].get(role)
        if made_for is None:
            raise CheckpointError(
                f"{folder}: the bundle has no links for role {role!r} (has {sorted(theirs['roles'])})."
            )
        for key in ("width", "vocabulary", "inner"):
            if made_for[key] != mine[key]:
                raise CheckpointError(
                    f"{folder}: made for a {role} with {key} {_short(made_for[key])} ({made_for['backbone']}), "
                    f"this system's {mine['backbone']} has {_short(mine[key])}. Use the bundle's own backbones."
                )
        if made_for["weights"] != mine["weights"]:
            if made_for["backbone"] != mine["backbone"]:
                raise CheckpointError(
                    f"{folder}: made for {role} = {made_for['backbone']} (weights {made_for['weights']}), "
                    f"this system has {mine['backbone']} (weights {mine['weights']}). Use the bundle's own backbones."
                )
            notes.append(
                f"links were made on another copy of {mine['backbone']} ({made_for['weights']}, here {mine['weights']})"
            )
    if theirs["outer"] != ours["outer"]:
        raise CheckpointError(f"{folder}: made with outer links {theirs['outer']}, this system has {ours['outer']}.")
    return tuple(notes)


def system_files(
    spec: SystemSpec, told: Mapping[str, Any], roles: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, bytes]:
    """The system file of a bundle, with a pattern and prompts of the user's own beside it; paths become absolute.

    `told` and, by role, `roles` stand over what the spec's own file says. Links are those of `told`, or none.
    """
    table = {key: value for key, value in spec.table.items() if key != "links"} | dict(told)
    if "links" in table:
        table.pop("start", None)
    files = {}
    if str(table.get("pattern")).endswith(".toml"):
        own = spec.path.parent / table["pattern"]
        table["pattern"] = f"pattern/{own.name}"
        files[table["pattern"]] = own.read_bytes()
    if "prompts" in table and PACKS not in spec.pack.path.parents:
        table["prompts"] = f"prompts/{spec.pack.path.name}"
        files[table["prompts"]] = spec.pack.path.read_bytes()
        tasks = spec.pack.path.parent / "tasks.toml"
        files |= {"prompts/tasks.toml": tasks.read_bytes()} if tasks.exists() else {}
    if "corpus" in table.get("tools", {}):
        table["tools"] = table["tools"] | {"corpus": spec.tools.corpus}
    entries = dict(table["roles"])
    for role, entry in spec.roles.items():
        placed = {"backbone": entry.source.path, "adapter": entry.adapter}
        absolute = {key: str(path.absolute()) for key, path in placed.items() if path is not None}
        entries[role] = {**entries[role], **absolute, **(roles or {}).get(role, {})}
    table["roles"] = entries
    return files | {SYSTEM: tomli_w.dumps(table).encode()}


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write every file beside its place first, then rename them all: a disk that fills up changes nothing."""
    paths = {folder / name: content for name, content in files.items()}
    unfinished = {path: path.with_name(f"{path.name}.partial") for path in paths}
    path = folder
    try:
        for path, content in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished[path].write_bytes(content)
        for path in paths:
            unfinished[path].replace(path)
    except OSError as problem:
        raise CheckpointError(
            f"{path}: cannot be written ({problem.strerror}). Free some room or check the path."
        ) from None
    finally:
        for leftover in unfinished.values():
            if leftover.exists():
                leftover.unlink()


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 16 else text[:16] + "…"
