"""The picture of a training: loss to the left, to the right what the stage is about. No torch.

Outer: dev `accuracy` with real and with false messages (`accuracy_shuffled`, …), with bands from the number of
questions `n`. Inner: each role's dev `cosine_ROLE`, with the best constant's beside it (`cosine_ROLE_constant`).
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmas.canvas import COLOURS, GREY, LOOK, blank, save_picture
from rmas.settings import CONTROLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Lines = Sequence[Mapping[str, Any]]

# A dev figure -> what the picture calls it; colours that the colour-blind tell apart.
_ACCURACIES = {"accuracy": "the messages"} | {f"accuracy_{control}": told for control, told in CONTROLS.items()}
_COLOURS = (*(line for line, _ in COLOURS), GREY[1])
_LOOK = LOOK | {
    "axes.grid.axis": "both",
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "lines.linewidth": 1.3,
    "lines.markersize": 2.8,
}


def has_curves(lines: Lines) -> bool:
    """Whether there is a loss to draw."""
    return any(_points(lines, event, "loss") for event in ("step", "dev"))


def draw(lines: Lines, path: Path) -> None:
    """Write the picture, a panel for the loss and one for the rest; bands are 95 %. Errors as for `save_picture`."""
    save_picture(path, lambda: _figure(lines), _LOOK)


def _figure(lines: Lines) -> "Figure":
    has_accuracy, roles = bool(_points(lines, "dev", "accuracy")), _roles(lines)
    num_panels = 2 if has_accuracy or roles else 1
    figure = blank(3.5 * num_panels, 2.6, pad=0.08)
    panels = figure.subplots(1, num_panels, squeeze=False)[0]
    _draw_loss(panels[0], lines)
    if has_accuracy:
        _draw_accuracy(panels[1], lines)
    elif roles:
        _draw_cosines(panels[1], lines, roles)
    return figure


def _draw_loss(axes: "Axes", lines: Lines) -> None:
    """Every step's loss, pale, with its running mean, and the dev loss as points."""
    from matplotlib.ticker import LogLocator

    train, dev = _points(lines, "step", "loss"), _points(lines, "dev", "loss")
    mean = _running_mean(train)
    if train:
        axes.plot(*zip(*train, strict=True), color=_COLOURS[0], alpha=0.25, linewidth=0.6)
        axes.plot(*zip(*mean, strict=True), color=_COLOURS[0], label="train")
    if dev:
        axes.plot(*zip(*dev, strict=True), color=_COLOURS[1], label="dev", marker="o", linestyle="--", linewidth=0.8)
    levels = [level for _, level in [*mean, *dev]]
    if 0 < 8 * min(levels) < max(levels):
        axes.set_yscale("log", subs=())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
    axes.set(title="Loss", xlabel="step")
    axes.legend()


def _draw_accuracy(axes: "Axes", lines: Lines) -> None:
    """Dev accuracy with the real messages and with each control in their place."""
    counts = dict(_points(lines, "dev", "n"))
    for colour, (name, label) in zip(_COLOURS, _ACCURACIES.items(), strict=False):
        points = _points(lines, "dev", name)
        if not points:
            continue
        steps = [step for step, _ in points]
        style = "-" if name == "accuracy" else "--"
        axes.plot(*zip(*points, strict=True), color=colour, label=label, linestyle=style, marker="o")
        if counts.keys() >= set(steps):
            errors = [1.96 * math.sqrt(p * (1 - p) / counts[step]) for step, p in points]
            low = [max(p - error, 0.0) for (_, p), error in zip(points, errors, strict=True)]
            high = [min(p + error, 1.0) for (_, p), error in zip(points, errors, strict=True)]
            axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set(title="Dev accuracy", xlabel="step", ylim=(-0.02, 1.02))
    axes.legend(title="Agents receive", alignment="left")


def _draw_cosines(axes: "Axes", lines: Lines, roles: Sequence[str]) -> None:
    """Each role's dev cosine, and, dotted, what one constant vector would reach."""
    for number, role in enumerate(roles):
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(*zip(*_points(lines, "dev", f"cosine_{role}"), strict=True), color=colour, label=role, marker="o")
        constant = _points(lines, "dev", f"cosine_{role}_constant")
        axes.plot(*zip(*constant, strict=True), color=colour, linestyle=":")
    axes.set(title="Dev cosine (dotted: the best constant)", xlabel="step")
    axes.legend()


def _roles(lines: Lines) -> list[str]:
    """The roles whose dev cosine is in the log, in its order."""
    names = dict.fromkeys(name for line in lines if line["event"] == "dev" for name in line)
    found = (name.removeprefix("cosine_").removesuffix("_constant") for name in names if name.endswith("_constant"))
    return [role for role in found if _points(lines, "dev", f"cosine_{role}")]


def _points(lines: Lines, event: str, name: str) -> list[tuple[int, float]]:
    """(step, value) of every line of `event` that has a finite number under `name`."""
    return [
        (line["step"], float(line[name]))
        for line in lines
        if line["event"] == event and isinstance(line.get(name), int | float) and math.isfinite(line[name])
    ]


def _running_mean(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The mean over a fiftieth of the run to either side, so that a point stands over its own steps."""
    reach = len(points) // 50
    levels = [level for _, level in points]
    windows = [levels[max(0, i - reach) : i + reach + 1] for i in range(len(points))]
    return [(step, sum(window) / len(window)) for (step, _), window in zip(points, windows, strict=True)]
