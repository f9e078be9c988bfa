"""Writers that train, for the text baseline: rejection-sampling fine-tuning (Yuan et al. 2023, arXiv:2308.01825).

No gradient flows through words, so who writes learns from what was written. For each question the team as it was tells
its messages several times, the likeliest ones and some that are drawn, and the telling is kept after which most rounds
in a row were answered rightly. Its messages of those rounds are learned by who wrote them, and the right answer of the
round behind them, or of the last: what comes after a wrong answer is not learned.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple, final

import torch
from torch import Tensor

from rmas.backbone import Backbone
from rmas.checkpoint import write_files
from rmas.conversation import Prompt
from rmas.engine import Agent, Around, Heads, Inbox, Payload, Row, TextChannel, Thought, num_positions, read
from rmas.errors import CheckpointError
from rmas.settings import Sampling
from rmas.system import System
from rmas.train.config import Cost, Report
from rmas.train.data import Example, batches_of
from rmas.train.dev import replies
from rmas.train.objective import Unrolled, target_nll
from rmas.train.operations import Operations
from rmas.train.told import Told

TEMPERATURE = 1.0  # of messages that are drawn


@dataclass(frozen=True)
class Lessons:
    """The tellings that were kept, as one: what was said of each example, and by its key how many rounds are learned.
    `cost`: of all tellings, and of the answers that they were judged by."""

    told: Told
    right: Mapping[str, int]
    cost: Cost

    def of(self, examples: Sequence[Example], learner: Backbone) -> "LessonChannel":
        """The channel in which a batch hears what was kept for it, and `learner` learns what it said."""
        right = tuple(self.right[example.key] for example in examples)
        return LessonChannel(self.told.of(examples), learner, right)


@torch.no_grad()
def draw_lessons(
    system: System,
    examples: Sequence[Example],
    channel: TextChannel,
    file: Path,
    *,
    samples: int,
    rounds: int,
    batch_size: int,
    max_new_tokens: int,
    report: Report,
) -> Lessons:
    """Have the likeliest messages for `examples` written, into `file`, and `samples` times drawn ones, beside it; keep
    of each example the telling with most rounds answered rightly in a row, of equal ones the first. Which those are is
    told beside it as well.

    Raises CheckpointError where a file cannot be read or written.
    """
    length, tellings = channel.sampling.max_new_tokens, [Told(channel, file)]
    for seed in range(samples):
        drawn = TextChannel(sampling=Sampling(max_new_tokens=length, temperature=TEMPERATURE, seed=seed))
        tellings.append(Told(drawn, file.with_name(f"{file.stem}-drawn-{seed}{file.suffix}")))
    for told in tellings:
        told.write(system, examples, rounds=rounds, batch_size=batch_size, report=report)
    batches = list(batches_of(examples, batch_size))
    judged = _read(place := file.with_name(f"{file.stem}-kept.json"))
    if judged is None:
        judged = _judge(system, batches, tellings, rounds=rounds, max_new_tokens=max_new_tokens, report=report)
        told_of = json.dumps({"kept": judged.kept, "cost": judged.cost._asdict()})
        write_files(place.parent, {place.name: f"{told_of}\n".encode()})
    kept = {key: tellings[number] for key, (number, _) in judged.kept.items()}
    said_of = {spot: said for told in tellings for spot, said in told.said.items() if kept.get(spot[1]) is told}
    costs = [judged.cost, *(told.cost(examples) for told in tellings)]
    cost = Cost(sum(each.operations for each in costs), sum(each.seconds for each in costs))
    return Lessons(Told(channel, file, said_of), {key: right for key, (_, right) in judged.kept.items()}, cost)


class _Judged(NamedTuple):
    """By an example's key which telling is kept, and how many rounds of it were answered rightly; and what it took."""

    kept: Mapping[str, tuple[int, int]]
    cost: Cost


def _judge(
    system: System,
    batches: Sequence[Sequence[Example]],
    tellings: Sequence[Told],
    *,
    rounds: int,
    max_new_tokens: int,
    report: Report,
) -> _Judged:
    kept: dict[str, tuple[int, int]] = {}
    began, places = time.monotonic(), [(number, batch) for number in range(len(tellings)) for batch in batches]
    with Operations() as counted:
        for done, (number, batch) in enumerate(places):
            report("answers", done, len(places), {})
            heard = tellings[number].of(batch)
            said = replies(system, batch, rounds=rounds, channel=heard, max_new_tokens=max_new_tokens, losses=False)
            for example, rows in zip(batch, said, strict=True):
                right = sum(1 for _ in takewhile(lambda reply: reply.is_right, rows))
                if example.key not in kept or right > kept[example.key][1]:
                    kept[example.key] = number, right
    report("answers", len(places), len(places), {})
    return _Judged(kept, Cost(float(counted.total), time.monotonic() - began))


def _read(file: Path) -> _Judged | None:
    """What was judged before; None where nothing was."""
    try:
        if not file.exists():
            return None
        found = json.loads(file.read_text(encoding="utf-8"))
        return _Judged({key: (int(n), int(right)) for key, (n, right) in found["kept"].items()}, Cost(**found["cost"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise CheckpointError(f"{file}: cannot be read ({problem}). Delete it, and all is answered again.") from None


@final
@dataclass(frozen=True)
class LessonChannel(Around):
    """A channel in which all is said, with what each turn's writer loses by it.

    `right`: row by row, how many rounds are learned. `losses`: turn by turn, nll_B of a message and whether it counts.
    """

    learner: Backbone
    right: tuple[int, ...]
    losses: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        thought = self.channel.think(agent, prompts, inbox, heads, salt)
        round_number = int(salt.partition(" ")[0])
        counts_B = torch.tensor([round_number <= right for right in self.right], device=agent.backbone.device)
        if agent.backbone is not self.learner or not counts_B.any():
            return thought
        targets = [self._target(row.text) for row in thought.message or () if isinstance(row, Row)]
        self.losses.append((target_nll(agent.backbone, read(agent, prompts, inbox, heads=heads), targets), counts_B))
        return thought._replace(tokens_in=num_positions(prompts, inbox), tokens_out=tuple(map(len, targets)))

    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        return self.channel.carry(link, thought, receiver)

    def joined(self, answered: Unrolled) -> Unrolled:
        """Of each row the mean over what it learns: the messages that count, and one answer -> nll_1B."""
        nll_RB = answered.nll_RB
        places_B = torch.tensor(self.right, device=nll_RB.device).clamp(max=len(nll_RB) - 1)
        total_B, number_B = nll_RB.gather(0, places_B[None])[0], torch.ones_like(nll_RB[0])
        for nll_B, counts_B in self.losses:
            total_B = total_B + nll_B * counts_B
            number_B = number_B + counts_B
        return answered._replace(nll_RB=(total_B / number_B)[None])

    def _target(self, text: str) -> tuple[int, ...]:
        """A message as its writer wrote it: cut off, or with its end."""
        return (*self.learner.encode(text), self.learner.end_id)[: self.message_length]
