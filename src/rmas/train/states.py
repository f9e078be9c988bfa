"""Extraction: each role's texts are read once by its frozen backbone, and their hidden states kept in shards.

A pair is the state at position t and the token at t + 1. The surprising thing: with positions = "target" the first
pair of a text is the state at the *last prompt position*, which predicts the text's first token and is the first
state that a rollout sends. The release starts one position later and never trains on it.

How many pairs a text gives is known before it is read, so an extraction that was cut short goes on at the pair where
its last whole shard ends. `B` batch, `L` length, `N` pairs, `D` width.
"""

import hashlib
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from rmas.alignment import fingerprint
from rmas.backbone import HFBackbone
from rmas.conversation import Slot
from rmas.errors import ConfigError
from rmas.link import SoftToken
from rmas.system import System
from rmas.train.config import Report
from rmas.train.data import Example
from rmas.train.shards import ShardFolder, StatePairs, States

_FORMAT = 1  # of what this file extracts; part of every key
_READ = 8192  # positions in one forward, padding counted
_SOFT = 64  # states: each becomes a row of logits
_log = logging.getLogger(__name__)


class Reading(NamedTuple):
    """A sequence to read, and the position of the first state to keep. The last one kept predicts the last id."""

    ids: tuple[int, ...]
    first: int

    @property
    def num_pairs(self) -> int:
        return max(0, len(self.ids) - 1 - self.first)


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What is kept beside each state, and how many pairs a shard holds. `tau`: temperature of the soft token."""

    target: Literal["next_token", "soft_token"] = "next_token"
    tau: float = 1.0
    shard_size: int = 65_536


def role_readings(
    system: System, role: str, examples: Sequence[Example], *, positions: Literal["target", "all"], max_length: int
) -> list[Reading]:
    """The role's prompt for each example, its target text (else the answer) and an end token, cut to max_length on
    the right. Slots are left out. Raises ConfigError where no target would be left of any example."""
    backbone = system.backbones[role]
    limit = min(max_length, backbone.context)
    readings, num_cut = [], 0
    for example in examples:
        prompt = system.render(role, example.question, frozenset())
        ids = [*prompt.head, *(token for part in prompt.body if not isinstance(part, Slot) for token in part)]
        last = len(ids) - 1
        ids += [*backbone.encode(example.targets.get(role) or example.answer), backbone.end_id]
        num_cut += len(ids) > limit
        if limit > last + 1:
            readings.append(Reading(tuple(ids[:limit]), last if positions == "target" else 0))
    if examples and not readings:
        raise ConfigError(
            f"max_length: {limit} tokens hold no prompt of {role} ({backbone.name}) with any of its target. "
            "Raise max_length, or use shorter questions."
        )
    if num_cut:
        _log.warning("%s: %d of %d texts are cut to %d tokens", role, num_cut, len(examples), limit)
    return readings


def extract_states(
    backbone: HFBackbone, readings: Sequence[Reading], folder: Path, options: Extraction, *, report: Report
) -> States:
    """Read every sequence once, in batches of like length, and write its pairs to `folder`; whole shards are reused.

    Shards made of another model, other texts or other options are replaced. Raises CheckpointError for a disk that is
    full or read-only; the shards written so far stay and are found again.
    """
    total = sum(reading.num_pairs for reading in readings)
    facts = {"key": states_key(backbone, readings, options), "count": total, "width": backbone.dim}
    facts |= {"backbone": backbone.name, "fingerprint": fingerprint(backbone), "dtype": str(backbone.dtype)}
    shards = ShardFolder(folder, {**facts, **vars(options)})
    if len(shards) < total:
        vectors = 1 if options.target == "next_token" else 2
        shards.make_room((total - len(shards)) * (vectors * backbone.dim * backbone.dtype.itemsize + 4))
    for pairs in _in_shards(_pairs(backbone, readings, options, skip=len(shards)), options.shard_size):
        shards.append(pairs)
        report(f"extracting states of {backbone.name}", len(shards), total, {})
    assert len(shards) == total
    return shards.states


def states_key(backbone: HFBackbone, readings: Sequence[Reading], options: Extraction) -> str:
    """SHA-256 over everything that the shards depend on: weights, dtype, texts, what is kept, the shards' size."""
    total = hashlib.sha256(f"{_FORMAT} {fingerprint(backbone)} {backbone.dtype} {options}\n".encode())
    for reading in readings:
        total.update(f"{reading.first} {reading.ids}\n".encode())
    return total.hexdigest()


def batches_of(readings: Sequence[Reading]) -> list[list[Reading]]:
    """Sequences of like length together, at most _READ positions a batch; the batches in a shuffled, fixed order, so
    that each shard holds texts of many lengths."""
    batches: list[list[Reading]] = []
    for reading in sorted(readings, key=lambda reading: len(reading.ids)):
        if not batches or (len(batches[-1]) + 1) * len(reading.ids) > _READ:
            batches.append([])
        batches[-1].append(reading)
    random.Random(0).shuffle(batches)
    return batches


def _pairs(
    backbone: HFBackbone, readings: Sequence[Reading], options: Extraction, *, skip: int
) -> Iterator[StatePairs]:
    """The pairs of every batch, without the first `skip` of all. Batches that lie within those are not read."""
    for batch in batches_of(readings):
        count = sum(reading.num_pairs for reading in batch)
        if skip < count:
            yield read_pairs(backbone, batch, options).rows(slice(skip, None))
        skip = max(0, skip - count)


@torch.no_grad()
def read_pairs(backbone: HFBackbone, batch: Sequence[Reading], options: Extraction) -> StatePairs:
    """Read one batch whole -> the pairs of each reading in turn, on the CPU."""
    length = max(len(reading.ids) for reading in batch)
    rows = [[*reading.ids, *[0] * (length - len(reading.ids))] for reading in batch]  # right padding: causal, harmless
    h_BLD, _ = backbone.extend(backbone.start(cached=False), backbone.embed(torch.tensor(rows)))
    h_ND = torch.cat([h_BLD[i, reading.first : len(reading.ids) - 1] for i, reading in enumerate(batch)])
    ids = [token for reading in batch for token in reading.ids[reading.first + 1 :]]
    e_ND = None
    if options.target == "soft_token":
        teacher = SoftToken(backbone, options.tau)
        e_ND = torch.cat([teacher(part_ND) for part_ND in h_ND.split(_SOFT)]).cpu()
    return StatePairs(h_ND.cpu(), torch.tensor(ids, dtype=torch.int32), e_ND)


def _in_shards(blocks: Iterator[StatePairs], size: int) -> Iterator[StatePairs]:
    """The same pairs in the same order, `size` at a time; what is left comes last."""
    waiting: list[StatePairs] = []
    for block in blocks:
        waiting.append(block)
        if sum(len(pairs.ids_N) for pairs in waiting) >= size:
            joined = _join(waiting)
            whole = len(joined.ids_N) // size * size
            yield from (joined.rows(slice(first, first + size)) for first in range(0, whole, size))
            waiting = [joined.rows(slice(whole, None))]
    if sum(len(pairs.ids_N) for pairs in waiting):
        yield _join(waiting)


def _join(blocks: Sequence[StatePairs]) -> StatePairs:
    e_ND = [block.e_ND for block in blocks if block.e_ND is not None]
    h_ND, ids_N = torch.cat([block.h_ND for block in blocks]), torch.cat([block.ids_N for block in blocks])
    return StatePairs(h_ND, ids_N, torch.cat(e_ND) if e_ND else None)
