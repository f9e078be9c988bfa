"""Pictures of panels: answers among gold answers (the paper's Figure 7), shares as a grid of shades (Figure 1), and
shares as dots, a panel a task.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from rmas.canvas import COLOURS, GREY, blank, save_picture, write_below
from rmas.errors import ConfigError
from rmas.eval.space import Cloud
from rmas.eval.tables import NOTHING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CLOUD = "#c9c9c9"
_PANELS = 4  # of clouds, side by side
_TITLE = 22  # letters in a line above a panel


def draw_clouds(path: Path, clouds: Sequence[Cloud], *, note: str = "") -> None:
    """Write a panel a cloud, answers among gold answers; note: small, below it. Errors as for `save_picture`."""
    save_picture(path, lambda: clouds_figure(clouds, note=note))


def draw_grid(path: Path, cells: Mapping[tuple[int, int], tuple[float, float]], *, x_label: str, y_label: str) -> None:
    """Write shares with their errors as a grid of shades, by (row, column). Errors as for `save_picture`."""
    save_picture(path, lambda: grid_figure(cells, x_label=x_label, y_label=y_label))


def draw_dots(path: Path, panels: Mapping[str, Mapping[str, tuple[float, float]]], *, lines: Sequence[str]) -> None:
    """Write shares with their errors as dots, by panel and line. Errors as for `save_picture`."""
    save_picture(path, lambda: dots_figure(panels, lines=lines))


def clouds_figure(clouds: Sequence[Cloud], *, note: str = "") -> "Figure":
    """The picture itself: panels on the same axes, at most four a row, gold answers in grey below the others."""
    columns = min(len(clouds), _PANELS)
    rows = -(-len(clouds) // columns)
    figure = blank(1.75 * columns, 2.05 * rows + 0.2)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for number, (axes, cloud) in enumerate(zip(panels, clouds, strict=False)):
        colour = COLOURS[(number - 1) % len(COLOURS)] if number else GREY
        axes.scatter(*cloud.gold_N2.T, s=5, color=_CLOUD, linewidths=0, rasterized=True)
        axes.scatter(*cloud.answers_N2.T, s=5, color=colour[0], alpha=0.55, linewidths=0, rasterized=True)
        axes.set_title(fill(cloud.name, _TITLE), fontsize=8, color=colour[1])
        told = f"distance {cloud.distance:.3f} (chance: to {cloud.chance:.3f})"
        if number:
            told += f"\ncosine: own gold {cloud.own:.2f}, other {cloud.other:.2f}"
        axes.set_xlabel(told, fontsize=6.2, color=GREY[1])
        axes.set(xticks=(), yticks=())
        axes.margins(0.06)
    for axes in panels[len(clouds) :]:
        axes.set_axis_off()
    if note:
        write_below(figure, note)
    return figure


def grid_figure(cells: Mapping[tuple[int, int], tuple[float, float]], *, x_label: str, y_label: str) -> "Figure":
    """A square a cell, from the lowest share (light) to the highest, the number in it."""
    if not cells:
        raise ConfigError("nothing to draw: no cell of the grid is finished.")
    rows, columns = (sorted({place[axis] for place in cells}) for axis in (0, 1))
    figure = blank(0.9 + 0.75 * len(columns), 0.7 + 0.5 * len(rows))
    axes = figure.subplots()
    lowest, highest = min(mean for mean, _ in cells.values()), max(mean for mean, _ in cells.values())
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            if (row, column) not in cells:
                axes.text(x, y, NOTHING, ha="center", va="center", color=GREY[0])
                continue
            mean, error = cells[row, column]
            share = 0.5 if highest == lowest else (mean - lowest) / (highest - lowest)
            depth = 0.08 + 0.72 * share  # of the first line's blue; the lightest is not white, which is missing
            shade = tuple(1 - depth * (1 - part) for part in (0.0, 0.45, 0.70))
            axes.fill_between([x - 0.5, x + 0.5], y - 0.5, y + 0.5, color=shade, linewidth=0)
            text, colour = f"{100 * mean:.1f}\n± {100 * error:.1f}", "white" if share > 0.7 else "black"
            axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=7.5)
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(-0.5, len(columns) - 0.5), ylim=(-0.5, len(rows) - 0.5))
    axes.set_xticks(range(len(columns)), map(str, columns))
    axes.set_yticks(range(len(rows)), map(str, rows))
    axes.grid(visible=False)
    write_below(figure, "accuracy, %, ± standard error")
    return figure


def dots_figure(panels: Mapping[str, Mapping[str, tuple[float, float]]], *, lines: Sequence[str]) -> "Figure":
    """Panels side by side on the same lines, which run from above; a dot with its error where a panel has the line.
    The best of a panel is coloured, with its number. A line that no panel has is left out.
    """
    lines = [line for line in lines if any(line in dots for dots in panels.values())]
    if not lines:
        raise ConfigError("nothing to draw: no method of the table is finished.")
    figure = blank(1.3 + 1.05 * len(panels), 0.6 + 0.17 * len(lines))
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, dots) in zip(row, panels.items(), strict=True):
        best = max(dots, key=lambda line: dots[line][0], default=None)
        for y, line in enumerate(lines):
            if line not in dots:
                continue
            mean, error = (100 * part for part in dots[line])
            colour = COLOURS[0] if line == best else GREY
            axes.errorbar(mean, y, xerr=error, fmt="o", markersize=3, linewidth=0.9, color=colour[0])
            if line == best:
                place = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center"}
                axes.annotate(f"{mean:.1f}", (mean, y), **place, fontsize=6.5, color=colour[1])
        axes.set_title(title, fontsize=8)
        axes.margins(x=0.1)
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    row[0].set(ylim=(len(lines) - 0.4, -0.8))
    row[0].set_yticks(range(len(lines)), lines)
    write_below(figure, "accuracy, %, ± standard error")
    return figure
