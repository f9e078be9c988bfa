"""What a training leaves behind: the bundle, its card and its curves."""

from pathlib import Path

from rmas.checkpoint import save_system
from rmas.system import System
from rmas.train.config import LoopConfig
from rmas.train.loop import FitResult


def finish(
    system: System, config: LoopConfig, out: Path, result: FitResult, *, stage: str, num_train: int, num_dev: int
) -> None:
    """Write the bundle that `rmas ask` loads, with card and curves beside it."""
    save_system(system, out)
