"""What verbs draw: dim notes, plain tables, progress. Results go to stdout, everything about them to stderr."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rmas.sources import Progress
    from rmas.train.config import Report

_MIB = 1 << 20
_BELL_AND_KIN = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160)) if chr(code) not in "\t\n"}


def note(text: str) -> None:
    """One dim line on stderr."""
    typer.secho(text, dim=True, err=True)


def print_json(table: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(table, indent=2, ensure_ascii=False))


def shown(text: str) -> str:
    """A model's text as it may go to stdout: on a terminal, control characters are spelled out."""
    return text.translate(_BELL_AND_KIN) if sys.stdout.isatty() else text


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, indent: str = "") -> str:
    """Columns as wide as they need to be; a column of numbers stands to the right. "?" is an unknown number."""
    cells = [[_cell(value) for value in row] for row in rows]
    is_number = [all(_is_number(row[i]) for row in cells) and bool(cells) for i in range(len(header))]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    lines = []
    for row in [list(header), *cells]:
        aligned = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, is_number, strict=True)
        )
        lines.append((indent + "  ".join(aligned)).rstrip())
    return "\n".join(lines)


def size(num_bytes: float | None) -> str:
    """Bytes for people: 98 MB, 1.26 GB; "?" where nobody knows."""
    if num_bytes is None:
        return "?"
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.2f} GB"
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 1e7 else f"{num_bytes / 1e6:.2f} MB"


@contextmanager
def progress(*, is_kept: bool = False) -> Iterator["Progress"]:
    """A Progress for the length of a `with`: bars on a terminal (`is_kept`: they stay there), else plain lines."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    with _bars(is_kept=is_kept) as draw:
        began: dict[str, tuple[float, int]] = {}

        def report(what: str, done: int, total: int) -> None:
            at, first = began.setdefault(what, (time.monotonic(), done))
            seconds = time.monotonic() - at
            rate = f", {size((done - first) / seconds)}/s" if total >= _MIB and seconds > 0.5 else ""
            draw(what, done, total, _amount(done, total) + rate)

        yield report


@contextmanager
def training_progress(*, is_shown: bool = True) -> Iterator["Report"]:
    """A training's Report for the length of a `with`: bars that stay, with loss and tokens per second, else lines."""
    if not is_shown:
        yield lambda *_: None
    elif not sys.stderr.isatty():
        yield _TrainingLines()
    else:
        with _bars(is_kept=True) as draw:
            yield lambda stage, done, total, figures: draw(stage, done, total, f"{done} of {total}{_told(figures)}")


@contextmanager
def _bars(*, is_kept: bool) -> Iterator[Callable[[str, int, int, str], None]]:
    """Bars on a terminal: what, done, total, and the text beside the bar."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=not is_kept) as bars:
        tasks: dict[str, Any] = {}

        def draw(what: str, done: int, total: int, text: str) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, completed=done, amount=text)
            bars.update(tasks[what], completed=done, total=total, amount=text)

        yield draw


class _Lines:
    """One line when a stage starts and one when it ends, for logs."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._ended: set[str] = set()

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._began:
            self._began[what] = time.monotonic()
            print(f"{what} …" if total <= 1 else f"{what}: {_amount(done, total)}", file=sys.stderr)
        if done >= total and what not in self._ended:
            self._ended.add(what)
            print(f"{what}: done in {time.monotonic() - self._began[what]:.0f} s", file=sys.stderr)


class _TrainingLines:
    """A line when a stage is first heard of, at every twentieth of it, and at its end; with the time left."""

    def __init__(self) -> None:
        self._began: dict[str, tuple[float, int]] = {}
        self._next: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        at, first = self._began.setdefault(stage, (time.monotonic(), done))
        if done < min(self._next.get(stage, 0), total):
            return
        self._next[stage] = done + total / 20
        left = (time.monotonic() - at) / (done - first) * (total - done) if done > first else None
        rest = "" if left is None or done >= total else f", {_time(left)} left"
        print(f"{stage}: {done} of {total}{_told(figures)}{rest}", file=sys.stderr, flush=True)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _told(figures: Mapping[str, float]) -> str:
    """Loss, accuracy with its interval, and speed, where there are any."""
    told = f", loss {figures['loss']:.4f}" if "loss" in figures else ""
    if "accuracy" in figures:
        accuracy, low, high = (100 * figures[name] for name in ("accuracy", "low", "high"))
        told += f", {accuracy:.1f} % correct ({low:.0f} to {high:.0f})"
    return told + (f", {figures['tokens_per_second']:,.0f} tokens/s" if "tokens_per_second" in figures else "")


def _amount(done: int, total: int) -> str:
    if total <= 1:
        return ""
    return f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if total >= _MIB else f"{done} of {total}"


def _cell(value: object) -> str:
    return "?" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _is_number(cell: str) -> bool:
    return cell in ("?", "-") or cell.replace(",", "").replace(".", "").rstrip(" GMBx").isdigit()
