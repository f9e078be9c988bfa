"""Examples to train on: read from files, datasets and generators, split by content, batched by length. No torch.

The surprising thing: which side of the train/dev border an example falls on is decided by a hash of what is asked, not
by its place in the file. So a reordered file splits the same way, and a question never stands on both sides.
"""

import hashlib
import json
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from rmas.errors import ConfigError, QuestionError
from rmas.prompt import Question
from rmas.rows.deal import deal_rows
from rmas.rows.gym import gym_rows
from rmas.rows.relay import relay_rows
from rmas.rows.stored import Row, read_file, read_hub
from rmas.settings import require
from rmas.train.columns import Columns, Texts
from rmas.train.config import DataConfig

_log = logging.getLogger(__name__)

# Prefix of a source -> who reads the rest. Whatever has no prefix is a file.
SOURCES: Mapping[str, Callable[[str], Iterable[Row]]] = {
    "deal": deal_rows,
    "hf": read_hub,
    "reasoning_gym": gym_rows,
    "relay": relay_rows,
}
GENERATED = ("deal", "reasoning_gym", "relay")  # their columns are ours: neither mapped nor cut
WINDOW = 16  # batches that are sorted by length together


@dataclass(frozen=True, kw_only=True)
class Example:
    """A question, its gold answer (stripped, never empty), and role targets: what a role would write as a text.

    `answers`: where each round has its own, one a round; else empty, and `answer` holds for all.
    `item`: what several forms of one example have in common; empty where there is one form.
    """

    question: Question
    answer: str
    targets: Mapping[str, str] = field(default_factory=dict)
    item: str = ""
    answers: tuple[str, ...] = ()

    @property
    def row(self) -> dict[str, Any]:
        """As it can be written down."""
        return asdict(replace(self, targets=dict(self.targets)))

    def answer_in(self, round_number: int) -> str:
        """The gold answer of a run that ends with this round, 1 or more. Raises ConfigError where there is none."""
        if not self.answers:
            return self.answer
        if round_number > len(self.answers):
            raise ConfigError(
                f"{self.question.text[:40]!r} has answers for {len(self.answers)} rounds, round {round_number} was "
                "asked for. Lower rounds, or give more answers."
            )
        return self.answers[round_number - 1]

    @cached_property
    def key(self) -> str:
        """sha256, hex, over question and contexts (or `item`), not over the answer: equal keys are one example."""
        identity = self.item or json.dumps([self.question.text, sorted(self.question.context.items())])
        return hashlib.sha256(identity.encode()).hexdigest()


class Split(NamedTuple):
    """No key stands on both sides, or twice on one."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]


def load_examples(config: DataConfig, *, roles: Sequence[str]) -> list[Example]:
    """Every example of `config.data`, in the order of its sources; with `limit`, those of the smallest keys.

    `roles`: those of the system; contexts and targets may name no other. Raises ConfigError: the file and line or the
    item, what is missing or does not fit, and the nearest name.
    """
    examples = [example for source in config.data.split(" + ") for example in _read(source.strip(), config, roles)]
    if config.limit is None or len(examples) <= config.limit:
        return examples
    kept = sorted(range(len(examples)), key=lambda index: (examples[index].key, index))[: config.limit]
    return [examples[index] for index in sorted(kept)]


def split_examples(examples: Sequence[Example], *, dev: int) -> Split:
    """The `dev` smallest keys for dev, in the order of keys; the others for train, in the given order.

    Of equal keys the first is kept. With further examples, none of the old train side can come to dev (old dev
    examples may go to train). Raises ConfigError where nothing is left to train on.
    """
    require(dev >= 0, "dev", dev, "0 (hold out none) or more")
    unique: dict[str, Example] = {}
    for example in examples:
        unique.setdefault(example.key, example)
    if len(unique) < len(examples):
        _log.info("%d of %d examples are repeats and were dropped", len(examples) - len(unique), len(examples))
    if dev >= len(unique):
        raise ConfigError(
            f"dev is {dev}, but the data has {len(unique)} different examples: none is left to train on. "
            "Lower dev, or give more data."
        )
    held = {key: unique[key] for key in sorted(unique)[:dev]}
    return Split(tuple(example for key, example in unique.items() if key not in held), tuple(held.values()))


def chance(examples: Sequence[Example]) -> float:
    """The accuracy, 0 to 1, of always giving the most frequent answer of `examples`; needs one or more."""
    return max(Counter(example.answer for example in examples).values()) / len(examples)


def lengths_of(examples: Sequence[Example]) -> list[int]:
    """Characters of the question and its longest context: a stand-in for tokens, good enough to sort by."""
    return [
        len(example.question.text) + max(map(len, example.question.context.values()), default=0) for example in examples
    ]


def batches_of(examples: Sequence[Example], size: int) -> Iterator[list[Example]]:
    """All examples in batches of like length and of near-equal size, none of a single row where that can be."""
    ordered = sorted(examples, key=lambda example: len(example.question.text))
    number = max(1, -(-len(ordered) // size))
    borders = [len(ordered) * i // number for i in range(number + 1)]
    for first, last in pairwise(borders):
        if first < last:
            yield ordered[first:last]


class Batches:
    """The order of training, as random access: batch `step` is a function of (lengths, batch_size, seed, step).

    An epoch is a shuffle of all indices; windows of 16 batches are sorted by length and cut, and the batches shuffled.
    Without `by_length` they are only shuffled and cut: sources of unlike lengths then meet in every batch.
    The `len(lengths) % batch_size` indices that fill no batch sit out the epoch: others in each. With `fixed` every
    epoch has the batches of the first, in an order of its own.
    """

    def __init__(
        self, lengths: Sequence[int], *, batch_size: int, seed: int, by_length: bool = True, fixed: bool = False
    ) -> None:
        """Raises ConfigError for a `batch_size` below 1 or above the number of lengths."""
        require(batch_size >= 1, "batch_size", batch_size, "1 or more")
        expected = f"at most the number of training examples ({len(lengths)}). Lower it, or give more data"
        require(batch_size <= len(lengths), "batch_size", batch_size, expected)
        self._lengths, self._batch_size, self._seed = tuple(lengths), batch_size, seed
        self._window = WINDOW if by_length else 1
        self._epoch, self._order = -1, [[0]]
        self._fixed = fixed

    @property
    def per_epoch(self) -> int:
        """Whole batches in one pass."""
        return len(self._lengths) // self._batch_size

    def __getitem__(self, step: int) -> list[int]:
        """The indices of global batch `step`, 0 or more. Keeps the order of the epoch it was last asked for."""
        require(step >= 0, "step", step, "0 or more")
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        return list(self._order[place])

    def _shuffled(self, epoch: int) -> list[list[int]]:
        if self._fixed and epoch:
            batches = self._shuffled(0)
            self._draw(epoch).shuffle(batches)
            return batches
        size, draw = self._batch_size, self._draw(epoch)
        order = list(range(len(self._lengths)))
        draw.shuffle(order)
        order = order[: self.per_epoch * size]
        batches = []
        for start in range(0, len(order), self._window * size):
            window = sorted(order[start : start + self._window * size], key=self._lengths.__getitem__)
            batches += [window[cut : cut + size] for cut in range(0, len(window), size)]
        draw.shuffle(batches)
        return batches

    def _draw(self, epoch: int) -> random.Random:
        seed = hashlib.sha256(f"{self._seed}\0{epoch}".encode()).digest()
        return random.Random(int.from_bytes(seed, "big"))


def _read(source: str, config: DataConfig, roles: Sequence[str]) -> list[Example]:
    columns = Columns(config, roles)  # checks the mapping, used or not
    prefix, colon, rest = source.partition(":")
    if colon and prefix in SOURCES:
        rows: Iterable[Row] = SOURCES[prefix](rest)
    elif source.endswith((".jsonl", ".json")):
        rows = read_file(source)
    else:
        raise ConfigError(
            f"data: {source!r} is no source. Expected a .jsonl or .json file, hf:OWNER/NAME, hf:./folder, "
            "reasoning_gym:FAMILY, deal:FAMILY or relay:FAMILY, or several of them joined by ' + '."
        )
    if prefix in GENERATED:
        columns = Columns(DataConfig(data=source), roles)
    return [_example(row, columns.read(row), config) for row in rows]


def _example(row: Row, texts: Texts, config: DataConfig) -> Example:
    try:
        question = Question(text=texts.question, kind=config.kind, context=texts.context)
    except QuestionError as problem:
        raise ConfigError(f"{row.place}: {problem}") from None
    return Example(question=question, answer=texts.answer, targets=texts.targets, item=row.item, answers=texts.answers)
