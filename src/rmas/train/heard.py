"""Latent messages for an answerer that trains alone: from its team as it is in this step, without gradient.

Links and other agents stay as they are, and so would what they say in a first turn; but an answerer that is heard in
earlier rounds thinks there with the weights that it has by now, as it will at inference. So all is thought anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from rmas.backbone import Backbone
from rmas.conversation import Prompt
from rmas.engine import Agent, Around, Heads, Inbox, Payload, Thought


@final
@dataclass(frozen=True)
class HeardChannel(Around):
    """A channel for one batch and one step. Agents share heads of prompts as they think, but not with who answers:
    its own have a gradient."""

    @cached_property
    def heads(self) -> Heads:
        return Heads(room=self.message_length)

    @torch.no_grad()
    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        return self.channel.think(agent, prompts, inbox, self.heads, salt)

    @torch.no_grad()
    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        return self.channel.carry(link, thought, receiver)
