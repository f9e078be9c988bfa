"""Controls: the same run with what the messages say taken away. What still works then did not need them.

shuffled  every question reads the messages of another one of its batch
zeroed    every message is zero vectors
noise     every latent is replaced by Gaussian noise of its own length
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from rmas.backbone import Backbone
from rmas.engine.channel import Channel, Thought
from rmas.engine.turn import Agent, Heads, Inbox, Payload
from rmas.errors import ConfigError
from rmas.prompt import Prompt
from rmas.settings import Control, Sampling, check_control


@final
@dataclass(frozen=True, kw_only=True)
class Controlled:
    """A channel whose messages lose their content on every edge.

    Shuffling turns the batch by one place at each hop, so that what a question knew comes back to it only after as
    many hops as the batch has rows: use batches of more rows than a run has turns.
    """

    channel: Channel
    control: Control
    seed: int = 0

    def __post_init__(self) -> None:
        check_control(self.control)

    @property
    def is_silent(self) -> bool:
        return self.channel.is_silent

    @property
    def message_length(self) -> int:
        return self.channel.message_length

    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        thought = self.channel.think(agent, prompts, inbox, heads, salt)
        if self.control != "shuffled" or thought.message is None:
            return thought._replace(salt=f"{salt} {prompts[0].head}")
        if len(prompts) < 2:
            raise ConfigError("control is shuffled, but this batch holds one question. Ask two or more together.")
        if isinstance(thought.message, Tensor):
            return thought._replace(message=thought.message.roll(1, dims=0))
        return thought._replace(message=[*thought.message[-1:], *thought.message[:-1]])

    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        payload = self.channel.carry(link, thought, receiver)
        if self.control == "shuffled":
            return payload
        generator = Sampling(seed=self.seed).generators(thought.salt)[0]
        rows = [_without_content(z_MD, self.control, generator) for z_MD in payload]
        return torch.stack(rows) if isinstance(payload, Tensor) else rows


def _without_content(z_MD: Tensor, control: Control, generator: torch.Generator) -> Tensor:
    if control == "zeroed":
        return torch.zeros_like(z_MD)
    noise_MD = torch.randn(z_MD.shape, generator=generator).to(z_MD)
    scale_M1: Tensor = z_MD.norm(dim=-1, keepdim=True) / noise_MD.norm(dim=-1, keepdim=True)
    return noise_MD * scale_M1
