"""The way back: a bundle of ours in the release's layout, a repository a role and one for the outer links.

The tensors are those of the bundle's file, byte for byte, under the release's names.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rmas.checkpoint import LINKS, MANIFEST, read_links, read_manifest
from rmas.errors import CheckpointError, ConfigError
from rmas.pattern import Edge
from rmas.release.layout import INNER, OUTER, TYPE
from rmas.release.table import KEYS, TASKS, type_of
from rmas.release.weights import to_release
from rmas.sources import Progress, ensure_room, silent
from rmas.spec import SystemSpec
from rmas.systemfile import load_spec
from rmas.weights import prepare

_LEFT_OUT = ("*.pt", "adapter_*", INNER, "README.md", ".*")  # of a model's folder: not the model


def export(
    bundle: str,
    out: Path,
    *,
    cache: Path,
    task: str | None = None,
    with_models: bool = True,
    progress: Progress = silent,
) -> None:
    """Write `out/<role>/` and `out/outer/`, which appear together or not at all.

    `task`: math or code, for manifests by task; None: flat ones. `with_models`: each role's folder holds a copy of its
    model, as the release's code wants it. Raises ConfigError for a bundle that the release has no words for.
    """
    spec = load_spec(bundle)
    if task not in (None, *TASKS):
        raise ConfigError(f"task is {task!r}, expected {' or '.join(TASKS)}, or none.")
    if spec.pattern.name not in KEYS or spec.links is None or spec.memory != "latest":
        reason = "no links" if spec.links is None else f"memory {spec.memory!r}"
        reason = reason if spec.pattern.name in KEYS else f"pattern {spec.pattern.name!r}"
        raise ConfigError(f"{bundle}: {reason}: the release has no such system (patterns {', '.join(KEYS)}).")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: exists and is not empty. Name a new folder.")
    folder = spec.links.parent
    types = {f"inner.{role}": type_of(entry.inner, "inner") for role, entry in spec.roles.items()}
    types |= {f"outer.{edge}": type_of(design, "outer") for edge, design in spec.outer.items()}
    tensors = read_links(folder / LINKS, read_manifest(folder / MANIFEST))
    unfinished = out.with_name(f"{out.name}.partial")
    try:
        for role in spec.roles:
            _write_role(unfinished / role, types[f"inner.{role}"], _of(tensors, f"inner.{role}"), task)
            if with_models:
                _copy_model(prepare(spec.roles[role].source, cache=cache, progress=progress), unfinished / role)
        _write_outer(unfinished / "outer", spec, types, tensors, task)
        if out.is_dir():
            out.rmdir()
        unfinished.replace(out)
    except OSError as problem:
        raise CheckpointError(
            f"{out}: cannot be written ({problem.strerror}). Free some room or check the path."
        ) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _of(tensors: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{place}."): t for name, t in tensors.items() if name.startswith(f"{place}.")}


def _write_role(folder: Path, type: str, tensors: Mapping[str, Tensor], task: str | None) -> None:
    folder.mkdir(parents=True)
    name = f"adapter({task}).pt" if task else "adapter.pt"
    torch.save(to_release(tensors, "inner"), folder / name)
    _write_json(folder / TYPE, {"adapter_type": type})
    if task:
        _write_json(folder / INNER, {"tasks": {task: {"adapter.pt": name}}})


def _write_outer(
    folder: Path, spec: SystemSpec, types: Mapping[str, str], tensors: Mapping[str, Tensor], task: str | None
) -> None:
    folder.mkdir(parents=True)
    entries = []
    for key, edge in KEYS[spec.pattern.name].items():
        link, name = _of(tensors, f"outer.{edge}"), _file_name(edge, task)
        torch.save(to_release(link, "outer"), folder / name)
        bias = link.get("proj2.bias", link["proj1.bias"])
        widths = {"in_dim": link["proj1.weight"].shape[1], "out_dim": len(bias)}
        entries.append({"legacy_key": key, "filename": name, "adapter_type": types[f"outer.{edge}"], **widths})
    listed: dict[str, Any] = {"tasks": {task: {"adapters": entries}}} if task else {"adapters": entries}
    _write_json(folder / OUTER, {"format_version": 1, "paradigm": spec.pattern.name, **listed})


def _file_name(edge: Edge, task: str | None) -> str:
    ending = f"({task}).pt" if task else ".pt"
    return f"{edge.source.capitalize()}-{edge.target.capitalize()}-Outerlink{ending}"


def _copy_model(source: Path, folder: Path) -> None:
    """The files of a model, those of a release beside it left out."""
    files = [path for path in source.iterdir() if path.is_file() and not any(map(path.match, _LEFT_OUT))]
    ensure_room(folder, sum(path.stat().st_size for path in files))
    for path in files:
        shutil.copyfile(path, folder / path.name)


def _write_json(path: Path, table: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
