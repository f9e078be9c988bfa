"""What all pictures share: colours, letters, an empty figure, and how it becomes a file. No torch.

The surprising thing: the same picture twice is the same file, whatever its format. Needs matplotlib and touches none of
its global state.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmas.errors import ConfigError, unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Line and name; told apart by the colour-blind (Okabe and Ito 2008). The names are darker, to be read on white.
COLOURS = (
    ("#0072B2", "#005C90"),
    ("#D55E00", "#B04E00"),
    ("#009E73", "#007A59"),
    ("#CC79A7", "#A3507E"),
    ("#E69F00", "#966700"),
    ("#56B4E9", "#2478A8"),
)
GREY = ("#8c8c8c", "#5a5a5a")
LOOK: dict[Any, Any] = {
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


def blank(width: float, height: float, *, pad: float = 0.03) -> "Figure":
    """An empty figure, in inches, that lays itself out; `pad` of an inch around each of its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=pad, h_pad=pad))
    FigureCanvasAgg(figure)
    return figure


def write_below(figure: "Figure", note: str) -> None:
    """A small line at the lower right of the picture."""
    figure.supxlabel(note, x=0.99, ha="right", fontsize=6, color=GREY[1])


def save_picture(path: Path, figure: Callable[[], "Figure"], look: dict[Any, Any] = LOOK) -> None:
    """Draw under `look` and write .png (200 dots an inch), .pdf or .svg. ConfigError: another suffix, not writable, or
    no matplotlib.
    """
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path}: " + unknown("picture format", path.suffix, FORMATS))
    try:
        from matplotlib import rc_context
    except ModuleNotFoundError:
        raise ConfigError("plots need the matplotlib package: pip install 'rmas[eval]'.") from None

    with rc_context(look):
        drawn = figure()
        try:
            drawn.savefig(path, dpi=200, metadata=FORMATS[path.suffix])
        except OSError as problem:
            raise ConfigError(f"{path}: cannot be written ({problem.strerror}). Check the path.") from None
