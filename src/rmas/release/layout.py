"""Which file of a released repository holds which link. Reads manifests and configs, no tensor.

inner   innerlink_config.json's entry of the task, else `adapter(<task>).pt`, else `adapter.pt`
outer   outerlink_config.json, always: either `tasks` -> task -> `adapters`, or one flat list `adapters`
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rmas.errors import CheckpointError

INNER, OUTER, TYPE = "innerlink_config.json", "outerlink_config.json", "adapter_config.json"


class LinkFile(NamedTuple):
    """A state dict's file, and what its repository says of it; None: nothing."""

    path: Path
    type: str | None = None
    d_in: int | None = None
    d_out: int | None = None


def width_of(folder: Path) -> int:
    """The hidden size that a model's config.json states, its text model's where it has several."""
    path = folder / "config.json"
    config = read_json(path)
    text = config.get("text_config", config)
    width = text.get("hidden_size") if isinstance(text, dict) else None
    if not isinstance(width, int):
        raise CheckpointError(f"{path}: no hidden_size. Give the folder of a whole role repository.")
    return width


def inner_file(folder: Path, task: str | None) -> LinkFile:
    """The inner link of a role repository."""
    names = [f"adapter({task}).pt", "adapter.pt"] if task else ["adapter.pt"]
    if task and (listed := _listed(folder, task)):
        names = [listed]
    for name in names:
        if (folder / name).is_file():
            return LinkFile(folder / name, _type(folder))
    raise CheckpointError(f"{folder}: no inner link there: no {' or '.join(names)}. Give a whole role repository.")


def outer_files(folder: Path, task: str | None) -> dict[str, LinkFile]:
    """The outer links of a repository, by key."""
    path = folder / OUTER
    manifest = read_json(path)
    entries = manifest.get("adapters")
    if "tasks" in manifest:
        tasks = manifest["tasks"]
        if not isinstance(tasks, dict) or task not in tasks:
            have = sorted(tasks) if isinstance(tasks, dict) else tasks
            raise CheckpointError(f"{path}: no links for task {task} (have {have}). Pass --task with one of them.")
        entries = tasks[task].get("adapters") if isinstance(tasks[task], dict) else None
    if not isinstance(entries, list):
        raise CheckpointError(f"{path}: no list `adapters`, as {OUTER} has one. Get the repository again.")
    return dict(_outer_file(path, number, entry) for number, entry in enumerate(entries))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError for anything else."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file. Get the repository again.") from None
    except (OSError, ValueError) as problem:
        raise CheckpointError(f"{path}: cannot be read ({problem}). Get the repository again.") from None
    if not isinstance(table, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(table).__name__}. Get the repository again.")
    return table


def _listed(folder: Path, task: str) -> str | None:
    """The file that innerlink_config.json names for the task; None where there is none, or no such entry."""
    path = folder / INNER
    if not path.is_file():
        return None
    tasks = read_json(path).get("tasks")
    if not isinstance(tasks, dict):
        raise CheckpointError(f"{path}: no table `tasks`. Get the repository again.")
    if task not in tasks:
        return None
    entry = tasks[task]
    name = entry.get("adapter.pt") if isinstance(entry, dict) else None
    if name is None:
        raise CheckpointError(f"{path}: tasks.{task} lacks the key adapter.pt. Get the repository again.")
    return _plain(path, name)


def _type(folder: Path) -> str | None:
    path = folder / TYPE
    name = read_json(path).get("adapter_type") if path.is_file() else None
    return name if isinstance(name, str) else None


def _outer_file(path: Path, number: int, entry: object) -> tuple[str, LinkFile]:
    table: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
    for key in ("legacy_key", "filename"):
        if not isinstance(table.get(key), str):
            raise CheckpointError(f"{path}: adapters[{number}] lacks the text {key}. Get the repository again.")
    file = path.parent / _plain(path, table["filename"])
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file, though {path.name} names it. Get the repository again.")
    kinds = {"adapter_type": str, "in_dim": int, "out_dim": int}
    told = [table[key] if isinstance(table.get(key), kind) else None for key, kind in kinds.items()]
    return table["legacy_key"], LinkFile(file, *told)


def _plain(path: Path, name: object) -> str:
    if not isinstance(name, str) or Path(name).name != name:
        raise CheckpointError(f"{path}: {name!r} is no plain file name beside it. Such a manifest is not followed.")
    return name
