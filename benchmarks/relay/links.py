"""The relay's links: the inner stage, then the outer one, then accuracies on start states that no link has seen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import timed
from benchmarks.relay.build import write_system
from rmas.settings import CONTROLS
from rmas.system import System, load_system
from rmas.train.config import DataConfig, InnerConfig, OuterConfig
from rmas.train.data import load_examples
from rmas.train.dev import measure
from rmas.train.inner import train_inner
from rmas.train.outer import train_outer


def train_links(
    folder: Path,
    out: Path,
    *,
    inner: Mapping[str, Any],
    outer: Mapping[str, Any],
    rounds: int = 3,
    start: str = "align",
    earlier_weight: float = 1.0,
) -> dict[str, Any]:
    """Train both stages on a relay that `build` wrote. Held-out accuracies before, between and after; seconds."""
    file = write_system(folder, rounds=rounds, start=start)
    system = load_system(str(file), cache=out / "cache")
    before = held_out(system, folder)
    inner_config = InnerConfig(data=str(folder / "inner.jsonl"), **inner)
    _, inner_s = timed(lambda: train_inner(system, inner_config, out / "inner", resume=False, report=_silent))
    system = load_system(str(out / "inner"))
    between = held_out(system, folder)
    outer_config = OuterConfig(data=str(folder / "train.jsonl"), earlier_weight=earlier_weight, **outer)
    _, outer_s = timed(lambda: train_outer(system, outer_config, out / "outer", resume=False, report=_silent))
    return {
        "start": start,
        "earlier_weight": earlier_weight,
        "inner_s": inner_s,
        "outer_s": outer_s,
        "before": before,
        "after_inner": between,
        "after_outer": held_out(load_system(str(out / "outer")), folder),
    }


def held_out(system: System, folder: Path, *, batch_size: int = 64) -> Mapping[str, float]:
    """Exact match on the held-out start states after each round, and after the last under each control."""
    spec = system.spec
    examples = load_examples(DataConfig(data=str(folder / "held_out.jsonl")), roles=system.pattern.roles)
    return measure(
        system,
        examples,
        rounds=spec.rounds,
        channel_of=lambda _: system.channel(spec.latent_steps),
        probes=tuple(CONTROLS),
        batch_size=batch_size,
        max_new_tokens=spec.max_new_tokens,
    )


def _silent(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
    """No progress bar."""
