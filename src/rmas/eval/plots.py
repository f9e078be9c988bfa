"""Pictures for a paper: accuracy, seconds and sequential steps against rounds or latent steps. No torch.

The surprising thing: lines are named at their right ends, in their colours, and only where they end too close together
does a legend stand above the axes.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmas.canvas import COLOURS, GREY, blank, save_picture, write_below
from rmas.errors import ConfigError, unknown
from rmas.eval.series import MEASURES, SETTINGS, Series, series_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "os^DvP"
_DASHES = ((4, 2.5), (1.2, 1.6), (6, 2, 1.2, 2), (8, 3))  # of levels
_SIZE = (3.4, 2.2)  # inches: one column of a two-column page
_LINE_HEIGHT = 8.5  # points from one name to the next
_FARTHEST = 13.0  # points that a name may stand from its line's end
_LONGEST = 22  # letters of a name that leave room for the lines
_WIDEST = 20  # letters of a name that leave room for another one beside it in the legend
_DODGE = 2.4  # points between the error bars of two series


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
    save_picture(path, lambda: lines_figure(series, x_label=x_label, y_label=y_label, from_zero=from_zero, note=note))


def lines_figure(
    series: Sequence[Series], *, x_label: str, y_label: str, from_zero: bool = False, note: str = ""
) -> "Figure":
    """The picture itself, under the current settings of matplotlib."""
    if not any(line.x for line in series):
        raise ConfigError("nothing to draw: no series has a point. Report runs that differ in a setting.")
    figure = blank(*_SIZE)
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
        write_below(figure, note)
    _name_lines(figure, axes, series)
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
        line.y[0], color=GREY[0], linewidth=0.9, dashes=_DASHES[number % len(_DASHES)], zorder=1.5, label=line.name
    )
    if line.low:
        aside = -1.5 * _DODGE * (num_levels - number - 0.5) / 72
        place = axes.get_yaxis_transform() + ScaledTranslation(aside, 0, axes.figure.dpi_scale_trans)
        axes.vlines(1, line.low, line.high, color=GREY[0], linewidth=0.9, transform=place)
        axes.plot(1, line.y[0], color=GREY[0], marker="o", markersize=2.6, transform=place)


def _draw_line(axes: "Axes", line: Series, number: int, num_lines: int) -> None:
    """Line, markers and bars, a little to the side, so that different lines do not cover each other."""
    from matplotlib.transforms import ScaledTranslation

    colour, marker = COLOURS[number % len(COLOURS)][0], _MARKERS[number % len(_MARKERS)]
    aside = _DODGE * (number - (num_lines - 1) / 2) / 72
    place = axes.transData + ScaledTranslation(aside, 0, axes.figure.dpi_scale_trans)
    style = "-" if number < len(COLOURS) else "--"
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
    colours = iter(name for _, name in COLOURS * len(series))
    for line, place, end in zip(series, places, ends, strict=True):
        axes.annotate(
            line.name, (1, line.y[-1]), xycoords=axes.get_yaxis_transform(), xytext=(2, place - end),
            textcoords="offset points", va="center_baseline", fontsize=7.5, annotation_clip=False,
            color=next(colours) if line.x else GREY[1],
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
