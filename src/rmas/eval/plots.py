"""Pictures for a paper: accuracy, seconds and sequential steps against rounds or latent steps. No torch.

The surprising thing: lines are named at their right ends, in their colours, and only where they end too close together
does a legend stand above the axes. Needs matplotlib and touches none of its global state.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rmas.errors import ConfigError, unknown
from rmas.eval.series import MEASURES, SETTINGS, Series, series_of
from rmas.eval.space import Cloud
from rmas.eval.tables import NOTHING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Line and name; told apart by the colour-blind (Okabe and Ito 2008). The names are darker, to be read on white.
_COLOURS = (
    ("#0072B2", "#005C90"),
    ("#D55E00", "#B04E00"),
    ("#009E73", "#007A59"),
    ("#CC79A7", "#A3507E"),
    ("#E69F00", "#966700"),
    ("#56B4E9", "#2478A8"),
)
_MARKERS = "os^DvP"
_GREY = ("#8c8c8c", "#5a5a5a")
_DASHES = ((4, 2.5), (1.2, 1.6), (6, 2, 1.2, 2), (8, 3))  # of levels
_CLOUD = "#c9c9c9"
_PANELS = 4  # of clouds, side by side
_TITLE = 22  # letters in a line above a panel
_SIZE = (3.4, 2.2)  # inches: one column of a two-column page
_LINE_HEIGHT = 8.5  # points from one name to the next
_FARTHEST = 13.0  # points that a name may stand from its line's end
_LONGEST = 22  # letters of a name that leave room for the lines
_WIDEST = 20  # letters of a name that leave room for another one beside it in the legend
_DODGE = 2.4  # points between the error bars of two series
_LOOK: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#4d4d4d",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e8e8e8",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "pdf.fonttype": 42,  # TrueType, which journals ask for
    "svg.hashsalt": "rmas",  # the same picture twice is the same file
}
# Suffix -> metadata without the date, for the same reason.
FORMATS: Mapping[str, dict[str, None]] = {
    ".png": {},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}


def draw_measure(path: Path, rows: Sequence[Mapping[str, Any]], *, measure: str, against: str, note: str = "") -> None:
    """Draw one of MEASURES against one of SETTINGS, a line a `name`; see `series_of` and `draw_lines`."""
    label, scale, from_zero = _find("measure", measure, MEASURES)
    x_label, symbol = _find("setting", against, SETTINGS)
    series = series_of(rows, measure=measure, against=against, scale=scale)
    draw_lines(path, series, x_label=f"{x_label} ${symbol}$", y_label=label, from_zero=from_zero, note=note)


def draw_lines(
    path: Path, series: Sequence[Series], *, x_label: str, y_label: str, from_zero: bool = False, note: str = ""
) -> None:
    """Write lines with markers and error bars, one column wide: .png (200 dots an inch), .pdf or .svg.

    note: small, below the picture; say what the bars are. ConfigError: nothing to draw, another suffix, not writable,
    or no matplotlib.
    """
    _save(path, lambda: lines_figure(series, x_label=x_label, y_label=y_label, from_zero=from_zero, note=note))


def draw_clouds(path: Path, clouds: Sequence[Cloud], *, note: str = "") -> None:
    """Write a panel a cloud, answers among gold answers; formats, note and errors as for `draw_lines`."""
    _save(path, lambda: clouds_figure(clouds, note=note))


def draw_grid(path: Path, cells: Mapping[tuple[int, int], tuple[float, float]], *, x_label: str, y_label: str) -> None:
    """Write shares with their errors as a grid of shades, by (row, column); formats and errors as for `draw_lines`."""
    _save(path, lambda: grid_figure(cells, x_label=x_label, y_label=y_label))


def _save(path: Path, figure: Callable[[], "Figure"]) -> None:
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path}: " + unknown("picture format", path.suffix, FORMATS))
    try:
        from matplotlib import rc_context
    except ModuleNotFoundError:
        raise ConfigError("plots need the matplotlib package: pip install 'rmas[eval]'.") from None

    with rc_context(_LOOK):
        drawn = figure()
        try:
            drawn.savefig(path, dpi=200, metadata=FORMATS[path.suffix])
        except OSError as problem:
            raise ConfigError(f"{path}: cannot be written ({problem.strerror}). Check the path.") from None


def lines_figure(
    series: Sequence[Series], *, x_label: str, y_label: str, from_zero: bool = False, note: str = ""
) -> "Figure":
    """The picture itself, under the current settings of matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not any(line.x for line in series):
        raise ConfigError("nothing to draw: no series has a point. Report runs that differ in a setting.")
    figure = Figure(figsize=_SIZE, layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(xlabel=x_label, ylabel=y_label)
    _set_scales(axes, series, from_zero=from_zero)
    lines = [line for line in series if line.x]
    for number, line in enumerate(lines):
        _draw_line(axes, line, number, len(lines))
    levels = [line for line in series if not line.x]
    for number, line in enumerate(levels):
        _draw_level(axes, line, number, len(levels))
    if note:
        figure.supxlabel(note, x=0.99, ha="right", fontsize=6, color=_GREY[1])
    _name_lines(figure, axes, series)
    return figure


def clouds_figure(clouds: Sequence[Cloud], *, note: str = "") -> "Figure":
    """The picture itself: panels on the same axes, at most four a row, gold answers in grey below the others."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(len(clouds), _PANELS)
    rows = -(-len(clouds) // columns)
    figure = Figure(figsize=(1.75 * columns, 2.05 * rows + 0.2), layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03))
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for number, (axes, cloud) in enumerate(zip(panels, clouds, strict=False)):
        colour = _COLOURS[(number - 1) % len(_COLOURS)] if number else _GREY
        axes.scatter(*cloud.gold_N2.T, s=5, color=_CLOUD, linewidths=0, rasterized=True)
        axes.scatter(*cloud.answers_N2.T, s=5, color=colour[0], alpha=0.55, linewidths=0, rasterized=True)
        axes.set_title(fill(cloud.name, _TITLE), fontsize=8, color=colour[1])
        told = f"distance {cloud.distance:.3f} (chance: to {cloud.chance:.3f})"
        if number:
            told += f"\ncosine: own gold {cloud.own:.2f}, other {cloud.other:.2f}"
        axes.set_xlabel(told, fontsize=6.2, color=_GREY[1])
        axes.set(xticks=(), yticks=())
        axes.margins(0.06)
    for axes in panels[len(clouds) :]:
        axes.set_axis_off()
    if note:
        figure.supxlabel(note, x=0.99, ha="right", fontsize=6, color=_GREY[1])
    return figure


def grid_figure(cells: Mapping[tuple[int, int], tuple[float, float]], *, x_label: str, y_label: str) -> "Figure":
    """A square a cell, from the lowest share (light) to the highest, the number in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not cells:
        raise ConfigError("nothing to draw: no cell of the grid is finished.")
    rows, columns = (sorted({place[axis] for place in cells}) for axis in (0, 1))
    figure = Figure(
        figsize=(0.9 + 0.75 * len(columns), 0.7 + 0.5 * len(rows)),
        layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03),
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    lowest, highest = min(mean for mean, _ in cells.values()), max(mean for mean, _ in cells.values())
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            if (row, column) not in cells:
                axes.text(x, y, NOTHING, ha="center", va="center", color=_GREY[0])
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
    figure.supxlabel("accuracy, %, ± standard error", x=0.99, ha="right", fontsize=6, color=_GREY[1])
    return figure


def _set_scales(axes: "Axes", series: Sequence[Series], *, from_zero: bool) -> None:
    """Limits with room for the bars; ticks at the values of x, on a binary scale where those double."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    x = sorted({value for line in series for value in line.x})
    y = [value for line in series for value in (*line.y, *line.low, *line.high)]
    low, high = min(y), max(y)
    room = 0.07 * ((high - min(low, 0.0) if from_zero else high - low) or abs(high) or 1)
    axes.set_ylim(0 if from_zero and low >= 0 else low - room, high + room)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3))
    span, left = x[-1] - x[0] or 1, 0.05 + 0.008 * sum(bool(line.x) for line in series)
    right = left + 0.03 * sum(bool(line.low) for line in series if not line.x)  # where levels have their bars
    if x[0] > 0 and len(x) > 2 and min(b - a for a, b in pairwise(x)) < 0.08 * span:
        axes.set_xscale("log", base=2)
        axes.set_xlim(x[0] / (x[-1] / x[0]) ** left, x[-1] * (x[-1] / x[0]) ** right)
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(x[0] - left * span, x[-1] + right * span)
    axes.set_xticks(x if len(x) <= 9 else x[:: -(-len(x) // 9)])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:,g}")


def _draw_level(axes: "Axes", line: Series, number: int, num_levels: int) -> None:
    """A dashed line across, with its bar at the right end, beside those of other levels."""
    from matplotlib.transforms import ScaledTranslation

    axes.axhline(
        line.y[0], color=_GREY[0], linewidth=0.9, dashes=_DASHES[number % len(_DASHES)], zorder=1.5, label=line.name
    )
    if line.low:
        aside = -1.5 * _DODGE * (num_levels - number - 0.5) / 72
        place = axes.get_yaxis_transform() + ScaledTranslation(aside, 0, axes.figure.dpi_scale_trans)
        axes.vlines(1, line.low, line.high, color=_GREY[0], linewidth=0.9, transform=place)
        axes.plot(1, line.y[0], color=_GREY[0], marker="o", markersize=2.6, transform=place)


def _draw_line(axes: "Axes", line: Series, number: int, num_lines: int) -> None:
    """Line, markers and bars, a little to the side, so that different lines do not cover each other."""
    from matplotlib.transforms import ScaledTranslation

    colour, marker = _COLOURS[number % len(_COLOURS)][0], _MARKERS[number % len(_MARKERS)]
    aside = _DODGE * (number - (num_lines - 1) / 2) / 72
    place = axes.transData + ScaledTranslation(aside, 0, axes.figure.dpi_scale_trans)
    style = "-" if number < len(_COLOURS) else "--"
    axes.plot(
        line.x, line.y, color=colour, marker=marker, linestyle=style, transform=place, label=line.name,
        linewidth=1.2, markersize=3.6, markeredgecolor="white", markeredgewidth=0.4, clip_on=False,
    )  # fmt: skip
    if line.low:
        axes.vlines(line.x, line.low, line.high, color=colour, linewidth=0.9, alpha=0.75, transform=place)


def _name_lines(figure: "Figure", axes: "Axes", series: Sequence[Series]) -> None:
    """Names at the ends of the lines; where they would stand too far from them, or are long, a legend on top."""
    last = max(value for line in series for value in line.x)
    if len(series) == 1:
        return
    figure.draw_without_rendering()  # settles where the ends are
    ends = [axes.transData.transform((last, line.y[-1]))[1] * 72 / figure.dpi for line in series]
    places = spread(ends, gap=_LINE_HEIGHT)
    is_near = all(abs(place - end) <= _FARTHEST for place, end in zip(places, ends, strict=True))
    is_short = all(len(line.name) <= _LONGEST for line in series)
    if not (is_near and is_short and all(line.x[-1] == last for line in series if line.x)):
        columns = 2 if max(len(line.name) for line in series) <= _WIDEST else 1
        figure.set_size_inches(_SIZE[0], _SIZE[1] + 0.155 * -(-len(series) // columns))
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, handlelength=2.2, columnspacing=1.2)
        return
    colours = iter(name for _, name in _COLOURS * len(series))
    for line, place, end in zip(series, places, ends, strict=True):
        axes.annotate(
            line.name, (1, line.y[-1]), xycoords=axes.get_yaxis_transform(), xytext=(2, place - end),
            textcoords="offset points", va="center_baseline", fontsize=7.5, annotation_clip=False,
            color=next(colours) if line.x else _GREY[1],
        )  # fmt: skip


def spread(places: Sequence[float], *, gap: float) -> list[float]:
    """The nearest places (least squares) that keep the order and stand at least `gap` apart."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    blocks: list[list[float]] = []  # neighbours that touch; each value is what its member wants of the block's first
    for rank, index in enumerate(order):
        blocks.append([places[index] - rank * gap])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    firsts = [_mean(block) for block in blocks for _ in block]
    found = [0.0] * len(places)
    for rank, index in enumerate(order):
        found[index] = firsts[rank] + rank * gap
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _find(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    if name not in table:
        raise ConfigError(unknown(kind, name, table))
    return table[name]
