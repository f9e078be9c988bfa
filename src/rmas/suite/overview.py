"""The tables of a suite, from what is finished: accuracy and cost, and whatever else its file asks for.

Cells that are missing leave a dash, and a method that lacks a task has no mean.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rmas.eval.paired import holm, paired_difference, permutation_test
from rmas.eval.panels import draw_dots, draw_grid
from rmas.eval.report import report
from rmas.eval.statistics import estimate
from rmas.eval.tables import FORMATS, Column, Table, make_table, span_text, write_table
from rmas.suite.config import Cell, Suite
from rmas.suite.layout import dots_of, grid_of, grid_table, layout_table
from rmas.suite.pool import Costs, Found, average, costs, gap, pairs_of, pool
from rmas.suite.standing import standing_cells
from rmas.suite.verdicts import budget_table, statements_table

_log = logging.getLogger(__name__)
TABLES = "tables"


def write_overview(suite: Suite, out: Path) -> dict[str, Table]:
    """Tables of all that is finished, below `out`: the suite's own, and for each task what `rmas report` writes.

    -> the suite's own by name, `accuracy` and `cost` first; none where nothing is finished.
    """
    done, refused = standing_cells(suite, out)
    for name, reason in refused.items():
        _log.warning("left out of the tables: %s: %s", name, reason)
    found = pool(suite, done, out)
    if not found:
        return {}
    spent, folder = costs(suite, found, out), out / TABLES
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"accuracy": _accuracy(suite, found), "cost": _cost(suite, spent)}
    asked = {
        "seeds": _seeds(suite, found),
        "equal": budget_table(suite, spent),
        "statements": statements_table(suite, found),
    }
    tables |= {name: table for name, table in asked.items() if table is not None}
    for layout in suite.asked.layouts:
        if layout.is_grid:
            if not (grid := grid_of(suite, layout, found)).cells:
                continue
            tables[layout.name] = grid_table(layout, grid)
            draw_grid(
                folder / f"{layout.name}.png",
                grid.cells,
                x_label="rounds $R$ at inference",
                y_label="rounds in training",
            )
        else:
            tables[layout.name] = layout_table(suite, layout, found, spent)
            if "accuracy" in layout.show and (dots := dots_of(suite, layout, found)):
                draw_dots(folder / f"{layout.name}.png", dots, lines=layout.methods)
    for name, table in tables.items():
        for suffix in FORMATS:
            write_table(table, folder / f"{name}{suffix}")
    for task in suite.tasks:
        cells = [cell for cell in _ordered(suite, task) if cell in done and (cell.method, task) in found]
        if cells:
            usual, _ = Counter(cell.config.limit for cell in cells).most_common(1)[0]
            report([out / cell.folder for cell in cells if cell.config.limit == usual], folder / task)
    return tables


def _ordered(suite: Suite, task: str) -> list[Cell]:
    """The cells of a task, those of the reference first: a report compares with its first run."""
    return sorted((cell for cell in suite.cells if cell.task == task), key=lambda cell: cell.method != suite.reference)


def _accuracy(suite: Suite, found: Found) -> Table:
    rows = []
    for method in suite.methods:
        row: dict[str, Any] = {"name": method}
        means = []
        for task in suite.tasks:
            if (pooled := found.get((method, task))) is None:
                continue
            figures = estimate(list(pooled.results.values()))
            row |= {task: figures.mean, f"{task}_error": figures.error, f"{task}_n": figures.num_questions}
            means.append((figures.mean, figures.error))
            reference = found.get((suite.reference, task))
            is_reference = reference is not None and reference.folders == pooled.folders
            pairs = None if is_reference else pairs_of(found, method, suite.reference, task)
            if pairs is not None:
                row[f"{task}_difference"] = paired_difference(pairs).mean
                row[f"{task}_p_unadjusted"] = permutation_test(pairs, generator=np.random.default_rng(0)).p
        counts = {len(found[method, task].runs) for task in suite.tasks if (method, task) in found}
        row["seeds"] = span_text(counts) if counts else None
        if len(means) == len(suite.tasks):
            row["mean"], row["mean_error"] = average(means)
        above = None if method == suite.reference else gap(found, method, suite.reference, suite.tasks)
        if above is not None:
            row |= {"gap": above.mean, "gap_error": above.error, "gap_p": above.p}
        rows.append(row)
    for task in suite.tasks:  # Holm: over the methods that were compared on the task
        compared = {found[row["name"], task].folders: row for row in rows if f"{task}_p_unadjusted" in row}
        ps = holm([row[f"{task}_p_unadjusted"] for row in compared.values()])
        adjusted = dict(zip(compared, ps, strict=True))  # what stands in several rows is one test
        for row in (row for row in rows if f"{task}_p_unadjusted" in row):
            row[f"{task}_p"] = adjusted[found[row["name"], task].folders]
    return make_table(rows, list(_accuracy_columns(suite, {key for row in rows for key in row})), notes=_notes(suite))


def _accuracy_columns(suite: Suite, known: set[str]) -> Iterator[Column]:
    yield Column(key="name", title="method", kind="text")
    yield Column(key="seeds", title="seeds", kind="text")
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
        yield Column(key="gap_p", title="p, not adjusted", kind="p")


def _notes(suite: Suite) -> Iterator[str]:
    yield (
        f"Compared with {suite.reference}, question by question. ±: standard error over questions; with several "
        "seeds a question's result is its mean over those that are finished. p: permutation test, Holm-adjusted within "
        "a task; methods that share a training are compared on the seeds that both have."
    )
    yield (
        "The mean counts every task alike; its p is two-sided, from the signs of the paired differences, not adjusted."
    )


def _seeds(suite: Suite, found: Found) -> Table | None:
    """A row a method: what each of its trainings has on each task that has several finished; None where none has."""
    several = {pair: pooled for pair, pooled in found.items() if len(pooled.shares) > 1}
    rows: list[dict[str, Any]] = []
    for method in suite.methods:
        shares = {task: several[method, task].shares for task in suite.tasks if (method, task) in several}
        if shares:
            told = {task: ", ".join(f"{100 * share:.1f}" for share in each) for task, each in shares.items()}
            rows.append({"name": method, **told})
    own = {
        pooled.folders: pooled.shares for pooled in several.values() if len({cell.label for cell in pooled.cells}) == 1
    }
    if not own:  # what dev chose of two methods says nothing of how far one's trainings lie apart
        return None
    columns = [Column(key="name", title="method", kind="text")]
    columns += [
        Column(key=task, title=f"{task}, %", kind="text") for task in suite.tasks if any(task in row for row in rows)
    ]
    apart = math.sqrt(sum(float(np.var(each, ddof=1)) for each in own.values()) / len(own))
    counts = span_text(len(pooled.results) for pooled in several.values())
    note = (
        f"One figure a training, in the order of the seeds, on the same questions ({counts}). "
        f"Standard deviation between trainings of one method: {100 * apart:.1f} points, over {len(own)} "
        f"{'cell' if len(own) == 1 else 'cells'}; the errors of the other tables are over questions and do not have it."
    )
    return make_table(rows, columns, notes=[note])


def _cost(suite: Suite, spent: Costs) -> Table:
    """A question's cost by method and task, and what was trained for it."""
    rows = [{"name": method, "task": task, **row} for (method, task), row in spent.items()]
    price = suite.asked.price
    columns = [
        Column(key="name", title="method", kind="text"),
        Column(key="task", title="task", kind="text"),
        Column(key="trained_parameters", title="trained numbers", kind="count"),
        Column(key="trained_examples", title="examples seen", kind="count"),
        Column(key="trained_tflop", title="training TFLOP"),
        Column(key="trained_seconds", title="training s", kind="count"),
        Column(key="prompt_tokens", title="prompt tokens"),
        Column(key="latent_thoughts", title="latents"),
        Column(key="completion_tokens", title="written tokens"),
        Column(key="sequential_steps", title="sequential steps"),
        Column(key="tflop", title="TFLOP"),
        Column(key="seconds", title="s a question"),
        Column(key="memory", title="peak MiB", kind="count"),
    ]
    notes = [
        "A question, all turns of all agents. Prompt tokens are counted in every turn, read anew or not.",
        "TFLOP: two operations for each weight and position, the vocabulary head at written tokens, twice the head at "
        "latents that are soft tokens; no attention scores, no other links. What prompt heads that are read once save "
        "is not in it; seconds show it.",
    ]
    if price is not None:
        columns.append(Column(key="price", title=f"{price.name} for 1,000"))
        notes.append(
            f"Price: {price.name} {price.hour:g} an hour of this machine, {price.million_read:g} a million prompt "
            f"tokens, {price.million_written:g} a million latents and written tokens."
        )
    return make_table(rows, columns, notes=notes)
