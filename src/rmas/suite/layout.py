"""Tables that a suite file lays out itself, such as those of a paper, and the grid of training by inference rounds."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rmas.eval.statistics import estimate
from rmas.eval.tables import Column, Table, make_table, measured, p_text, span_text
from rmas.suite.asked import FIGURES, Layout
from rmas.suite.config import Suite
from rmas.suite.pool import Costs, Found, average, gap

_GAIN = "gain"


class Grid(NamedTuple):
    """Mean accuracy and its error, by (training rounds, rounds)."""

    cells: Mapping[tuple[int, int], tuple[float, float]]

    @property
    def rows(self) -> list[int]:
        return sorted({row for row, _ in self.cells})

    @property
    def columns(self) -> list[int]:
        return sorted({column for _, column in self.cells})


def layout_table(suite: Suite, layout: Layout, found: Found, costs: Costs) -> Table:
    """A row a method and figure, a column a task, the mean, and the gain over the method that `against` names.

    A gain of accuracy is in points, with its p; of anything else it is how many times less it takes.
    """
    tasks = _begun(suite, layout, found)
    rows: list[dict[str, Any]] = []
    for method in layout.methods:
        for figure in layout.show:
            row: dict[str, Any] = {"name": method, "figure": FIGURES[figure]}
            values = {task: _figure(figure, found, costs, method, task) for task in tasks if (method, task) in found}
            row |= {task: _told(figure, *value) for task, value in values.items()}
            if values and len(values) == len(tasks):
                row["mean"] = _told(figure, *average(list(values.values())))
            other = layout.against.get(method)
            if other is not None:
                row[_GAIN] = _gain(figure, found, costs, method, other, tasks)
            rows.append(row)
    columns = [Column(key="name", title="method", kind="text"), Column(key="figure", title="figure", kind="text")]
    columns += [Column(key=task, title=task, kind="text") for task in tasks]
    known = {key for row in rows for key in row}
    columns += [Column(key=key, title=key, kind="text") for key in ("mean", _GAIN) if key in known]
    counts = ", ".join(f"{task} {_counts(layout, found, task)}" for task in tasks)
    return make_table(rows, columns, notes=[f"{layout.says}. n: {counts}.", _gains_note(layout)])


def dots_of(suite: Suite, layout: Layout, found: Found) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean accuracy and its error by task, then by method, of what is finished; `mean` last, of who has all tasks."""
    tasks = _begun(suite, layout, found)
    dots = {
        task: {
            method: _figure("accuracy", found, {}, method, task) for method in layout.methods if (method, task) in found
        }
        for task in tasks
    }
    complete = [method for method in layout.methods if all(method in dots[task] for task in tasks)]
    if len(tasks) > 1 and complete:
        dots["mean"] = {method: average([dots[task][method] for task in tasks]) for method in complete}
    return dots


def _begun(suite: Suite, layout: Layout, found: Found) -> list[str]:
    """The layout's tasks that any of its methods has finished."""
    asked = layout.tasks or suite.tasks
    return [task for task in asked if any((method, task) in found for method in layout.methods)]


def _counts(layout: Layout, found: Found, task: str) -> str:
    """How many questions the layout's methods have: one number, or the least and the most."""
    return span_text(len(found[method, task].results) for method in layout.methods if (method, task) in found)


def grid_of(suite: Suite, layout: Layout, found: Found) -> Grid:
    """Mean accuracy over the tasks that all of the layout's methods have, by rounds in training and at inference."""
    places = {method: place for method in layout.methods if (place := suite.place(method)) is not None}
    asked = layout.tasks or suite.tasks
    shared = [task for task in asked if all(task in suite.rows[method] for method in places)]
    cells = {}
    for method, place in places.items():
        done = [estimate(list(found[method, task].results.values())) for task in shared if (method, task) in found]
        if done and len(done) == len(shared):
            cells[place] = average([(each.mean, each.error) for each in done])
    return Grid(cells)


def grid_table(layout: Layout, grid: Grid) -> Table:
    rows = []
    for trained in grid.rows:
        row: dict[str, Any] = {"trained": trained}
        for rounds in grid.columns:
            if (trained, rounds) in grid.cells:
                row[f"r{rounds}"], row[f"r{rounds}_error"] = grid.cells[trained, rounds]
        rows.append(row)
    columns = [Column(key="trained", title="rounds in training", kind="count")]
    columns += [
        Column(key=f"r{rounds}", title=f"R = {rounds}, %", kind="percent", error=f"r{rounds}_error")
        for rounds in grid.columns
    ]
    return make_table(rows, columns, notes=[f"{layout.says}. Mean accuracy over the tasks, ± standard error."])


def _figure(figure: str, found: Found, costs: Costs, method: str, task: str) -> tuple[float, float]:
    """Value and standard error; the error of a cost is not known, and 0."""
    if figure == "accuracy":
        figures = estimate(list(found[method, task].results.values()))
        return figures.mean, figures.error
    row = costs[method, task]
    written = row["latent_thoughts"] + row["completion_tokens"]
    sums = {"tokens": row["prompt_tokens"] + written, "written": written}
    return float({**row, **sums}.get(figure, float("nan"))), 0.0


def _told(figure: str, value: float, error: float) -> str:
    return measured(100 * value, 100 * error) if figure == "accuracy" else f"{value:,.3g}"


def _gain(
    figure: str,
    found: Found,
    costs: Costs,
    method: str,
    other: str,
    tasks: list[str],
) -> str | None:
    both = [task for task in tasks if {(method, task), (other, task)} <= found.keys()]
    if not both:
        return None
    if figure == "accuracy":
        above = gap(found, method, other, both)
        assert above is not None, "both are there"
        p = p_text(above.p)
        told = measured(100 * above.mean, 100 * above.error)
        return f"{'+' if above.mean > 0 else ''}{told} (p {p if p.startswith('<') else f'= {p}'})"
    ratios = [
        _figure(figure, found, costs, other, task)[0] / mine
        for task in both
        if (mine := _figure(figure, found, costs, method, task)[0])
    ]
    return f"{sum(ratios) / len(ratios):.2f}×" if ratios else None


def _gains_note(layout: Layout) -> str:
    if not layout.against:
        return ""
    pairs = ", ".join(f"{method} over {other}" for method, other in layout.against.items())
    return (
        f"Gain: {pairs}; points of accuracy with its p (not adjusted), else how many times less it takes, on average "
        "over tasks."
    )
