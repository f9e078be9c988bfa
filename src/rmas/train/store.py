"""Checkpoints of a running training: tensors and state, written so that a kill at any moment leaves the last one whole.

A checkpoint is the folder `step-00000100` with `tensors.safetensors` and `state.json`. It is written under another
name and then renamed, so what carries the name was complete; the digests tell whether it still is.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rmas.checkpoint import digest
from rmas.errors import CheckpointError
from rmas.settings import require

TENSORS, STATE = "tensors.safetensors", "state.json"
_PARTIAL = ".partial"

log = logging.getLogger(__name__)


class Stored(NamedTuple):
    """One checkpoint: the step after which it was made, tensors by name (on the CPU), and the state as JSON has it."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


@final
class Store:
    """The checkpoints in `folder`, which is made with the first one; the last `keep` of them stay."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        require(keep >= 1, "keep", keep, "1 or more")
        self.folder = folder
        self.keep = keep

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write the checkpoint of `step`; drop older ones beyond `keep`, and any of a later step.

        `state` must be what JSON holds. Raises CheckpointError where the disk is full or the folder not writable; the
        checkpoints that were there stay.
        """
        tensors = _apart({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        table = {"step": step, "digest": digest(tensors), "state": dict(state)}
        place = self.folder / f"step-{step:08d}"
        unfinished = place.with_name(place.name + _PARTIAL)
        try:
            self._clear()
            unfinished.mkdir(parents=True)
            _write(unfinished / TENSORS, partial(save_file, tensors))
            text = json.dumps(table | {"check": _check(table)})
            _write(unfinished / STATE, lambda path: path.write_text(text, encoding="utf-8"))
            if place.exists():
                _remove(place)
            unfinished.replace(place)
            self._prune(step)
        except (OSError, SafetensorError) as problem:
            shutil.rmtree(unfinished, ignore_errors=True)
            why = getattr(problem, "strerror", None) or problem
            raise CheckpointError(
                f"{place}: cannot be written ({why}). Free some room or check the path; "
                "the checkpoints before it are kept."
            ) from None

    def latest(self) -> Stored | None:
        """The newest whole checkpoint; None where there is none yet. A broken one is passed over with a warning.

        Raises CheckpointError if there are some and all are broken.
        """
        steps = self._steps()
        for step in reversed(steps):
            try:
                return _read(self.folder / f"step-{step:08d}")
            except CheckpointError as problem:
                log.warning("%s Taking the one before.", problem)
        if steps:
            raise CheckpointError(
                f"{self.folder}: none of its checkpoints is whole (steps {', '.join(map(str, steps))}). "
                "Restore one, or begin again in another folder."
            )
        return None

    def _steps(self) -> list[int]:
        """The steps that have a folder, in rising order."""
        names = (path.name.removeprefix("step-") for path in self.folder.glob("step-*"))
        return sorted(int(name) for name in names if name.isdecimal())

    def _prune(self, newest: int) -> None:
        """Later steps than `newest` are of a course that was given up: a run resumes from the newest whole one."""
        steps = self._steps()
        kept = [step for step in steps if step <= newest][-self.keep :]
        for step in set(steps) - set(kept):
            _remove(self.folder / f"step-{step:08d}")

    def _clear(self) -> None:
        for leftover in self.folder.glob(f"step-*{_PARTIAL}"):
            shutil.rmtree(leftover)


def _remove(folder: Path) -> None:
    """Take the name away first, so that no half-removed folder carries it."""
    doomed = folder.with_name(folder.name + ".old" + _PARTIAL)
    folder.replace(doomed)
    shutil.rmtree(doomed)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same, none within another's memory: those that share some are copied. No others, for they may be large."""
    found: dict[str, Tensor] = {}
    held: set[int] = set()
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage()
        is_own = memory.data_ptr() not in held and memory.nbytes() == tensor.nbytes
        found[name] = tensor if is_own else tensor.clone()
        held.add(memory.data_ptr())
    return found


def _write(path: Path, put: Callable[[Path], object]) -> None:
    """Let `put` fill the file, and wait until the disk has it."""
    put(path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _read(folder: Path) -> Stored:
    """Raises CheckpointError where anything is missing, truncated or altered."""
    try:
        table = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if not isinstance(table, dict) or table.pop("check", None) != _check(table):
            raise CheckpointError(f"{folder}: {STATE} was altered.")
        tensors = load_file(folder / TENSORS)
    except FileNotFoundError as problem:
        raise CheckpointError(f"{folder}: {Path(problem.filename or TENSORS).name} is missing.") from None
    except (OSError, ValueError, SafetensorError) as problem:  # what is no UTF-8 or no JSON is a ValueError
        raise CheckpointError(f"{folder}: truncated or altered ({problem}).") from None
    if (found := digest(tensors)) != table["digest"]:
        raise CheckpointError(f"{folder}: tensors have digest {found[:16]}…, expected {table['digest'][:16]}….")
    return Stored(table["step"], tensors, table["state"])


def _check(table: Mapping[str, Any]) -> str:
    """SHA-256 of a state file's content, whatever its spacing and order."""
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
