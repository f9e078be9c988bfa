"""Text messages, written once: what a team says to its answerer does not change while the answerer alone trains.

They are written by the team as it was, before the first step, in batches that depend on the examples alone, and kept in
a file, a line each. The surprising thing: what the answerer itself says in earlier rounds is kept with the rest. It is
the word of the model that it was, while at inference the one that it became speaks there.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, final

import torch
from torch import Tensor

from rmas.backbone import Backbone
from rmas.conversation import Prompt
from rmas.engine import Agent, Heads, Inbox, LastTurn, Payload, Row, TextChannel, Thought, run
from rmas.errors import CheckpointError
from rmas.system import System
from rmas.train.config import Cost, Report
from rmas.train.data import Example, batches_of
from rmas.train.operations import Operations


class Said(NamedTuple):
    """A message: the turn that wrote it, `1 planner`, the key of the example that it is about, and its text.

    `operations`, `seconds`: its share of what its batch took; 0 in files from before they were counted.
    """

    turn: str
    example: str
    text: str
    operations: float = 0.0
    seconds: float = 0.0


@final
@dataclass
class Told:
    """Every message of a training, in `file` as well. Fill it with `write`."""

    channel: TextChannel
    file: Path
    said: dict[tuple[str, str], Said] = field(default_factory=dict)  # by turn and example

    def cost(self, examples: Sequence[Example]) -> Cost:
        """What the messages for `examples` took, each once."""
        keys = {example.key for example in examples}
        heard = [said for said in self.said.values() if said.example in keys]
        return Cost(sum(said.operations for said in heard), sum(said.seconds for said in heard))

    def of(self, examples: Sequence[Example]) -> "ToldChannel":
        """The channel in which a batch hears what was written for it."""
        return ToldChannel(self, tuple(example.key for example in examples))

    @torch.no_grad()
    def write(
        self, system: System, examples: Sequence[Example], *, rounds: int, batch_size: int, report: Report
    ) -> None:
        """Have all messages for `examples` written that are not in the file yet.

        Raises CheckpointError where the file cannot be read or written.
        """
        try:
            self.said = {(said.turn, said.example): said for said in _read(self.file)}
            batches = list(batches_of(examples, batch_size))
            for number, batch in enumerate(batches):
                report("messages", number, len(batches), {})
                new: list[Said] = []
                channel = ToldChannel(self, tuple(example.key for example in batch), new.append)
                began = time.monotonic()
                with Operations() as counted:
                    run(system, [each.question for each in batch], rounds=rounds, channel=channel, speak=_nothing)
                took = {"operations": counted.total, "seconds": time.monotonic() - began}
                new = [said._replace(**{name: total / len(new) for name, total in took.items()}) for said in new]
                self.said |= {(said.turn, said.example): said for said in new}
                with self.file.open("a", encoding="utf-8") as lines:
                    lines.writelines(json.dumps(said, ensure_ascii=False) + "\n" for said in new)
            report("messages", len(batches), len(batches), {})
        except OSError as problem:
            raise CheckpointError(f"{self.file}: {problem.strerror}. Free some room or check the path.") from None


@final
@dataclass(frozen=True)
class ToldChannel:
    """A text channel of one batch, in which what was said before is not written again.

    `note`: is told of what had to be written; None: nothing may.
    """

    told: Told
    keys: tuple[str, ...]
    note: Callable[[Said], None] | None = None

    @property
    def is_silent(self) -> bool:
        return False

    @property
    def message_length(self) -> int:
        return self.told.channel.message_length

    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        known = self.told.said
        if self.note is not None and any((salt, key) not in known for key in self.keys):
            written = self.told.channel.think(agent, prompts, inbox, heads, salt).message or ()
            for key, row in zip(self.keys, written, strict=True):
                assert isinstance(row, Row), "a text channel writes rows"
                if (salt, key) not in known:
                    known[salt, key] = Said(salt, key, row.text)
                    self.note(known[salt, key])
        nothing = (0,) * len(self.keys)
        return Thought([Row(text=known[salt, key].text) for key in self.keys], nothing, 0, nothing, salt)

    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        return self.told.channel.carry(link, thought, receiver)


def _read(file: Path) -> Iterator[Said]:
    """The lines of `file`; a last one that was cut off goes, so that the next begins on its own. Raises OSError."""
    if not file.exists():
        return
    whole, _, rest = file.read_bytes().rpartition(b"\n")
    if rest:
        file.write_bytes(whole + b"\n" if whole else b"")
    for line in whole.decode("utf-8").split("\n"):  # a text may hold line ends of other kinds
        yield Said(*json.loads(line))


def _nothing(turn: LastTurn) -> None:
    """What the last turn does while messages are written."""
