"""What is finished of a suite, by method and task, with its costs; and how two methods differ over tasks.

A trained method has several seeds: a question's result is then its mean over those that are finished, and errors are
over questions; how far apart its trainings lie is told beside them. Methods that share a training, as a control does,
are compared on the seeds that both have: a training with itself. Others are compared with all that each has, since
every training is a draw of its own. The mean over tasks counts every task alike; its error is that of independent
tasks, and its p is from the paired differences (two-sided, by their signs).
"""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rmas.errors import ConfigError
from rmas.eval.finished import Run, load_run
from rmas.eval.paired import Pairs, differences_of, pair, paired_difference
from rmas.eval.statistics import estimate
from rmas.eval.summary import majority
from rmas.suite.config import Cell, Suite
from rmas.suite.standing import TRAINED, facts_in

_log = logging.getLogger(__name__)
COSTS = ("prompt_tokens", "latent_thoughts", "completion_tokens", "sequential_steps", "seconds")
_EXACT = 18  # differing questions for which all signs are tried
_TRAINING = ("parameters", "examples", "tflop", "seconds")

Answers = Mapping[str, Sequence[float]]  # by question, the results of its samples


class Pooled(NamedTuple):
    """A method on a task: by seed its answers, run and cell."""

    answers: Sequence[Answers]
    runs: Sequence[Run]
    cells: Sequence[Cell]

    @property
    def folders(self) -> tuple[Path, ...]:
        """Of its cells; two rows with the same ones are one."""
        return tuple(cell.folder for cell in self.cells)

    @property
    def results(self) -> Answers:
        return self.of(self.seeds)

    @property
    def shares(self) -> list[float]:
        """By seed, the share of right answers."""
        return [estimate(list(each.values())).mean for each in self.answers]

    @property
    def seeds(self) -> set[int | None]:
        """Those of its cells; None is that of what is not trained."""
        return {cell.seed for cell in self.cells}

    @property
    def trainings(self) -> set[Path]:
        """The folders of all trainings that its cells stand on."""
        trainings = [cell.training for cell in self.cells if cell.training is not None]
        return {one.folder for training in trainings for one in training.lineage}

    def of(self, seeds: Collection[int | None]) -> Answers:
        """By question, the results of all samples of `seeds`."""
        told = [each for each, cell in zip(self.answers, self.cells, strict=True) if cell.seed in seeds]
        return {name: [x for each in told for x in each[name]] for name in told[0]}


Found = Mapping[tuple[str, str], Pooled]
Costs = Mapping[tuple[str, str], Mapping[str, float]]  # by method and task, a question


class Gap(NamedTuple):
    """How much one method is above another, as a share; `p` two-sided, not adjusted."""

    mean: float
    error: float
    p: float


def pool(suite: Suite, done: Collection[Cell], out: Path) -> Found:
    """Method and task -> what is `done` of them, of whichever seeds."""
    read: dict[tuple[Path, ...], Pooled | None] = {}  # what stands in several rows is read once
    found = {}
    for (method, task), group in suite.pairs.items():
        cells = [cell for cell in group if cell in done]
        if len(suite.rows[method][task]) > 1:
            cells = _best_by_dev(cells, out)
        own = tuple(cell.folder for cell in cells)
        if own not in read:
            read[own] = _pooled(cells, out)
        if (pooled := read[own]) is not None:
            found[method, task] = pooled
    return found


def _best_by_dev(cells: Sequence[Cell], out: Path) -> list[Cell]:
    """Of each seed the cell whose training has the best dev accuracy; of equal ones the lowest dev loss."""

    def dev(cell: Cell) -> tuple[float, float]:
        assert cell.training is not None, "checked as the suite was read"
        facts = facts_in(out / cell.training.folder)
        return facts["dev_accuracy"], -facts["dev_loss"]

    seeds = dict.fromkeys(cell.seed for cell in cells)
    return [max((cell for cell in cells if cell.seed == seed), key=dev) for seed in seeds]


def _pooled(group: Sequence[Cell], out: Path) -> Pooled | None:
    """The cells of one method on one task, one a seed; None where there is none that can be read."""
    finished: list[tuple[Cell, Run]] = []
    for cell in group:
        try:
            finished.append((cell, load_run(out / cell.folder)))
        except ConfigError as problem:  # a cell that was growing when it was cut off
            _log.warning("left out of the tables: %s", problem)
    if not finished:
        return None
    cells, runs = zip(*finished, strict=True)
    return Pooled([_voted(run) if cell.is_majority else run.results for cell, run in finished], runs, cells)


def _voted(run: Run) -> Answers:
    """Whether the majority of each question's samples is right."""
    return {name: [float(bool(majority(group)))] for name, group in run.groups.items()}


def pairs_of(found: Found, method: str, other: str, task: str) -> Pairs | None:
    """Their results on the questions that both were asked: the first ones, where one has a smaller limit.

    None where one of them is missing. Raises ConfigError where neither has all questions of the other.
    """
    mine, theirs = found.get((method, task)), found.get((other, task))
    if mine is None or theirs is None:
        return None
    seeds = seeds_of(mine, theirs)
    own, others = mine.of(seeds), theirs.of(seeds)
    both = own.keys() & others.keys()
    if len(both) < min(len(own), len(others)):
        return pair(own, others, names=(method, other))  # which says what is lacking
    return pair(_only(own, both), _only(others, both), names=(method, other))


def seeds_of(mine: Pooled, theirs: Pooled) -> set[int | None]:
    """The seeds on which two methods are compared: those that both have where they share trainings, else all."""
    return mine.seeds & theirs.seeds if mine.trainings & theirs.trainings else mine.seeds | theirs.seeds


def _only(results: Answers, names: Collection[str]) -> Answers:
    return {name: found for name, found in results.items() if name in names}


def average(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The mean of independent means, and its error."""
    errors = math.sqrt(sum(error**2 for _, error in parts))
    return sum(mean for mean, _ in parts) / len(parts), errors / len(parts)


def gap(found: Found, method: str, other: str, tasks: Sequence[str]) -> Gap | None:
    """By how much `method` is above `other` on the mean of `tasks`; None where one is missing."""
    parts, shares = [], list[float]()
    for task in tasks:
        if (pairs := pairs_of(found, method, other, task)) is None:
            return None
        difference = paired_difference(pairs)
        parts.append((difference.mean, difference.error))
        shares += (differences_of(pairs) / len(pairs.first) / len(tasks)).tolist()
    above, error = average(parts)
    return Gap(above, error, sign_p(shares, error))


def sign_p(shares: Sequence[float], error: float) -> float:
    """Two-sided p of a sum whose parts could each as well have the other sign.

    Exact over all signs where few parts are not 0; else by the normal distribution with that standard error.
    """
    parts = np.array([share for share in shares if share])
    if len(parts) > _EXACT and error > 0:
        return math.erfc(abs(float(parts.sum())) / error / math.sqrt(2))  # a cdf would be 0 from 9 errors on
    if len(parts) > _EXACT:  # all questions differ, and all alike
        return float(2.0 ** (1 - len(parts)))
    sums = np.zeros(1)
    for part in parts:
        sums = np.concatenate([sums + part, sums - part])
    return float((np.abs(sums) >= abs(parts.sum()) * (1 - 1e-9)).mean())


def costs(suite: Suite, found: Found, out: Path) -> Costs:
    """What a question costs, on average over the seeds, and what was trained for it."""
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for (method, task), pooled in found.items():
        row = {key: float(np.mean([run.row[key] for run in pooled.runs])) for key in COSTS}
        row["tflop"] = float(np.mean([_tflop(run) for run in pooled.runs]))
        sessions = [session for run in pooled.runs for session in run.summary["sessions"]]
        row["memory"] = max(session["peak_memory_mib"] for session in sessions)
        if suite.asked.price is not None:
            row["price"] = 1000 * suite.asked.price.of(row)
        rows[method, task] = row | _training_costs(pooled.cells, out)
    return rows


def _tflop(run: Run) -> float:
    """A question's 10^12 operations, from its turns; nan where the summary does not tell the models' sizes.

    A role's sizes are the operations of a position, of a written token's logits, and of a latent's inner link where
    that goes through the vocabulary.
    """
    sizes = run.summary["system"].get("flops")
    if sizes is None:
        return math.nan
    total = 0
    for group in run.groups.values():
        for turn in (turn for record in group for turn in record.turns):
            position, head, *inner = sizes[turn["role"]]
            total += (turn["tokens_in"] + turn["latent_steps"] + turn["tokens_out"]) * position
            total += turn["tokens_out"] * head + turn["latent_steps"] * sum(inner)
    return total / len(run.groups) / 1e12


def _training_costs(cells: Sequence[Cell], out: Path) -> dict[str, float]:
    """What the training behind a method's cells took, on average over its seeds; 0 where there is none."""
    folders = {cell.training.folder for cell in cells if cell.training is not None}
    facts = [facts_in(out / folder) if (out / folder / TRAINED).exists() else {} for folder in sorted(folders)]
    return {
        f"trained_{key}": float(np.mean([each.get(key, math.nan) for each in facts])) if facts else 0.0
        for key in _TRAINING
    }
