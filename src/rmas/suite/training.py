"""The trainings of a suite: whose training a method answers with, and what it trains on.

A training is checked as `rmas train` checks it. With a base it goes on from another's bundle, seed by seed.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_type_hints

from rmas.configfile import fit_in
from rmas.errors import ConfigError, RmasError, unknown
from rmas.eval.config import EvalConfig
from rmas.systemfile import load_spec
from rmas.tomlfile import TomlFile, read_toml
from rmas.train.config import AgentConfig, OuterConfig
from rmas.train.resolve import resolved as resolved_training
from rmas.train.resolve import spec_for
from rmas.train.stages import STAGES, Name, StageConfig

BORROWED = ("trained", "answerer")  # of a method: whose training it takes


class Training(NamedTuple):
    """A training of one method with one seed. `folder`: where its bundle goes, below the suite's.

    `base`: whose bundle it trains on; None: `system` as it is, which with a base is what that began with.
    """

    method: str
    stage: Name
    system: str
    config: StageConfig
    folder: Path
    base: "Training | None" = None

    @property
    def lineage(self) -> "tuple[Training, ...]":
        """Itself, last, behind what it is based on."""
        return (self,) if self.base is None else (*self.base.lineage, self)


def teacher_of(
    file: TomlFile, name: str, methods: Mapping[str, Mapping[str, Any]]
) -> tuple[str | None, Literal["system", "answerer"]]:
    """Whose training `name` answers with (None: nobody's), and what of its settings the bundle is."""
    method, key = methods[name], f"methods.{name}"
    named = [part for part in ("train", *BORROWED) if part in method]
    if not named:
        return None, "system"
    part = named[0]
    if len(named) > 1 and named != ["train", "trained"]:
        raise file.fail(f"{key}.{named[1]}", f"the method has {part} already. Keep one of them.")
    if part == "train" and len(named) == 1:
        return name, "system"
    part = named[-1]
    other = methods.get(method[part]) if isinstance(method[part], str) else None
    if other is None or "train" not in other:
        known = [name for name, table in methods.items() if "train" in table]
        raise file.fail(f"{key}.{part}", unknown("method that trains", str(method[part]), known))
    if part == "trained" and "system" in method:
        raise file.fail(f"{key}.system", f"its system is what {method[part]} has trained. Leave system out.")
    if part == "answerer" and not (isinstance(other["train"], dict) and other["train"].get("stage") == "agent"):
        raise file.fail(
            f"{key}.answerer", f"{method[part]} tunes no agent (stage agent), so it has no answerer to lend."
        )
    return name if "train" in method else method[part], "answerer" if part == "answerer" else "system"


def told_by(training: Training) -> dict[str, Any]:
    """What of a cell's settings its training says: the system, and the rounds and messages that it was for."""
    told: dict[str, Any] = {"system": training.system} if training.base is None else told_by(training.base)
    if isinstance(training.config, OuterConfig):
        told = _in_latents(told) | {"rounds": training.config.rounds, "latent_steps": training.config.latent_steps}
    if isinstance(training.config, AgentConfig) and not training.config.is_alone:
        told["rounds"] = training.config.rounds
        if training.config.channel == "text":
            told |= {"solver": "text", "message_tokens": training.config.message_tokens}
        else:
            told = _in_latents(told)
            if training.config.latent_steps is not None:
                told["latent_steps"] = training.config.latent_steps
    return told


def _in_latents(told: Mapping[str, Any]) -> dict[str, Any]:
    """Without what a text team that training goes on from has told."""
    return {key: value for key, value in told.items() if key not in ("solver", "message_tokens")}


def training_of(
    file: TomlFile, name: str, methods: Mapping[str, Mapping[str, Any]], seed: int, *, for_: tuple[str, ...] = ()
) -> Training:
    """The training of `name` with `seed`, its settings checked as `rmas train` checks them. `for_`: the methods that
    are based on it."""
    method = methods[name]
    key, table = f"methods.{name}.train", method["train"]
    base = None
    if "trained" in method:
        if name in for_:
            raise file.fail(f"methods.{name}.trained", f"{' on '.join([*for_, name])}: nobody trains first.")
        teacher_of(file, name, methods)
        base = training_of(file, method["trained"], methods, seed, for_=(*for_, name))
    if not isinstance(table, dict) or not isinstance(table.get("stage"), str) or table["stage"] not in STAGES:
        raise file.fail(key, f"expected a table with a stage ({', '.join(STAGES)}), got {table!r:.80}.")
    stage: Name = table["stage"]
    cls, system = STAGES[stage].config, str(method.get("system", EvalConfig.system)) if base is None else base.system
    file.only(table, ("stage", "config", *(part.name for part in fields(cls))), prefix=f"{key}.")
    if "config" in table:
        shared = read_toml(Path(str(table["config"])), ConfigError)
        shared.only(shared.table, [part.name for part in fields(cls)])
        table = shared.table | table
    if "data" not in table:
        raise file.fail(key, 'names no data. Add data = "…".')
    for part in ("seed", "data_seed"):
        if part in table:
            raise file.fail(f"{key}.{part}", "the seeds of a suite say it: seeds = [0, 1]. Leave it out.")
    settings = {part: value for part, value in table.items() if part not in ("stage", "config")}
    try:
        spec = load_spec(system)
        config = cls(**{**fitted(file, cls, settings, key), "seed": seed, "data_seed": seed})
        if isinstance(config, OuterConfig):
            config = resolved_training(config, spec_for(config, spec))
    except RmasError as problem:
        raise file.fail(key, str(problem)) from None
    return Training(name, stage, system, config, Path("trained") / f"{name}-seed{seed}", base)


def fitted(file: TomlFile, cls: type, settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    """`settings` as what the fields of `cls` hold. Raises ConfigError: file, line, key."""
    hints = get_type_hints(cls)
    return {name: fit_in(file, f"{key}.{name}", value, hints[name]) for name, value in settings.items()}
