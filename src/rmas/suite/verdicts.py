"""Statements of a suite with their verdicts, and budgets that are not as equal as they were meant to be."""

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from rmas.eval.paired import holm
from rmas.eval.tables import Column, Table, make_table
from rmas.suite.asked import BUDGETS
from rmas.suite.config import Suite
from rmas.suite.pool import Costs, Found, gap

HOLDS, FAILS, UNKNOWN, MISSING = "holds", "does not hold", "cannot be told at this n", "not measured"
_ALPHA, _POWER = 0.05, 0.8


def statements_table(suite: Suite, found: Found) -> Table | None:
    """A row a statement: the paired difference on the mean of its tasks, p by Holm over all, and the verdict."""
    rows: list[dict[str, Any]] = []
    for statement in suite.asked.statements:
        tasks = statement.tasks
        row: dict[str, Any] = {"name": statement.name, "says": statement.says, "tasks": len(tasks)}
        row |= {"better": statement.better, "worse": statement.worse}
        difference = gap(found, statement.better, statement.worse, tasks) if tasks else None
        if difference is not None:
            row |= {"gap": difference.mean, "gap_error": difference.error, "p_unadjusted": difference.p}
            row["least"] = _least(difference.error)
            both = (statement.better, statement.worse)
            row["n"] = sum(min(len(found[method, task].results) for method in both) for task in tasks)
        rows.append(row)
    if not rows:
        return None
    told = [row for row in rows if "gap" in row]
    for row, p in zip(told, holm([row["p_unadjusted"] for row in told]), strict=True):
        row["p"] = p
    for row in rows:
        row["verdict"] = verdict(row.get("gap"), row.get("p"))
    columns = [
        Column(key="name", title="statement", kind="text"),
        Column(key="says", title="", kind="text"),
        Column(key="better", title="better", kind="text"),
        Column(key="worse", title="than", kind="text"),
        Column(key="tasks", title="tasks", kind="count"),
    ]
    if told:
        columns += [
            Column(key="n", title="n", kind="count"),
            Column(key="gap", title="difference, points", kind="percent", error="gap_error", is_signed=True),
            Column(key="p", title="p", kind="p"),
            Column(key="p_unadjusted"),
            Column(key="least", title="would be seen from", kind="percent"),
        ]
    columns.append(Column(key="verdict", title="verdict", kind="text"))
    says = [f"{row['name']}: {row['says']}." for row in rows]
    return make_table(rows, columns, notes=[*says, _STATEMENTS_NOTE])


def verdict(difference: float | None, p: float | None) -> str:
    if difference is None or p is None:
        return MISSING
    if p >= _ALPHA:
        return UNKNOWN
    return HOLDS if difference > 0 else FAILS


def budget_table(suite: Suite, costs: Costs) -> Table | None:
    """A row a method: each budget, as a share of the one it is meant to equal, on the tasks that both have.

    The figures are means over the tasks; the verdict is about each task, for budgets that are equal only on average
    would let one task pay for another.
    """
    equal = suite.asked.equal.budgets
    rows: list[dict[str, Any]] = []
    for method in suite.methods:
        other = suite.asked.equal.other(method)
        tasks = [task for task in suite.tasks if {(method, task), (other, task)} <= costs.keys()]
        trained = [task for task in tasks if costs[method, task]["trained_parameters"]]
        if not tasks or (not trained and all(key.startswith("trained_") for key in equal)):
            continue
        row: dict[str, Any] = {"name": method, "other": other}
        off = []
        for key, tolerance in equal.items():
            row[key] = _mean(costs, key, method, tasks)
            matched = trained if key.startswith("trained_") else tasks  # what is not trained has no training to match
            if not matched:
                continue
            row[f"{key}_ratio"] = _ratio(row[key], _mean(costs, key, other, tasks))
            ratios = [_ratio(costs[method, task][key], costs[other, task][key]) for task in matched]
            least, most = float(np.min(ratios)), float(np.max(ratios))  # nan if one of them is
            if not (1 / (1 + tolerance) - 1e-9 <= least and most <= 1 + tolerance + 1e-9):
                off.append(f"{BUDGETS[key]} {_range(least, most)} times")
        row["verdict"] = "; ".join(off) or "equal"
        rows.append(row)
    if not equal or not rows:
        return None
    columns = [Column(key="name", title="method", kind="text")]
    for key in equal:
        columns.append(Column(key=key, title=BUDGETS[key]))
        if any(f"{key}_ratio" in row for row in rows):
            columns.append(Column(key=f"{key}_ratio", title="ratio"))
    columns.append(Column(key="other", title="against", kind="text"))
    columns.append(Column(key="verdict", title="verdict", kind="text"))
    meant = ", ".join(f"{BUDGETS[key]} within {100 * tolerance:g} %" for key, tolerance in equal.items())
    return make_table(rows, columns, notes=[f"Meant to be equal: {meant}.", _BUDGET_NOTE])


def unequal(table: Table) -> Iterator[str]:
    """A line for each method whose budgets are not equal."""
    for row in table.rows:
        if row[-1].text != "equal":
            yield f"{row[0].text}: {row[-1].text} {row[-2].text}'s"


def _mean(costs: Costs, key: str, method: str, tasks: Sequence[str]) -> float:
    return sum(costs[method, task][key] for task in tasks) / len(tasks)


def _ratio(own: float, of: float) -> float:
    return own / of if of else math.nan


def _range(least: float, most: float) -> str:
    ends = dict.fromkeys(f"{end:.2f}" for end in (least, most))
    return " to ".join(ends)


def _least(error: float) -> float:
    """The true difference that a test with this standard error would find with 80 % power."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - _ALPHA / 2) + normal.inv_cdf(_POWER)) * error


_STATEMENTS_NOTE = (
    "Difference: on the mean of the tasks, paired by question, over all seeds that are finished, or, of methods that "
    f"share a training, those that both have; p two-sided, Holm-adjusted over the statements. {HOLDS}, {FAILS}: p < "
    f"{_ALPHA:g}, in favour or against. Would be seen from: with {_POWER:.0%} power, before adjusting."
)
_BUDGET_NOTE = (
    "Figures are means over seeds and the tasks that both have, verdicts about each of these tasks. Training TFLOP: "
    "matrix products, forward, backward and recomputed, of the first eight steps and of every eighth after them, which "
    "stands for the next ones; and of writing the text messages that were heard, where that was counted; extraction of "
    "states and dev evaluations are not in it."
)
