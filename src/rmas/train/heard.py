"""Latent messages for an answerer that trains: from its team as it is in this step.

Other agents stay as they are, and so would what they say in a first turn; but an answerer that is heard in earlier
rounds thinks there with the weights that it has by now, as it will at inference. So all is thought anew.
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
    """A channel for one batch and one step. Where a run shares no heads of prompts, since who answers reads its own
    with gradient, agents that think share these.

    `learner`: the answerer, where links train with it. What is thought then has a gradient, and the learner shares no
    heads as it thinks. None: nothing has one.
    """

    learner: str | None = None

    @cached_property
    def heads(self) -> Heads:
        return Heads(room=self.message_length)

    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        shared = heads if agent.role == self.learner else heads or self.heads
        with self._graded():
            return self.channel.think(agent, prompts, inbox, shared, salt)

    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        with self._graded():
            return self.channel.carry(link, thought, receiver)

    def _graded(self) -> torch.set_grad_enabled:
        return torch.set_grad_enabled(torch.is_grad_enabled() and self.learner is not None)
