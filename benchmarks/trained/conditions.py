"""Conditions: the same questions to the same frozen models, with what is in doubt taken away or put in its place.

A condition is a row of the config: which system (`trained`, `constant`, `untrained`), how many rounds, which control.
Systems that name the same models share them, so that a batch's prompt heads are read once for all conditions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from rmas.checkpoint import load_links
from rmas.engine import Channel, Controlled, LatentChannel, Sampling, TextChannel
from rmas.system import System, load_system, start_links
from rmas.systemfile import load_spec


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One way to answer: `rounds` is the last; every round up to it is answered too where `every_round` is set.

    `share`: the part of the questions that it answers, for conditions that need less certainty.
    """

    name: str
    system: System
    rounds: int
    channel: Channel
    every_round: bool
    form: str  # of a dealt question: split, or whole
    share: float

    def columns(self) -> list[str]:
        first = 1 if self.every_round else self.rounds
        return [f"{self.name} R={r}" for r in range(first, self.rounds + 1)]


def open_conditions(config: Mapping[str, Any], root: Path) -> list[Condition]:
    """The conditions of a config, their systems loaded. Paths of bundles are relative to `root`."""
    systems: dict[str, System] = {}
    for name, place in config["systems"].items():
        systems[name] = _open(place, root, like=next(iter(systems.values()), None))
    return [_condition(name, row, systems, config) for name, row in config["conditions"].items()]


def _open(place: Mapping[str, Any], root: Path, *, like: System | None) -> System:
    path = str(root / place["path"]) if "/" in place["path"] else place["path"]
    if like is None:
        return load_system(path, start=place.get("start"))
    spec = load_spec(path).placed(device="auto", dtype="auto")
    if "start" in place:
        spec = replace(spec, start=place["start"], links=None)
    system = System(spec, {role: _backbone(like, spec.roles[role].source.name) for role in spec.pattern.roles})
    if spec.links is not None:
        load_links(system, spec.links)
    else:
        start_links(system, cache=user_cache_path("rmas"))
    return system


def _backbone(like: System, name: str) -> Any:
    """The model of that name that another system has loaded."""
    return next(model for model in like.backbones.values() if model.name == name)


def _condition(
    name: str, row: Mapping[str, Any], systems: Mapping[str, System], config: Mapping[str, Any]
) -> Condition:
    system = systems[row.get("system", "trained")]
    steps = row.get("latent_steps", system.spec.latent_steps)
    channel: Channel = system.channel(steps) if steps else LatentChannel(latent_steps=0)
    if row.get("channel") == "text":
        channel = TextChannel(sampling=Sampling(max_new_tokens=config["message_tokens"]))
    if "control" in row:
        channel = Controlled(channel=channel, control=row["control"])
    return Condition(
        name=name,
        system=system,
        rounds=row.get("rounds", system.spec.rounds),
        channel=channel,
        every_round=row.get("every_round", False),
        form=row.get("form", "split"),
        share=row.get("share", 1.0),
    )


def shared_heads(conditions: Sequence[Condition]) -> bool:
    """Whether all conditions ask the same models with the same wording, so that prompt heads can be shared."""
    first = conditions[0].system
    return all(
        condition.system.spec.pack.path == first.spec.pack.path
        and all(condition.system.backbones[role] is first.backbones[role] for role in first.pattern.roles)
        for condition in conditions
    )
