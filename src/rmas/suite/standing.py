"""What stands in a suite's folders: whether it is finished, and whether it still is what the suite asks for.

The surprising thing: a training's `trained.json` stands for its bundle. It has the seconds that the training took, so
one that was made again differs, and nobody has to read gigabytes to see it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from rmas.errors import ConfigError
from rmas.eval.config import EvalConfig
from rmas.eval.grade import GRADING
from rmas.eval.record import SUMMARY
from rmas.runfolder import check_config, has_begun
from rmas.suite.cell import system_of
from rmas.suite.config import Cell, Suite, bundle_of
from rmas.suite.training import Training
from rmas.systemfile import load_spec
from rmas.train.config import FREE as TRAINING_FREE

TRAINED = "trained.json"
MADE_OF = "made_of"  # a digest in trained.json, and among a summary's facts on its system


def training_stands(training: Training, out: Path) -> bool:
    """Whether it is finished. Raises ConfigError where what stands there is another one."""
    folder = out / training.folder
    if not has_begun(folder):
        return False
    check_config(folder, training.config, free=TRAINING_FREE)
    if not (folder / TRAINED).exists():
        return False
    facts = facts_in(folder)
    if facts["system"] != training.system:
        raise ConfigError(f"{folder}: trained on {facts['system']}, now {training.system}. Use a new folder.")
    if facts.get(MADE_OF, now := ground_of(training, out)) != now:
        ground = training.system if training.base is None else training.base.folder
        raise ConfigError(
            f"{folder}: {ground} was another system when it was trained on. Delete the folder to train anew, "
            "or give the system back what it had."
        )
    return True


def facts_in(folder: Path) -> dict[str, Any]:
    """What a finished training left to be told of it."""
    facts: dict[str, Any] = json.loads((folder / TRAINED).read_text(encoding="utf-8"))
    return facts


def ground_of(training: Training, out: Path) -> str:
    """A digest of what it trains on. Raises ConfigError where the training that it is based on is not finished."""
    if training.base is None:
        return load_spec(training.system).digest
    trained = out / training.base.folder / TRAINED
    if not trained.exists():
        raise ConfigError(f"{training.folder} trains on {training.base.folder}, which is not finished.")
    return hashlib.sha256(trained.read_bytes()).hexdigest()


def free_of(config: EvalConfig) -> tuple[str, ...]:
    """What may differ when a cell goes on: `data` too, where a copy of the same questions lies."""
    return (*config.free, "data")


def cell_stands(cell: Cell, out: Path) -> bool:
    """Whether it is finished. Raises ConfigError where what stands there is of other settings, models or links."""
    folder = out / cell.folder
    if not has_begun(folder):
        return False
    for training in cell.training.lineage if cell.training is not None else ():
        training_stands(training, out)
    config = config_of(cell)
    check_config(folder, config, free=free_of(config))
    if not (folder / SUMMARY).exists():
        return False
    summary, now = json.loads((folder / SUMMARY).read_text(encoding="utf-8")), made_of(cell, out)
    if now is not None and summary["system"].get(MADE_OF, now) != now:
        raise ConfigError(f"{folder}: made with another system or bundle than now. Delete the folder to run it anew.")
    had, wanted, count = summary["config"].get("limit"), cell.config.limit, summary["result"]["questions"]
    if wanted is not None and count > wanted:
        raise ConfigError(f"{folder}: holds {count} questions, limit is {wanted} now. Raise it, or delete the folder.")
    if had is not None and had != wanted:
        return False  # it grows
    return bool(summary.get("graders") == GRADING)  # else it is graded anew


def standing_cells(suite: Suite, out: Path) -> tuple[list[Cell], dict[str, str]]:
    """The cells that are finished, and by folder why others do not count although they are there."""
    done, refused = [], {}
    for cell in suite.cells:
        try:
            if cell_stands(cell, out):
                done.append(cell)
        except ConfigError as problem:
            refused[str(cell.folder)] = str(problem)
    return done, refused


def config_of(cell: Cell) -> EvalConfig:
    """The settings of a cell as its folder keeps them: bundles are seen from the suite's folder."""
    return bundle_of(cell, Path())


def made_of(cell: Cell, out: Path) -> str | None:
    """A digest of the system, the bundle and the solver's file behind a cell. None: the bundle is not there."""
    parts = []
    if cell.training is not None:
        trained = out / cell.training.folder / TRAINED
        if not trained.exists():
            return None
        parts.append(trained.read_text(encoding="utf-8"))
    if cell.training is None or cell.place == "answerer":
        parts.append(load_spec(system_of(cell.config)).digest)
    if cell.config.solver.endswith(".py"):
        parts.append(Path(cell.config.solver).read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
