"""Channels: what a message is made of, and how it is carried along an edge."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, final

import torch
from torch import Tensor

from rmas.backbone import Backbone
from rmas.conversation import Prompt
from rmas.engine.clip import Clip
from rmas.engine.decode import Row, speak
from rmas.engine.trace import Call
from rmas.engine.turn import (
    Agent,
    Heads,
    Inbox,
    Payload,
    check_finite,
    halting_rollout,
    num_positions,
    read,
    recomputed,
    rollout,
)
from rmas.settings import Sampling, require_latent_steps


class Thought(NamedTuple):
    """What a think turn made: the message, what it cost each row, the turn's name, and each row's, for draws.

    `message`: latents z_BMD, or one block (length, D) a row, or texts, or None where nobody had to think. `steps`: the
    latent steps of each row, where they are not `latent_steps` for all. `calls`: of tools, row by row, where somebody
    had some.
    """

    message: "Tensor | list[Tensor] | list[Row] | None"
    tokens_in: tuple[int, ...]
    latent_steps: int
    tokens_out: tuple[int, ...]
    salt: str = ""
    salts: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    calls: tuple[tuple[Call, ...], ...] = ()


class Channel(Protocol):
    """How agents that do not answer think, and what of it reaches the others."""

    @property
    def is_silent(self) -> bool:
        """No message is ever written: the answerer works alone."""

    @property
    def message_length(self) -> int:
        """The most positions that a message can take in a prompt, and the most steps that a think turn takes."""

    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        """One think turn. `salt` names the turn, for random draws."""

    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        """The message as the receiver reads it: rows of its width."""


@dataclass(frozen=True)
class Around:
    """What channels around another one share: they are as silent as it is, and their messages as long."""

    channel: Channel

    @property
    def is_silent(self) -> bool:
        return self.channel.is_silent

    @property
    def message_length(self) -> int:
        return self.channel.message_length


class KnownThoughts(Protocol):
    """Thoughts that were thought before."""

    def find(self, role: str, prompts: Sequence[Prompt], latent_steps: int) -> Tensor | None:
        """z_BMD of a whole batch; None where one of its prompts is not known."""


@final
@dataclass(frozen=True, kw_only=True)
class LatentChannel:
    """Messages of M latents, carried by outer links. `cached=False` is the slow twin; `checkpointed` saves memory in
    training by recomputing each turn in the backward pass; `known` is looked up where no message has come yet.

    `halts`: a message ends where its writer's text would, after M latents at most; it is a block a row then. `clip`: of
    what each latent passes back in training."""

    latent_steps: int
    halts: bool = False
    cached: bool = True
    checkpointed: bool = False
    known: KnownThoughts | None = None
    clip: Clip | None = None

    def __post_init__(self) -> None:
        require_latent_steps(self.latent_steps)

    @property
    def is_silent(self) -> bool:
        return self.latent_steps == 0

    @property
    def message_length(self) -> int:
        return self.latent_steps

    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        def turn(inbox: Inbox) -> tuple[Tensor, Tensor | None]:
            start = read(agent, prompts, inbox, heads=heads, cached=self.cached)
            checkpointed, clip = self.checkpointed, self.clip
            if self.halts:
                return halting_rollout(agent, start, self.latent_steps, checkpointed=checkpointed, clip=clip)
            return rollout(agent, start, self.latent_steps, checkpointed=checkpointed, clip=clip), None

        known_BMD = self.known.find(agent.role, prompts, self.latent_steps) if self.known and not inbox else None
        if known_BMD is not None:
            z_BMD, length_B = known_BMD, None
        elif self.checkpointed:
            z_BMD, length_B = recomputed(agent, prompts, inbox, heads, turn, cached=self.cached)
        else:
            z_BMD, length_B = turn(inbox)
        thought = Thought(z_BMD, num_positions(prompts, inbox), self.latent_steps, (0,) * len(prompts), salt)
        if length_B is None:
            return thought
        lengths = length_B.tolist()
        blocks = [z_MD[:length] for z_MD, length in zip(z_BMD, lengths, strict=True)]
        return thought._replace(message=blocks, steps=tuple(min(length + 1, self.latent_steps) for length in lengths))

    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        return carry_latents(link, thought, receiver)


def carry_latents(link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
    """A message of latents through a link: all rows at once, or a block after the other where it has one a row."""

    def through(z_BMD: Tensor) -> Tensor:
        message = link(z_BMD).to(receiver.device, receiver.dtype)
        check_finite(message)
        return message

    if isinstance(thought.message, Tensor):
        return through(thought.message)
    return [through(block[None])[0] for block in thought.message or () if isinstance(block, Tensor)]


@final
@dataclass(frozen=True, kw_only=True)
class TextChannel:
    """The text baseline: agents speak where they would think, and the words go into the same slots. A message is what
    its writer wrote: results of its calls are not in it."""

    sampling: Sampling

    @property
    def is_silent(self) -> bool:
        return False

    @property
    def message_length(self) -> int:
        return self.sampling.max_new_tokens

    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        generators = [self.sampling.generators(salt, str(prompt.head))[0] for prompt in prompts]
        start = read(agent, prompts, inbox, heads=heads)
        lengths, columns = start.lengths, speak(agent.backbone, start, self.sampling, generators, tools=agent.tools)
        del start  # which would hold what was read until all is written
        *_, rows = columns
        read_in = tuple(length + row.result_tokens for length, row in zip(lengths, rows, strict=True))
        calls = tuple(tuple(row.calls) for row in rows)
        return Thought(rows, read_in, 0, tuple(len(row.ids) for row in rows), salt, calls=calls)

    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        texts = [row.text.strip() for row in thought.message or () if isinstance(row, Row)]
        return [receiver.embed(torch.tensor(receiver.encode(text), dtype=torch.int64)) for text in texts]


@final
@dataclass(frozen=True, kw_only=True)
class ConstantChannel:
    """The sceptic's control: nobody thinks, and each edge carries what its link has learned by heart."""

    latent_steps: int

    @property
    def is_silent(self) -> bool:
        return self.latent_steps == 0

    @property
    def message_length(self) -> int:
        return self.latent_steps

    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        return Thought(None, (0,) * len(prompts), 0, (0,) * len(prompts), salt)

    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        nothing = torch.zeros(len(thought.tokens_in), self.latent_steps, 0, device=receiver.device)
        return link(nothing).to(receiver.device, receiver.dtype)
