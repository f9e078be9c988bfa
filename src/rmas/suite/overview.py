"""What came out of a suite: each method's accuracy by task and its mean, against the reference, and what it takes.

A trained method has several seeds: a question's result is then its mean over them, and errors are over questions. The
mean over tasks counts every task alike; its error is that of independent tasks, and its p is from the paired
differences (two-sided, normal). Cells that are missing leave a dash, and a method that lacks a task has no mean.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from rmas.eval.finished import Run, load_run
from rmas.eval.paired import holm, pair, paired_difference, permutation_test
from rmas.eval.record import SUMMARY
from rmas.eval.report import report
from rmas.eval.statistics import estimate
from rmas.eval.tables import Column, make_table, write_table
from rmas.suite.compare import TRAINED
from rmas.suite.config import Cell, Suite

TABLES = "tables"
_COSTS = ("prompt_tokens", "latent_thoughts", "completion_tokens", "sequential_steps", "seconds")


class Pooled(NamedTuple):
    """A method on a task: its results by question, one a seed, and the runs behind them."""

    results: Mapping[str, Sequence[float]]
    runs: Sequence[Run]


def write_overview(suite: Suite, out: Path) -> dict[str, Path]:
    """Tables of all that is finished, below `out`: one overview, and for each task what `rmas report` writes.

    -> the overview's tables to read, `accuracy` and `cost`; none where nothing is finished.
    """
    found = _pool(suite, out)
    if not found:
        return {}
    accuracy = _accuracy(suite, found)
    costs = _costs(suite, found, out)
    (out / TABLES).mkdir(parents=True, exist_ok=True)
    for stem, table in (("accuracy", accuracy), ("cost", costs)):
        for suffix in (".md", ".csv", ".tex"):
            write_table(table, out / TABLES / f"{stem}{suffix}")
    for task in suite.tasks:
        folders = [out / cell.folder for cell in _ordered(suite, task) if (out / cell.folder / SUMMARY).exists()]
        if folders:
            report(folders, out / TABLES / task)
    return {stem: out / TABLES / f"{stem}.md" for stem in ("accuracy", "cost")}


def _ordered(suite: Suite, task: str) -> list[Cell]:
    """The cells of a task, those of the reference first: a report compares with its first run."""
    return sorted((cell for cell in suite.cells if cell.task == task), key=lambda cell: cell.method != suite.reference)


def _pool(suite: Suite, out: Path) -> dict[tuple[str, str], Pooled]:
    """Method and task -> what is finished of them: only where all seeds are."""
    cells: dict[tuple[str, str], list[Cell]] = {}
    for cell in suite.cells:
        cells.setdefault((cell.method, cell.task), []).append(cell)
    found = {}
    for key, group in cells.items():
        if all((out / cell.folder / SUMMARY).exists() for cell in group):
            runs = [load_run(out / cell.folder) for cell in group]
            results = {name: [x for run in runs for x in run.results[name]] for name in runs[0].results}
            found[key] = Pooled(results, runs)
    return found


def _accuracy(suite: Suite, found: Mapping[tuple[str, str], Pooled]) -> Any:
    rows = []
    for method in suite.methods:
        row: dict[str, Any] = {"name": method}
        means, gaps = [], []
        for task in suite.tasks:
            if (pooled := found.get((method, task))) is None:
                continue
            figures = estimate(list(pooled.results.values()))
            row |= {task: figures.mean, f"{task}_error": figures.error, f"{task}_n": figures.num_questions}
            row["seeds"] = len(pooled.runs)
            means.append((figures.mean, figures.error))
            reference = found.get((suite.reference, task))
            if reference is not None and method != suite.reference:
                pairs = pair(pooled.results, reference.results, names=(method, suite.reference))
                gap = paired_difference(pairs)
                gaps.append((gap.mean, gap.error))
                row[f"{task}_difference"] = gap.mean
                row[f"{task}_p_unadjusted"] = permutation_test(pairs, generator=np.random.default_rng(0)).p
        if len(means) == len(suite.tasks):
            row["mean"], row["mean_error"] = _average(means)
        if len(gaps) == len(suite.tasks):
            row["gap"], row["gap_error"] = _average(gaps)
            z = abs(row["gap"]) / row["gap_error"] if row["gap_error"] > 0 else math.inf if row["gap"] else 0.0
            row["gap_p"] = 2 * (1 - NormalDist().cdf(z))
        rows.append(row)
    for task in suite.tasks:  # Holm: over the methods that were compared on the task
        compared = [row for row in rows if f"{task}_p_unadjusted" in row]
        for row, p in zip(compared, holm([row[f"{task}_p_unadjusted"] for row in compared]), strict=True):
            row[f"{task}_p"] = p
    return make_table(rows, list(_accuracy_columns(suite, rows)), notes=_notes(suite))


def _average(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The mean of independent means, and its error."""
    return sum(mean for mean, _ in parts) / len(parts), math.sqrt(sum(error**2 for _, error in parts)) / len(parts)


def _accuracy_columns(suite: Suite, rows: Sequence[Mapping[str, Any]]) -> Iterator[Column]:
    known = {key for row in rows for key in row}
    yield Column(key="name", title="method", kind="text")
    yield Column(key="seeds", title="seeds", kind="count")
    for task in suite.tasks:
        if task in known:
            yield Column(key=task, title=f"{task}, %", kind="percent", error=f"{task}_error")
            yield Column(key=f"{task}_n", title="n", kind="count")
        if f"{task}_p" in known:
            yield Column(key=f"{task}_p", title="p", kind="p")
            yield Column(key=f"{task}_difference")
            yield Column(key=f"{task}_p_unadjusted")
    if "mean" in known:
        yield Column(key="mean", title="mean, %", kind="percent", error="mean_error")
    if "gap" in known:
        yield Column(
            key="gap", title=f"less {suite.reference}, points", kind="percent", error="gap_error", is_signed=True
        )
        yield Column(key="gap_p", title="p", kind="p")


def _notes(suite: Suite) -> Iterator[str]:
    yield (
        f"Compared with {suite.reference}, question by question. ±: standard error over questions; with several seeds "
        "a question's result is its mean over them. p: permutation test, Holm-adjusted within a task."
    )
    yield "The mean counts every task alike; its p is two-sided, from the paired differences."


def _costs(suite: Suite, found: Mapping[tuple[str, str], Pooled], out: Path) -> Any:
    """A question's cost by method and task, and what was trained for it."""
    rows = []
    for (method, task), pooled in found.items():
        row: dict[str, Any] = {"name": method, "task": task}
        row |= {key: float(np.mean([run.row[key] for run in pooled.runs])) for key in _COSTS}
        row["tflop"] = float(np.mean([_tflop(run) for run in pooled.runs]))
        sessions = [session for run in pooled.runs for session in run.summary["sessions"]]
        row["memory"] = max(session["peak_memory_mib"] for session in sessions)
        row["parameters"] = _trained_parameters(suite, method, out)
        rows.append(row)
    columns = (
        Column(key="name", title="method", kind="text"),
        Column(key="task", title="task", kind="text"),
        Column(key="parameters", title="trained numbers", kind="count"),
        Column(key="prompt_tokens", title="prompt tokens"),
        Column(key="latent_thoughts", title="latents"),
        Column(key="completion_tokens", title="written tokens"),
        Column(key="sequential_steps", title="sequential steps"),
        Column(key="tflop", title="TFLOP"),
        Column(key="seconds", title="s a question"),
        Column(key="memory", title="peak MiB", kind="count"),
    )
    notes = (
        "A question, all turns of all agents. Prompt tokens are counted in every turn, read anew or not.",
        "TFLOP: two operations for each weight and position, the vocabulary head at written tokens; no attention "
        "scores, no links. What prompt heads that are read once save is not in it; seconds show it.",
    )
    return make_table(rows, columns, notes=notes)


def _tflop(run: Run) -> float:
    """A question's 10^12 operations, from its turns; nan where the summary does not tell the models' sizes."""
    sizes = run.summary["system"].get("flops")
    if sizes is None:
        return math.nan
    total = 0
    for group in run.groups.values():
        for turn in (turn for record in group for turn in record.turns):
            position, head = sizes[turn["role"]]
            total += (turn["tokens_in"] + turn["latent_steps"] + turn["tokens_out"]) * position
            total += turn["tokens_out"] * head
    return total / len(run.groups) / 1e12


def _trained_parameters(suite: Suite, method: str, out: Path) -> int:
    """How many numbers a method's training has set; the same for each of its seeds."""
    for training in suite.trainings:
        path = out / training.folder / TRAINED
        if training.method == method and path.exists():
            return int(json.loads(path.read_text(encoding="utf-8"))["parameters"])
    return 0
