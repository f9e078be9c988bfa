"""A training's settings on a system: what it does not name, the system says; what cannot be is refused. No torch."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rmas.designs import SOFT_TOKEN
from rmas.errors import BackboneError, ConfigError, unknown
from rmas.spec import SystemSpec
from rmas.train.config import AgentConfig, DataConfig, OuterConfig


def spec_for(config: DataConfig, spec: SystemSpec) -> SystemSpec:
    """The system that a training of `spec` loads: with outer links of its own, or the answerer as the one agent, or
    without the adapter that goes on to train.

    Raises ConfigError where that has another rank or alpha, BackboneError where it cannot be read.
    """
    if isinstance(config, OuterConfig) and config.outer is not None:
        return spec.with_outer(config.outer)
    if not spec.roles:
        return spec
    spec = spec.alone() if config.is_alone else spec
    if isinstance(config, AgentConfig) and config.method == "lora":
        spec = spec.going_on(shared=config.shared)
        if spec.begun is not None:
            _check_scale(spec.begun, config)
    return spec


def _check_scale(folder: Path, config: AgentConfig) -> None:
    """Refuse to go on from an adapter of another rank or alpha, or from none."""
    path = folder / "adapter_config.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = {"rank": kept["r"], "alpha": kept["lora_alpha"]}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise BackboneError(f"{path}: cannot be read ({problem}). Get the adapter again.") from None
    for name, number in found.items():
        if (given := vars(config)[name]) != number:
            raise ConfigError(
                f"{name} is {given}, but training goes on from {folder}, which has {number}. Say {name} = {number}."
            )


def resolved(config: OuterConfig, spec: SystemSpec) -> OuterConfig:
    """The same config with the system's rounds and latent steps where it names none. Raises ConfigError."""
    if config.outer is not None and (others := set(spec.outer.values()) - {config.outer}):
        raise ConfigError(f"outer is {config.outer}, but {spec.name} has {', '.join(sorted(others))}. Leave outer out.")
    if config.keep_thoughts and spec.is_constant:
        raise ConfigError("keep_thoughts is set, but every message is a constant: nobody thinks. Leave it out.")
    if config.keep_thoughts and spec.halts:
        raise ConfigError(
            f"keep_thoughts is set, but thoughts of {spec.name} halt: none has a fixed length. Leave it out."
        )
    rounds = spec.rounds if config.rounds is None else config.rounds
    latent_steps = spec.latent_steps if config.latent_steps is None else config.latent_steps
    for number in (rounds, *(row[1] for row in config.curriculum)):
        if number < spec.pattern.least_rounds:
            raise ConfigError(
                f"rounds is {number}, but in pattern {spec.pattern.name} nobody is heard before round "
                f"{spec.pattern.least_rounds}: nothing to train. Use {spec.pattern.least_rounds} or more."
            )
    if 0 in (latent_steps, *(row[2] for row in config.curriculum)):
        raise ConfigError("latent_steps is 0: no message, so nothing to train. Use 1 or more.")
    check_vectors(spec, latent_steps, config.curriculum)
    return replace(config, rounds=rounds, latent_steps=latent_steps)


def latents_of(config: AgentConfig, spec: SystemSpec) -> int:
    """How long the latent messages are that an answerer is tuned with: the system's length where it names none."""
    return config.latent_steps or spec.latent_steps


def check_vectors(spec: SystemSpec, latent_steps: int, curriculum: Sequence[tuple[int, int, int]]) -> None:
    """Refuse messages of another length than learned constants have. Raises ConfigError."""
    for steps in (latent_steps, *(row[2] for row in curriculum)):
        is_other = steps > spec.latent_steps or latent_steps != spec.latent_steps  # a curriculum may begin with fewer
        if spec.has_constant and is_other:
            raise ConfigError(
                f"latent_steps is {steps}, but the constant messages of {spec.name} hold {spec.latent_steps} vectors. "
                "Set latent_steps in the system file."
            )


def trained_roles(spec: SystemSpec, wanted: Sequence[str]) -> tuple[str, ...]:
    """The roles whose inner link trains: those of `wanted` (empty: all) that have parameters; a soft token has none.

    Raises ConfigError for an unknown role, and where none is left.
    """
    for role in wanted:
        if role not in spec.pattern.roles:
            raise ConfigError("roles: " + unknown("role", role, spec.pattern.roles))
    asked = [role for role in spec.pattern.roles if not wanted or role in wanted]
    kept = tuple(role for role in asked if spec.roles[role].inner != SOFT_TOKEN)
    if not kept:
        raise ConfigError(
            f"{spec.name}: the inner links of {', '.join(asked)} are soft tokens, which hold nothing to train. "
            "Give the roles an inner design, or train the outer links."
        )
    return kept
