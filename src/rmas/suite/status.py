"""How far a suite is: what is finished, begun, failed or to do. Read from its folders; no weights are loaded."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from rmas.errors import RmasError
from rmas.eval.record import read_records
from rmas.runfolder import has_begun
from rmas.suite.config import Cell, trainings_of
from rmas.suite.standing import cell_stands, training_stands
from rmas.suite.training import Training
from rmas.train.journal import read_log

State = Literal["finished", "begun", "failed", "to do"]


class Status(NamedTuple):
    """A training's or a cell's. `folder`: below the suite's; `told`: how far it is, or why it does not go on."""

    folder: Path
    state: State
    told: str = ""


def status_of(cells: Sequence[Cell], out: Path, failures: Mapping[str, str]) -> tuple[list[Status], list[Status]]:
    """Of the trainings that `cells` need, and of `cells`. `failures`: why some failed, by folder."""
    trainings = [_of_training(training, out, failures) for training in trainings_of(cells)]
    unfinished = {status.folder for status in trainings if status.state != "finished"}
    return trainings, [_of_cell(cell, out, failures, unfinished) for cell in cells]


def _of_training(training: Training, out: Path, failures: Mapping[str, str]) -> Status:
    folder = training.folder
    try:
        if training_stands(training, out):
            return Status(folder, "finished")
        lines = read_log(out / folder)
    except RmasError as problem:
        return Status(folder, "failed", str(problem))
    if str(folder) in failures:
        return Status(folder, "failed", failures[str(folder)])
    if not has_begun(out / folder):
        return Status(folder, "to do")
    step = max((line["step"] for line in lines), default=0)
    return Status(folder, "begun", f"{step} of {training.config.steps} steps")


def _of_cell(cell: Cell, out: Path, failures: Mapping[str, str], unfinished: Collection[Path]) -> Status:
    folder = cell.folder
    try:
        if cell_stands(cell, out):
            return Status(folder, "finished")
        held = len(read_records(out / folder))
    except RmasError as problem:
        return Status(folder, "failed", str(problem))
    if cell.training is not None and cell.training.folder in unfinished:
        return Status(folder, "to do", f"waits for {cell.training.folder}")
    if str(folder) in failures:
        return Status(folder, "failed", failures[str(folder)])
    if not held:
        return Status(folder, "to do")
    of = "" if cell.config.limit is None else f" of {cell.config.limit * cell.config.samples}"
    return Status(folder, "begun", f"{held}{of} samples")
