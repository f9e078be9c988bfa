"""The folder of a training: claimed by its `config.toml`, and resumed only with the same one. No torch."""

import os
from contextlib import suppress
from pathlib import Path

from rmas.errors import ConfigError
from rmas.tomlfile import read_toml
from rmas.train.config import InnerConfig, OuterConfig, differences, load_config, to_toml

CONFIG = "config.toml"
_FREE = ("minutes", "save_every")  # when to stop and to save: no number depends on them


def claim_folder(out: Path, config: InnerConfig | OuterConfig, *, resume: bool) -> None:
    """Make `out` this training's folder: write its config, or on resume check that it is the same.

    A folder that holds nothing but a config was never begun, so calling twice is harmless, and so are several
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
        _compare(out, config)
    elif any(name != CONFIG and not name.endswith(".partial") for name in names):
        raise ConfigError(f"{out}: not empty. Pass --resume to go on, or choose another folder.")
    unfinished = out / f"{CONFIG}.{os.getpid()}.partial"
    try:
        out.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(to_toml(config), encoding="utf-8")
        unfinished.replace(out / CONFIG)
    except OSError as problem:
        with suppress(OSError):
            unfinished.unlink()
        raise _unwritable(out, problem) from None


def _compare(out: Path, config: InnerConfig | OuterConfig) -> None:
    begun = "outer" if "objective" in read_toml(out / CONFIG, ConfigError).table else "inner"
    if begun != ("outer" if isinstance(config, OuterConfig) else "inner"):
        raise ConfigError(f"{out}: holds a training of {begun} links. Resume that, or choose another folder.")
    before = load_config(type(config), out / CONFIG, ())
    changed = [
        f"{key} was {_shown(old)}, now {_shown(new)}"
        for key, old, new in differences(before, config)
        if key not in _FREE
    ]
    if changed:
        raise ConfigError(f"{out}: {'; '.join(changed)}. Resume with the same config, or choose another folder.")


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)


def _unwritable(out: Path, problem: OSError) -> ConfigError:
    return ConfigError(f"{out}: cannot be written ({problem.strerror or problem}). Choose another folder.")
