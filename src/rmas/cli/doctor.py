"""`rmas doctor`: what this machine has, which shipped systems it can run, and what to do about the others."""

import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rmas.cli.options import CacheOption, JsonOption, cache_folder
from rmas.cli.screen import print_json, size, table

_PACKAGES = ("rmas", "torch", "transformers", "tokenizers", "safetensors", "gguf")


def doctor(cache: CacheOption = None, as_json: JsonOption = False) -> None:
    """Show versions, devices and memory, and which systems can run here."""
    from rmas.cli.facts import machine_memory

    folder = cache_folder(cache)
    memory = machine_memory()
    report = {
        "versions": {"python": platform.python_version(), **{name: installed_version(name) for name in _PACKAGES}},
        "devices": _devices(memory),
        "cache": {"folder": str(folder), "free_bytes": _free(folder)},
        "systems": _systems(folder, cache, memory),
    }
    print_json(report) if as_json else print(_describe(report))


def installed_version(package: str) -> str:
    """The version of an installed package, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _devices(memory: int | None) -> list[dict[str, Any]]:
    """The processor and every GPU; `dtype` is what `auto` means there."""
    import torch

    from rmas.backbone import pick_dtype

    names = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    auto = {name: str(pick_dtype("auto", torch.device(name))).removeprefix("torch.") for name in names}
    return [
        {
            "device": name,
            "name": torch.cuda.get_device_name(name) if name != "cpu" else f"{torch.get_num_threads()} threads",
            "memory_bytes": torch.cuda.get_device_properties(name).total_memory if name != "cpu" else memory,
            "has_bfloat16": auto[name] == "bfloat16",
            "dtype_auto": auto[name],
        }
        for name in names
    ]


def _free(folder: Path) -> int:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(there).free


def _systems(folder: Path, chosen: Path | None, memory: int | None) -> list[dict[str, Any]]:
    from rmas.cli.facts import system_facts
    from rmas.systemfile import known_systems, load_spec

    option = "" if chosen is None else f" --cache {chosen}"
    rows = []
    for name in known_systems():
        facts = system_facts(load_spec(name), folder)
        room = _room(facts.roles[0].device, memory) if facts.roles else memory
        needed = facts.memory_bytes
        rows.append(
            {
                "system": name,
                "models": list(dict.fromkeys(role.source.name for role in facts.roles)),
                "memory_bytes": needed,
                "fits": None if room is None or needed is None else needed <= room,
                "missing": list(facts.missing),
                "command": f"rmas fetch {name}{option}" if facts.missing else None,
            }
        )
    return rows


def _room(device: str, memory: int | None) -> int | None:
    import torch

    return memory if device == "cpu" else int(torch.cuda.get_device_properties(device).total_memory)


def _describe(report: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {found}" for name, found in report["versions"].items())
    devices = [
        (
            device["device"],
            device["name"],
            size(device["memory_bytes"]),
            "yes" if device["has_bfloat16"] else "no",
            device["dtype_auto"],
        )
        for device in report["devices"]
    ]
    systems = [
        (
            row["system"],
            ", ".join(row["models"]) or "none",
            size(row["memory_bytes"]),
            {True: "yes", False: "no", None: "?"}[row["fits"]],
            "all here" if not row["missing"] else f"missing: {', '.join(row['missing'])}",
            row["command"] or "",
        )
        for row in report["systems"]
    ]
    return "\n".join(
        [
            f"versions  {versions}",
            f"cache     {report['cache']['folder']} ({size(report['cache']['free_bytes'])} free)",
            "",
            table(("device", "name", "memory", "bfloat16", "dtype auto"), devices),
            "",
            table(("system", "models", "needs", "fits", "weights", "to get them"), systems),
        ]
    )
