"""The settings that the authors recommend, as files for `rmas eval --config`. recommended.toml holds the numbers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from rmas.errors import ConfigError
from rmas.release.table import find_released
from rmas.tomlfile import read_toml
from rmas.wholefile import write_whole

GENERATIONS = ("june", "april")
_FILE = Path(__file__).with_name("recommended.toml")
_DECODING: Mapping[str, Any] = {"temperature": 0.6, "top_p": 0.95, "seed": 42}
_TOP_K = 50  # what transformers draws from where a model's generation config says nothing


def recommended(system: str, *, task: str | None, generation: str = "june") -> dict[str, dict[str, Any]]:
    """Settings of an evaluation by data set, for those that the links of `task` (None: all links) are meant for."""
    has_tasks, table = find_released(system).has_tasks, read_toml(_FILE, ConfigError).table
    found = {}
    for name, (batch_size, latent_steps, rounds) in table[generation].get(system, {}).items():
        if has_tasks and table["links"].get(name, "math") != task:
            continue
        size = {"batch_size": batch_size, "latent_steps": latent_steps, "rounds": rounds}
        own = {key: _of(table[key], system, name) for key in ("max_new_tokens", "temperature", "samples")}
        found[name] = {"task": name, **size, **_DECODING, **{key: value for key, value in own.items() if value}}
    return found


def write_settings(folder: Path, *, bundle: Path, system: str, task: str | None, answerer: Path) -> list[Path]:
    """`folder/<task>.toml`, and `<task>-april.toml` where the older code said otherwise; -> their paths.

    `answerer`: the folder of its model's generation config, whose top-k the release draws with.
    """
    files = {}
    for generation in GENERATIONS:
        for name, settings in recommended(system, task=task, generation=generation).items():
            path = folder / (f"{name}.toml" if generation == "june" else f"{name}-{generation}.toml")
            files[path] = {**settings, "system": str(bundle.absolute()), "top_k": top_k_of(answerer)}
    folder.mkdir(parents=True, exist_ok=True)
    for path, settings in files.items():
        write_whole(path, tomli_w.dumps(settings))
    return list(files)


def top_k_of(folder: Path) -> int:
    """The top-k that transformers draws with where nobody says otherwise: the model's generation config's."""
    path = folder / "generation_config.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8")).get("top_k") if path.is_file() else None
    except (ValueError, AttributeError, OSError):
        value = None
    return value if isinstance(value, int) and value >= 0 else _TOP_K


def _of(table: Mapping[str, Any], system: str, name: str) -> Any:
    return table.get(system, {}).get(name, table.get(name))
