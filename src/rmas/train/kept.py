"""First thoughts, thought once: what an agent thinks before any message has come does not change while links train.

A turn with an empty inbox and a frozen inner link has nothing trainable before it, so its latents are the same in
every epoch. They are rolled out once, before the first step, in batches that depend on the examples alone (a resumed
run so gets the same bits), and looked up afterwards by prompt. They weigh M · D numbers each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from rmas.conversation import Prompt
from rmas.engine import Heads, LatentChannel
from rmas.system import System
from rmas.train.config import Report
from rmas.train.data import Example, batches_of


@final
@dataclass(frozen=True)
class KeptThoughts:
    """Latents z_MD by (role, prompt): what a LatentChannel may know."""

    latent_steps: int
    thoughts: dict[tuple[str, Prompt], Tensor] = field(default_factory=dict)

    def find(self, role: str, prompts: Sequence[Prompt], latent_steps: int) -> Tensor | None:
        """z_BMD of a whole batch; None where a prompt of it was not kept, or not for so long."""
        rows = [self.thoughts.get((role, prompt)) for prompt in prompts]
        found = [row[:latent_steps] for row in rows if row is not None]
        is_whole = len(found) == len(rows) and latent_steps <= self.latent_steps
        return torch.stack(found) if is_whole else None  # the first latents of a longer rollout are a shorter one's


def first_roles(system: System) -> tuple[str, ...]:
    """The roles that are heard, whose first turn finds an empty inbox and whose inner link does not train."""
    seen: set[str] = set()
    found = []
    for role in system.pattern.roles:
        inner = system.inner[role]
        is_frozen = not any(parameter.requires_grad for parameter in inner.parameters())
        is_first = not seen & {edge.source for edge in system.pattern.into(role)}
        if is_frozen and is_first and system.pattern.out_of(role):
            found.append(role)
        seen.add(role)
    return tuple(found)


@torch.no_grad()
def keep_thoughts(
    system: System, examples: Sequence[Example], *, latent_steps: int, batch_size: int, report: Report
) -> KeptThoughts:
    """Roll out the first thoughts of `examples`, in batches of like length."""
    kept = KeptThoughts(latent_steps)
    channel = LatentChannel(latent_steps=latent_steps)
    roles = first_roles(system)
    batches = list(batches_of(examples, batch_size))
    for number, batch in enumerate(batches):
        report("first thoughts", number, len(batches), {})
        for role in roles:
            prompts = [system.render(role, example.question, frozenset()) for example in batch]
            heads = Heads(room=latent_steps)
            thought = channel.think(system.agents[role], prompts, {}, heads, role)
            assert isinstance(thought.message, Tensor), "a latent channel"
            kept.thoughts.update({(role, p): z_MD for p, z_MD in zip(prompts, thought.message, strict=True)})
    report("first thoughts", len(batches), len(batches), {})
    return kept
