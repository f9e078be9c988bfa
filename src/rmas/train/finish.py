"""What a training leaves behind: the bundle, its card and its curves."""

from pathlib import Path
from typing import Literal

import torch

from rmas.checkpoint import save_system
from rmas.system import System
from rmas.train.card import write_card
from rmas.train.config import LoopConfig
from rmas.train.facts import gather, gather_training
from rmas.train.journal import draw_curves, read_log
from rmas.train.run import FitResult


def kept_dtype(config: LoopConfig) -> torch.dtype | None:
    """Of links in a bundle; None: as they are."""
    return torch.bfloat16 if config.save_dtype == "bfloat16" else None


def finish(
    system: System,
    config: LoopConfig,
    out: Path,
    result: FitResult,
    *,
    stage: Literal["inner", "outer"],
    trained: str,
    num_train: int,
    num_dev: int,
) -> None:
    """Write the bundle that `rmas ask` loads, with its card (README.md) and curves (curves.png) beside it.

    Raises CheckpointError where the folder cannot be written.
    """
    manifest = save_system(system, out, dtype=kept_dtype(config))
    groups = (("inner", system.inner), ("outer", system.outer))
    counts = {
        f"{place}.{name}": sum(p.numel() for p in link.parameters())
        for place, links in groups
        for name, link in links.items()
    }
    curves = draw_curves(out)
    training = gather_training(
        config,
        read_log(out),
        stage=stage,
        trained=trained,
        num_train=num_train,
        num_dev=num_dev,
        steps=result.steps,
        best_step=result.best_step if result.is_complete else result.steps,
        is_complete=result.is_complete,
        notes=system.notes,
        has_curves=curves is not None,
    )
    write_card(out, gather(system.spec, manifest, counts, training))
