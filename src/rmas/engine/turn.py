"""Turns: read a prompt with its inbox, and think. Pure functions of (agent, prompt, inbox).

`B` batch, `L` spliced length, `M` latent steps, `D` width. A message's payload is indexed by row: `payload[i]` is the
(length, D) block that goes into row i's slot, so a tensor z_BMD is one and so is a list of texts' embeddings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rmas.backbone import Backbone, State
from rmas.errors import NumericsError, QuestionError
from rmas.prompt import Prompt, Segment, Slot

Payload = Sequence[Tensor] | Tensor
Inbox = Mapping[str, Payload]


@dataclass(frozen=True, kw_only=True)
class Agent:
    """A role with its frozen backbone and its inner link, a map h (…, D) -> z (…, D)."""

    role: str
    backbone: Backbone
    inner: Callable[[Tensor], Tensor]


class Read(NamedTuple):
    """A prompt read to its end: the last state h_BD, the backbone's state, and each row's length in positions."""

    h_BD: Tensor
    state: State
    lengths: tuple[int, ...]


class Heads:
    """The states of the prompts' heads, read once per run and role, without gradient: nothing before them trains.

    A recomputing reader gets a state of its own kind: what follows a cache could not be recomputed.
    """

    def __init__(self) -> None:
        self._states: dict[tuple[str, bool], State] = {}

    def state(self, agent: Agent, prompts: Sequence[Prompt], *, cached: bool = True) -> State:
        cached = _may_cache(agent.backbone, cached)
        key = (agent.role, cached)
        if key not in self._states:
            heads: list[list[Segment]] = [[prompt.head] for prompt in prompts]
            with torch.no_grad():
                x_BLD, mask_BL = splice(agent.backbone, heads, {})
                _, self._states[key] = agent.backbone.extend(agent.backbone.start(cached=cached), x_BLD, mask_BL)
        return self._states[key]


def read(
    agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, *, heads: Heads | None = None, cached: bool = True
) -> Read:
    """Read each prompt with its inbox, from the shared heads where they are given. Leaves the heads as they were."""
    lengths = tuple(
        prompt.num_tokens + sum(len(inbox[part.source][row]) for part in prompt.body if isinstance(part, Slot))
        for row, prompt in enumerate(prompts)
    )
    if (excess := max(lengths) - agent.backbone.context) > 0:  # a text message can take more tokens here than there
        raise QuestionError(
            f"{agent.role} ({agent.backbone.name}) would read {max(lengths)} positions, its context is "
            f"{agent.backbone.context}: {excess} too many. Shorten the question, its context or the messages."
        )
    bodies: list[list[Segment]] = [list(prompt.body) for prompt in prompts]
    body_lengths = {length - len(prompt.head) for length, prompt in zip(lengths, prompts, strict=True)}
    if heads is not None and (len(body_lengths) == 1 or agent.backbone.allows_gaps):
        state = heads.state(agent, prompts, cached=cached)
    else:
        bodies = [[prompt.head, *body] for prompt, body in zip(prompts, bodies, strict=True)]
        state = agent.backbone.start(cached=_may_cache(agent.backbone, cached))
    x_BLD, mask_BL = splice(agent.backbone, bodies, inbox)
    h_BLD, state = agent.backbone.extend(state, x_BLD, mask_BL)
    return Read(h_BLD[:, -1], state, lengths)


def rollout(agent: Agent, start: Read, latent_steps: int) -> Tensor:
    """Roll M latents out of a prompt: -> z_BMD, each a collected state through the inner link.

    The first state is the one at the last prompt position, so M latents cost M - 1 more forwards. The vocabulary
    head is never touched. Raises NumericsError naming the step for a latent that is not finite.
    """
    h_BD, state = start.h_BD, start.state
    z_BMD = [agent.inner(h_BD)]
    while len(z_BMD) < latent_steps:
        h_B1D, state = agent.backbone.extend(state, z_BMD[-1][:, None])
        z_BMD.append(agent.inner(h_B1D[:, 0]))
    thought = torch.stack(z_BMD, dim=1)
    check_finite(thought)
    return thought


def splice(backbone: Backbone, rows: Sequence[Sequence[Segment]], inbox: Inbox) -> tuple[Tensor, Tensor | None]:
    """Embed ids and put messages into their slots -> x_BLD, left-padded, and mask_BL (None when nothing is padding)."""
    blocks: list[Tensor] = []
    for row, segments in enumerate(rows):
        parts = [
            inbox[part.source][row].to(backbone.device, backbone.dtype)
            if isinstance(part, Slot)
            else backbone.embed(torch.tensor(part, device=backbone.device))
            for part in segments
            if isinstance(part, Slot) or part
        ]
        blocks.append(torch.cat(parts) if parts else torch.zeros(0, backbone.dim, device=backbone.device))
    length = max(len(block) for block in blocks)
    if all(len(block) == length for block in blocks):
        return torch.stack(blocks), None
    x_BLD = torch.stack([torch.nn.functional.pad(block, (0, 0, length - len(block), 0)) for block in blocks])
    mask_BL = torch.stack([torch.arange(length) >= length - len(block) for block in blocks]).to(torch.int64)
    return x_BLD, mask_BL.to(backbone.device)


def _may_cache(backbone: Backbone, cached: bool) -> bool:
    """Gradients cannot flow through the cache of some families; those read again what they would have kept."""
    return cached and (backbone.grad_through_cache or not torch.is_grad_enabled())


def check_finite(z_BMD: Tensor) -> None:
    """Raise NumericsError naming the first latent step at which any row is not finite."""
    finite_M = torch.isfinite(z_BMD).all(-1).all(0)
    if not finite_M.all():
        step = int(finite_M.long().argmin())
        raise NumericsError(
            f"latent step {step + 1} of {z_BMD.shape[1]} is not finite. "
            "Check the links, or run in float32 (--dtype float32)."
        )
