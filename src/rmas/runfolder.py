"""The folder of a run: claimed by its `config.toml`, and resumed only with the same one. No torch."""

from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

from rmas.configfile import differences, load_config, to_toml
from rmas.errors import ConfigError
from rmas.tomlfile import read_toml
from rmas.wholefile import write_whole

CONFIG = "config.toml"


def has_begun(out: Path) -> bool:
    """Whether a folder holds more than the config of a run that never began."""
    return out.is_dir() and any(_is_of_a_run(path.name) for path in out.iterdir())


def claim_folder(out: Path, config: Any, *, resume: bool, free: Collection[str] = ()) -> None:
    """Make `out` this run's folder: write its config, a frozen dataclass, or on resume check that it is the same.

    `free`: keys that may change, for no number depends on them. A folder that holds nothing but a config was never
    begun, so calling twice is harmless, and so are several
    processes. Raises ConfigError for a folder in use, one with nothing to resume, another config (key and both
    values), and one that cannot be written; nothing is changed then.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: not a folder. Choose another.")
    try:
        names = {path.name for path in out.iterdir()} if out.exists() else set()
    except OSError as problem:
        raise _unwritable(out, problem) from None
    if resume:
        if CONFIG not in names:
            raise ConfigError(f"{out}: nothing to resume, it holds no {CONFIG}. Begin without --resume.")
        check_config(out, config, free=free)
    elif any(map(_is_of_a_run, names)):
        raise ConfigError(f"{out}: not empty. Pass --resume to go on, or choose another folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / CONFIG, to_toml(config))
    except OSError as problem:
        raise _unwritable(out, problem) from None


def _is_of_a_run(name: str) -> bool:
    return name != CONFIG and not name.endswith(".partial")


def check_config(out: Path, config: Any, *, free: Collection[str] = ()) -> None:
    """Raises ConfigError where the run in `out` has another config than this one: each key and both values."""
    keys, ours = set(read_toml(out / CONFIG, ConfigError).table), {part.name for part in fields(config)}
    if keys - ours:
        raise ConfigError(f"{out}: holds a run of another kind. Resume that, or choose another folder.")
    before = load_config(type(config), out / CONFIG, ())
    changed = [
        f"{key} was {_shown(old)}, now {_shown(new)}"
        for key, old, new in differences(before, config)
        if key not in free
    ]
    if changed:
        raise ConfigError(f"{out}: {'; '.join(changed)}. Resume with the same config, or choose another folder.")


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)


def _unwritable(out: Path, problem: OSError) -> ConfigError:
    return ConfigError(f"{out}: cannot be written ({problem.strerror or problem}). Choose another folder.")
