"""What a training noted down: `log.jsonl`, a line an event, and the same numbers as TensorBoard event files. No torch.

The surprising thing: on resume the lines after the checkpoint go, so that a log with kills in it reads like one
without. TensorBoard is told the same (`purge_step`).
"""

import json
import logging
import math
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, final

from rmas.errors import CheckpointError
from rmas.train.curves import draw, has_curves
from rmas.wholefile import write_whole

LOG, EVENTS, CURVES = "log.jsonl", "tensorboard", "curves.png"
Event = Literal["start", "step", "dev", "diagnose", "end"]

log = logging.getLogger(__name__)


@final
class Journal:
    """Appends to `folder`, which must exist. `resume_from`: lines of later steps are dropped; None: all are."""

    def __init__(self, folder: Path, *, resume_from: int | None) -> None:
        self._path = folder / LOG
        _cut(self._path, -1 if resume_from is None else resume_from)
        try:
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as problem:
            raise _unwritable(self._path, problem) from None
        self._add_scalar, self._close_events = _event_files(folder / EVENTS, resume_from)

    def write(self, step: int, event: Event, values: Mapping[str, float | str]) -> None:
        """One line, on disk when this returns; its numbers also go to TensorBoard, as `event/name`.

        A number that is not finite is written as a text ("nan"), which JSON can hold. Raises CheckpointError where the
        disk is full.
        """
        line = {"step": step, "event": event} | {name: _plain(value) for name, value in values.items()}
        try:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()
            for name, value in values.items():
                if not isinstance(value, str) and math.isfinite(value):
                    self._add_scalar(f"{event}/{name}", float(value), step)
        except OSError as problem:
            raise _unwritable(self._path, problem) from None

    def close(self) -> None:
        self._file.close()
        self._close_events()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Every line of the log in `folder`, oldest first; no log: none. An unfinished last line is left out.

    Raises CheckpointError with the line's number where another line is no JSON object.
    """
    return _lines(folder / LOG)


def draw_curves(folder: Path) -> Path | None:
    """Draw the log of `folder` as `curves.png`. None, with a warning, without matplotlib or a loss to draw."""
    path = folder / CURVES
    if find_spec("matplotlib") is None:
        log.warning("No %s: matplotlib is not installed. Get it with pip install 'rmas[train]'.", CURVES)
        return None
    lines = read_log(folder)
    if not has_curves(lines):
        log.warning("No %s: %s holds no loss to draw.", CURVES, folder / LOG)
        return None
    draw(lines, path)
    return path


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        whole, _, _ = path.read_bytes().rpartition(b"\n")
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise CheckpointError(f"{path}: cannot be read ({problem.strerror}). Check the path.") from None
    lines = []
    for number, text in enumerate(whole.splitlines(), start=1):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not (isinstance(line, dict) and isinstance(line.get("step"), int) and isinstance(line.get("event"), str)):
            raise CheckpointError(f"{path}:{number}: not a line of a training log. Remove it.")
        lines.append(line)
    return lines


def _cut(path: Path, last: int) -> None:
    """Drop the lines of steps after `last`, and an unfinished one; all at once, by renaming."""
    if not path.exists():
        return
    kept = [json.dumps(line, ensure_ascii=False) + "\n" for line in _lines(path) if line["step"] <= last]
    try:
        write_whole(path, "".join(kept))
    except OSError as problem:
        raise _unwritable(path, problem) from None


def _event_files(
    folder: Path, resume_from: int | None
) -> tuple[Callable[[str, float, int], object], Callable[[], object]]:
    """How to add a number to the TensorBoard files of `folder`, and how to close them."""
    if find_spec("tensorboardX") is None:
        log.warning("No TensorBoard files: tensorboardX is not installed. Get it with pip install 'rmas[train]'.")
        return (lambda *_: None), (lambda: None)

    from tensorboardX import SummaryWriter

    purge = 0 if resume_from is None else resume_from + 1
    writer = SummaryWriter(str(folder), purge_step=purge, flush_secs=10)
    return writer.add_scalar, writer.close


def _plain(value: float | str) -> float | str:
    return value if isinstance(value, str) or math.isfinite(value) else str(value)


def _unwritable(path: Path, problem: OSError) -> CheckpointError:
    return CheckpointError(
        f"{path}: cannot be written ({problem.strerror or problem}). Free some room or check the path."
    )
