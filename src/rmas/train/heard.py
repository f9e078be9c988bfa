"""Latent messages for an answerer that trains: from its team as it is in this step, without gradient.

Links and other agents stay as they are, and so would what they say in a first turn; but an answerer that is heard in
earlier rounds thinks there with the weights that it has by now, as it will at inference. So all is thought anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from rmas.backbone import Backbone
from rmas.engine import Agent, Channel, Heads, Inbox, Payload, Thought
from rmas.prompt import Prompt


@final
@dataclass(frozen=True)
class HeardChannel:
    """A channel for one batch and one step. Agents that think share their prompts' heads, in `heads`; who answers
    reads its own with gradient."""

    channel: Channel
    heads: Heads = field(default_factory=Heads)

    @property
    def is_silent(self) -> bool:
        return self.channel.is_silent

    @property
    def message_length(self) -> int:
        return self.channel.message_length

    @torch.no_grad()
    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        return self.channel.think(agent, prompts, inbox, self.heads, salt)

    @torch.no_grad()
    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        return self.channel.carry(link, thought, receiver)
