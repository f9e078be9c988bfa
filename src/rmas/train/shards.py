"""Pairs of a state and what follows it, in shards on disk: written whole or not at all, read one at a time.

A folder holds `00000.safetensors`, … and an `index.json` that names what they were made of (`key`) and each shard's
count and SHA-256. The index is written after every shard, so what is whole is known at any moment.
`N` pairs, `D` width.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from rmas.backbone import HFBackbone
from rmas.errors import CheckpointError
from rmas.sources import sha256_of

INDEX = "index.json"
_log = logging.getLogger(__name__)


class StatePairs(NamedTuple):
    """States h_ND in the backbone's dtype, the id of the token after each (int32), and soft tokens e_ND where those
    are the target."""

    h_ND: Tensor
    ids_N: Tensor
    e_ND: Tensor | None = None

    def rows(self, rows: slice | Tensor) -> "StatePairs":
        """These pairs, in this order."""
        return StatePairs(self.h_ND[rows], self.ids_N[rows], None if self.e_ND is None else self.e_ND[rows])

    def targets(self, backbone: HFBackbone) -> Tensor:
        """e_ND on the backbone's device: the soft tokens, or the tokens' embeddings through its own module."""
        return backbone.embed(self.ids_N) if self.e_ND is None else self.e_ND.to(backbone.device)


@dataclass(frozen=True, kw_only=True)
class States:
    """The shards of a folder, with their counts. Holds no pair in memory."""

    folder: Path
    counts: tuple[int, ...]

    def __len__(self) -> int:
        """N over all shards."""
        return sum(self.counts)

    def shard(self, number: int) -> StatePairs:
        """Read a whole shard. Raises CheckpointError where it has gone."""
        path = self.folder / _name(number)
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as problem:
            raise CheckpointError(
                f"{path}: cannot be read ({problem}). Start again with --resume: it is extracted anew."
            ) from None
        return StatePairs(tensors["h"], tensors["ids"], tensors.get("e"))


@final
class StateBatches:
    """Batches of pairs by step, with one shard in memory: shards in a new order each epoch, shuffled within.

    What a step holds depends on (seed, step) alone. A shard's last pairs that do not fill a batch sit out the epoch,
    other ones each time; a shard smaller than a batch is a batch.
    """

    def __init__(self, states: States, *, batch_size: int, seed: int) -> None:
        self._states, self._batch_size, self._seed = states, batch_size, seed
        self._steps = [max(1, count // batch_size) for count in states.counts]
        self._held: tuple[tuple[int, int], StatePairs] | None = None

    def __len__(self) -> int:
        """Steps in one epoch."""
        return sum(self._steps)

    def __getitem__(self, step: int) -> StatePairs:
        epoch, place = divmod(step, len(self))
        for number in torch.randperm(len(self._steps), generator=_generator(self._seed, epoch)).tolist():
            if place < self._steps[number]:
                break
            place -= self._steps[number]
        first = place * self._batch_size
        return self._shuffled(epoch, number).rows(slice(first, first + self._batch_size))

    def _shuffled(self, epoch: int, number: int) -> StatePairs:
        if self._held is None or self._held[0] != (epoch, number):
            self._held = None  # before the next is read: one in memory, not two
            order = torch.randperm(self._states.counts[number], generator=_generator(self._seed, epoch, number))
            self._held = (epoch, number), self._states.shard(number).rows(order)
        return self._held[1]


@final
class ShardFolder:
    """A folder of shards as it grows. `facts` goes into the index; its "key" says whether old shards are still good.

    Shards of another key are replaced. One that is missing or altered is replaced along with those after it. Raises
    CheckpointError for a folder that cannot be written.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self._folder, self._facts = folder, dict(facts)
        self._shards = _whole_shards(folder, self._facts["key"])

    def __len__(self) -> int:
        """Pairs in whole shards."""
        return sum(int(shard["count"]) for shard in self._shards)

    @property
    def states(self) -> States:
        """What is whole so far."""
        return States(folder=self._folder, counts=tuple(int(shard["count"]) for shard in self._shards))

    def make_room(self, needed_bytes: int) -> None:
        """Delete shards that will be replaced, then refuse an extraction that cannot fit, before the time it takes."""
        folder = self._folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.glob("[0-9]*.safetensors"))[len(self._shards) :]:
                path.unlink()
            free = shutil.disk_usage(folder).free
        except OSError as problem:
            raise _unwritable(folder, problem) from None
        if free < needed_bytes:
            raise CheckpointError(
                f"{folder}: the states need {needed_bytes / 2**30:.2f} GiB, {free / 2**30:.2f} GiB are free. "
                "Free some room, lower `limit`, or choose another folder."
            )

    def append(self, pairs: StatePairs) -> None:
        """Write one more shard, and the index that holds it."""
        tensors = {"h": pairs.h_ND, "ids": pairs.ids_N} | ({} if pairs.e_ND is None else {"e": pairs.e_ND})
        content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        _write(self._folder / _name(len(self._shards)), content)
        shards = [*self._shards, {"count": len(pairs.ids_N), "sha256": hashlib.sha256(content).hexdigest()}]
        _write(self._folder / INDEX, (json.dumps({**self._facts, "shards": shards}, indent=1) + "\n").encode())
        self._shards = shards


def _generator(*numbers: int) -> torch.Generator:
    seed = hashlib.sha256(repr(numbers).encode()).digest()[:8]
    return torch.Generator().manual_seed(int.from_bytes(seed, "big") >> 1)


def _name(number: int) -> str:
    return f"{number:05}.safetensors"


def _whole_shards(folder: Path, key: str) -> list[dict[str, Any]]:
    """The index's shards up to the first that is missing or altered; none where they are of something else."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        shards = [{"count": int(shard["count"]), "sha256": str(shard["sha256"])} for shard in index["shards"]]
        is_ours = index["key"] == key
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        _log.warning("%s: damaged; extracting these states again", folder / INDEX)
        return []
    if not is_ours:
        _log.info("%s: made of other texts, weights or options; extracting again", folder)
        return []
    for number, shard in enumerate(shards):
        path = folder / _name(number)
        if not path.is_file() or sha256_of(path) != shard["sha256"]:
            _log.warning("%s: missing or altered; extracting again from there", path)
            return shards[:number]
    return shards


def _write(path: Path, content: bytes) -> None:
    """Write a file whole, or not at all; it is on the disk before it has its name."""
    unfinished = path.with_suffix(".partial")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as problem:
        if unfinished.exists():
            unfinished.unlink()
        raise _unwritable(path, problem) from None


def _unwritable(path: Path, problem: OSError) -> CheckpointError:
    return CheckpointError(
        f"{path}: cannot be written ({problem.strerror}). Free some room or check the path; "
        "what is whole is kept, and --resume goes on from there."
    )
