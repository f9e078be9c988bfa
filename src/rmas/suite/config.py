"""What a suite file says: tasks, methods, and which of them are trained first.

    reference = "single"          # the method that the others are compared with
    seeds = [0, 1]                # each trained method is trained once a seed, which also orders its batches
    batch_size = 32               # and every other setting of `rmas eval`: for all cells that say nothing else

    [tasks.sums]
    task = "reasoning_gym:chain_sum?size=2000&seed=7"
    limit = 1000

    [methods.single]
    solver = "single"
    system = "smol"

    [methods.lora]
    solver = "single"
    system = "smol"               # what is trained; its bundle is what then answers
    train = { stage = "agent", data = "reasoning_gym:chain_sum?size=500&seed=1", steps = 60 }
    tasks = ["sums"]              # default: all

A method that names another's training instead of its own: `trained = "links"` answers with the bundles of `links`, and
`answerer = "lora"` puts what `lora` has tuned in the place of its own system's answerer. Both have a run a seed. With
`trained` and a `train` of its own, it trains further on what the other has trained.

A method with `row = "links"` stands in the row of `links` for its own tasks: one method, other systems for other tasks.
`[rows.best]` with `of = ["links", "lora"]` makes a row of other rows, and of a task that several have the last one's
cell; with `by = "dev"` that of the training with the best dev accuracy, seed by seed, of those that are finished.
Statements and tables name it as they name a method; nothing more is asked for it.

With `majority = true`, `samples` and a temperature, what most samples of a question say is its answer.

What else can be asked for stands in `rmas.suite.asked`: equal budgets, a price, statements, tables.

Files and folders are seen from where the command runs, as in `rmas eval`. Of a cell's settings the method's win over
the task's, and those over the suite's.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rmas.errors import ConfigError, RmasError, unknown
from rmas.eval.config import EvalConfig
from rmas.eval.task import find_task
from rmas.suite.asked import KEYS, Asked, read_asked
from rmas.suite.cell import resolved
from rmas.suite.training import BORROWED, Training, fitted, teacher_of, told_by, training_of
from rmas.tomlfile import TomlFile, read_toml
from rmas.train.config import InnerConfig, OuterConfig

_OWN = ("reference", "seeds", "tasks", "methods", "rows")
_TITLES = ("name", "seeds", "mean", "gap", "figure", "gain")  # columns of the tables that are no tasks
_ENDS = ("_n", "_p", "_error", "_difference", "_p_unadjusted")
_EVAL = tuple(part.name for part in fields(EvalConfig))
_SHARED = tuple(
    name for name in _EVAL if name not in ("task", "solver", "system", "answerer", "data", "without", "limit")
)


class Cell(NamedTuple):
    """One method, with one seed if it is trained, on one task. `training`: what has to be finished before.

    `label`: its own name; `method`: the row of the tables in which it stands. `place`: what of the settings its bundle
    then is.
    """

    method: str
    label: str
    seed: int | None
    task: str
    config: EvalConfig
    training: Training | None
    place: Literal["system", "answerer"] = "system"
    is_majority: bool = False  # what most samples of a question say counts, not each of them

    @property
    def name(self) -> str:
        """Its own name, and the seed of its training."""
        return self.label if self.seed is None else f"{self.label}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        return Path("runs") / self.task / self.name


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A suite file, resolved into its cells: every name in it was looked up, no weights were loaded."""

    path: Path
    reference: str
    tasks: tuple[str, ...]
    rows: Mapping[str, Mapping[str, tuple[str, ...]]]  # of the tables: by task, whose cells stand in it; dev chooses
    cells: tuple[Cell, ...]
    asked: Asked

    @property
    def methods(self) -> tuple[str, ...]:
        """The rows' names, in their order."""
        return tuple(self.rows)

    @property
    def pairs(self) -> dict[tuple[str, str], tuple[Cell, ...]]:
        """Every row with every task that it has, and the cells there."""
        return {
            (row, task): tuple(cell for cell in self.cells if cell.label in labels and cell.task == task)
            for row, by_task in self.rows.items()
            for task, labels in by_task.items()
        }

    def place(self, method: str) -> tuple[int, int] | None:
        """Where a method stands in a grid: rounds in training, rounds. None: it has no trained links."""
        labels = {label for several in self.rows[method].values() for label in several}
        cell = next(cell for cell in self.cells if cell.label in labels)
        if cell.training is None or not isinstance(cell.training.config, OuterConfig):
            return None
        return cell.training.config.rounds or 0, cell.config.rounds or 0

    @property
    def trainings(self) -> tuple[Training, ...]:
        return trainings_of(self.cells)


def trainings_of(cells: Sequence[Cell]) -> tuple[Training, ...]:
    """What has to be trained before `cells`, each once."""
    trainings = [one for cell in cells if cell.training is not None for one in cell.training.lineage]
    return tuple({training.folder: training for training in trainings}.values())


def load_suite(
    path: Path, *, data: Mapping[str, str] | None = None, named: Callable[[str], str] | None = None
) -> Suite:
    """Read and check a suite. `data`: by task, a copy of one's own. `named`: what a method's system is to be called.

    Raises ConfigError: file, line, key, fix.
    """
    file = read_toml(path, ConfigError)
    table = file.table
    file.only(table, (*_OWN, *KEYS, *_SHARED))
    tasks, methods = _tables(file, "tasks"), _tables(file, "methods")
    for name, source in (data or {}).items():
        if name not in tasks:
            raise ConfigError("data: " + unknown("task", name, tasks))
        tasks[name] = tasks[name] | {"data": source}
    for name, task in tasks.items():
        file.only(task, ("task", "data", "without", "limit", *_SHARED), prefix=f"tasks.{name}.")
        if not isinstance(task.get("task"), str):
            raise file.fail(f"tasks.{name}.task", f"expected a task's name, got {task.get('task')!r}.")
        if name in _TITLES or any(name == f"{other}{end}" for other in (*tasks, *_TITLES) for end in _ENDS):
            raise file.fail(f"tasks.{name}", "the name is a column's of the tables. Give the task another.")
    for name, method in methods.items():
        file.only(
            method,
            ("solver", "system", "train", *BORROWED, "majority", "row", "tasks", "limit", *_SHARED),
            prefix=f"methods.{name}.",
        )
        if named is not None and isinstance(method.get("system"), str):
            methods[name] = method | {"system": named(method["system"])}
        if (row := method.get("row", name)) not in methods:
            raise file.fail(f"methods.{name}.row", unknown("method", str(row), methods))
    shared = {key: value for key, value in table.items() if key in _SHARED}
    cells = [cell for name in methods for cell in _cells_of(file, name, methods, tasks, shared, _seeds(file))]
    rows = _rows_of(file, cells)
    pairs = {(row, task) for row, labels in rows.items() for task in labels}
    reference = table.get("reference", next(iter(rows)))
    if reference not in rows:
        raise file.fail("reference", unknown("method", str(reference), rows))
    suite = Suite(
        path=path,
        reference=str(reference),
        tasks=tuple(tasks),
        rows=rows,
        cells=tuple(cells),
        asked=read_asked(file, rows, tasks, pairs, str(reference)),
    )
    for layout in suite.asked.layouts:
        places = [place for method in layout.methods if (place := suite.place(method)) is not None]
        if layout.is_grid and len(set(places)) < len(places):
            raise file.fail(f"tables.{layout.name}.methods", "two of them have the same rounds in training and after.")
    return suite


def _rows_of(file: TomlFile, cells: Sequence[Cell]) -> dict[str, dict[str, tuple[str, ...]]]:
    """By row and task, whose cells stand there: the rows of methods, in their order, then those made of others."""
    rows: dict[str, dict[str, tuple[str, ...]]] = {}
    for cell in cells:
        (other,) = rows.setdefault(cell.method, {}).setdefault(cell.task, (cell.label,))
        if other != cell.label:
            raise file.fail(f"methods.{cell.label}.tasks", f"{cell.task} has row {cell.method} from {other} already.")
    untrained = {cell.label for cell in cells if not _has_dev(cell)}
    made: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, table in (_tables(file, "rows") if "rows" in file.table else {}).items():
        key = f"rows.{name}"
        file.only(table, ("of", "by"), prefix=f"{key}.")
        if name in {cell.label for cell in cells}:
            raise file.fail(key, "a method has that name. Give the row another.")
        of = table.get("of")
        if not isinstance(of, list) or not of:
            raise file.fail(f"{key}.of", f"expected a list of methods, got {of!r}.")
        for other in of:
            if other not in rows:
                raise file.fail(f"{key}.of", unknown("method", str(other), rows))
        if "by" not in table:
            made[name] = {task: labels for other in of for task, labels in rows[other].items()}
            continue
        if table["by"] != "dev":
            raise file.fail(f"{key}.by", f'expected "dev", got {table["by"]!r}.')
        made[name] = {}
        for task, labels in (pair for other in of for pair in rows[other].items()):
            made[name][task] = (*made[name].get(task, ()), *labels)
            if lacking := sorted(untrained.intersection(labels)):
                why = f"{lacking[0]} has no dev accuracy to be chosen by. Leave it out, or leave by out."
                raise file.fail(f"{key}.of", why)
    return rows | made


def _has_dev(cell: Cell) -> bool:
    """Whether its training tells a dev accuracy."""
    return (
        cell.training is not None and not isinstance(cell.training.config, InnerConfig) and cell.training.config.dev > 0
    )


def _cells_of(
    file: TomlFile,
    name: str,
    methods: Mapping[str, Mapping[str, Any]],
    tasks: Mapping[str, Mapping[str, Any]],
    shared: Mapping[str, Any],
    seeds: Sequence[int],
) -> list[Cell]:
    key, method = f"methods.{name}", methods[name]
    teacher, place = teacher_of(file, name, methods)
    votes = method.get("majority", False)
    if not isinstance(votes, bool):
        raise file.fail(f"{key}.majority", f"expected true or false, got {votes!r}.")
    wanted = method.get("tasks", list(tasks))
    if not isinstance(wanted, list) or not wanted:
        raise file.fail(f"{key}.tasks", f"expected a list of tasks, got {wanted!r}.")
    for task in wanted:
        if not isinstance(task, str) or task not in tasks:
            raise file.fail(f"{key}.tasks", unknown("task", str(task), tasks))
    own = {
        part: value for part, value in method.items() if part not in ("train", "majority", "row", "tasks", *BORROWED)
    }
    cells = []
    for seed in [None] if teacher is None else seeds:
        training = None if seed is None or teacher is None else training_of(file, teacher, methods, seed)
        for task in tasks:
            if task not in wanted:
                continue
            told = {} if training is None or place == "answerer" else told_by(training)
            settings = {**told, **shared, **tasks[task], **own}
            try:
                config = EvalConfig(**fitted(file, EvalConfig, settings, key))
                found = find_task(config.task)
                config = resolved(config, found)
            except RmasError as problem:
                raise file.fail(key, f"on {task}: {problem}") from None
            if votes and found.format == "code":
                raise file.fail(f"{key}.majority", f"programs of {task} have no majority. Leave it out.")
            if votes and config.samples == 1:
                raise file.fail(f"{key}.majority", f"on {task} a question has one sample. Set samples and temperature.")
            cells.append(Cell(str(method.get("row", name)), name, seed, task, config, training, place, votes))
    return cells


def bundle_of(cell: Cell, out: Path) -> EvalConfig:
    """The settings of a cell, with the bundle of its training in its place."""
    if cell.training is None:
        return cell.config
    bundle = str(out / cell.training.folder)
    return replace(cell.config, system=bundle) if cell.place == "system" else replace(cell.config, answerer=bundle)


def _tables(file: TomlFile, key: str) -> dict[str, dict[str, Any]]:
    table = file.table.get(key)
    if not isinstance(table, dict) or not table:
        raise file.fail(key, f"none given. Add a table [{key}.NAME].")
    for name, value in table.items():
        if not isinstance(value, dict):
            raise file.fail(f"{key}.{name}", f"expected a table, got {value!r}.")
        if not re.fullmatch(r"[^\W_][\w.-]*", name):
            raise file.fail(f"{key}.{name}", "its name becomes a folder's: use letters, digits, - and _.")
    return table


def _seeds(file: TomlFile) -> list[int]:
    seeds = file.table.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise file.fail("seeds", f"expected a list of whole numbers of 0 or more, got {seeds!r}.")
    return list(dict.fromkeys(seeds))
