"""Turns: read a prompt with its inbox, and think. Pure functions of (agent, prompt, inbox).

`B` batch, `L` spliced length, `M` latent steps, `D` width. A message's payload is indexed by row: `payload[i]` is the
(length, D) block that goes into row i's slot, so a tensor z_BMD is one and so is a list of texts' embeddings.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rmas.backbone import Backbone, State
from rmas.conversation import Prompt, Segment, Slot
from rmas.engine.clip import Clip
from rmas.errors import NumericsError, QuestionError
from rmas.tools import Toolbox

Payload = Sequence[Tensor] | Tensor
Inbox = Mapping[str, Payload]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Agent:
    """A role with its frozen backbone and its inner link, a map h (…, D) -> z (…, D). `tools`: to call as it speaks."""

    role: str
    backbone: Backbone
    inner: Callable[[Tensor], Tensor]
    tools: Toolbox | None = None


class Read(NamedTuple):
    """A prompt read to its end: the last state h_BD, the backbone's state, and each row's length in positions."""

    h_BD: Tensor
    state: State
    lengths: tuple[int, ...]


class Heads:
    """The states of the prompts' heads, read once per run and role; without gradient where no model trains.

    What the heads of a batch begin with alike is read once for all rows. A recomputing reader gets a state of its
    own kind: what follows a cache could not be recomputed. `room`: the most positions that any turn takes after
    reading its prompt; None where nobody knows, and families with a sliding window then share less. `graded`: some of
    the models train, so that heads have a gradient of their own. `turns`: how many times each role is asked for them;
    they are forgotten then, which saves their memory while the others speak. None where nobody knows.
    """

    def __init__(self, room: int | None = None, *, graded: bool = False, turns: int | None = None) -> None:
        self._room, self._graded, self._turns = room, graded, turns
        self._asked: Counter[tuple[str, bool]] = Counter()
        self._states: dict[tuple[str, bool], tuple[State, bool]] = {}

    def state(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, *, cached: bool = True) -> State | None:
        """The state after the heads of `prompts`; None where there are none, or where what follows would leave a gap
        that the family minds."""
        if not all(prompt.head for prompt in prompts):
            return None
        key = (agent.role, _may_cache(agent.backbone, cached))
        found = self._found(key, agent, prompts, inbox)
        self._asked[key] += 1
        if self._asked[key] == self._turns:
            self._states.pop(key, None)
        return found

    def _found(self, key: tuple[str, bool], agent: Agent, prompts: Sequence[Prompt], inbox: Inbox) -> State | None:
        bodies = [_body_length(prompt, inbox, row) for row, prompt in enumerate(prompts)]
        may_gap = self._may_gap(agent.backbone, max(len(prompt.head) for prompt in prompts) + max(bodies))
        if len(set(bodies)) > 1 and not may_gap:
            return None
        if key not in self._states:
            with torch.set_grad_enabled(self._graded and torch.is_grad_enabled()):
                self._states[key] = self._read(agent.backbone, [prompt.head for prompt in prompts], key[1], may_gap)
        state, has_gap = self._states[key]
        return None if has_gap and not may_gap else state

    def _may_gap(self, backbone: Backbone, length: int) -> bool:
        """Whether padding may stand in the middle of a sequence that is `length` positions long once it was read."""
        whole = backbone.context if self._room is None else length + self._room
        return whole <= backbone.gap_limit

    def _read(
        self, backbone: Backbone, heads: Sequence[tuple[int, ...]], cached: bool, may_gap: bool
    ) -> tuple[State, bool]:
        """The state, and whether padding stands between the common beginning and the rest."""
        state = backbone.start(cached=cached)
        is_even = len({len(head) for head in heads}) == 1
        common = _common_length(heads) if cached and len(heads) > 1 and (is_even or may_gap) else 0
        if common:
            x_1LD, _ = splice(backbone, [[heads[0][:common]]], {})
            _, state = backbone.extend(state, x_1LD)
            state = state.repeat(len(heads))
        rests: list[list[Segment]] = [[head[common:]] for head in heads]
        if not common or any(rest != [()] for rest in rests):
            x_BLD, mask_BL = splice(backbone, rests, {})
            _, state = backbone.extend(state, x_BLD, mask_BL)
        return state, common > 0 and not is_even


def num_positions(prompts: Sequence[Prompt], inbox: Inbox) -> tuple[int, ...]:
    """How long each prompt is with its messages in place."""
    return tuple(len(prompt.head) + _body_length(prompt, inbox, row) for row, prompt in enumerate(prompts))


def _body_length(prompt: Prompt, inbox: Inbox, row: int) -> int:
    """The positions behind a prompt's head: its tokens, and what lies in its slots."""
    return sum(len(inbox[part.source][row]) if isinstance(part, Slot) else len(part) for part in prompt.body)


def _common_length(heads: Sequence[tuple[int, ...]]) -> int:
    """How many ids all heads begin with alike."""
    first, last = min(heads), max(heads)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def read(
    agent: Agent,
    prompts: Sequence[Prompt],
    inbox: Inbox,
    *,
    heads: Heads | None = None,
    behind: State | None = None,
    cached: bool = True,
) -> Read:
    """Read each prompt with its inbox, from the shared heads where they are given. Leaves the heads as they were.

    `behind`: what was read before it, instead of heads; the lengths are the prompts' own. Raises QuestionError for
    prompts that are longer than the model's context.
    """
    lengths = num_positions(prompts, inbox)
    if (excess := max(lengths) - agent.backbone.context) > 0:  # a text message can take more tokens here than there
        raise QuestionError(
            f"{agent.role} ({agent.backbone.name}) would read {max(lengths)} positions, its context is "
            f"{agent.backbone.context}: {excess} too many. Shorten the question, its context or the messages."
        )
    bodies: list[list[Segment]] = [list(prompt.body) for prompt in prompts]
    state = None if heads is None else heads.state(agent, prompts, inbox, cached=cached)
    if state is None:
        bodies = [[prompt.head, *body] for prompt, body in zip(prompts, bodies, strict=True)]
        state = agent.backbone.start(cached=_may_cache(agent.backbone, cached)) if behind is None else behind
    x_BLD, mask_BL = splice(agent.backbone, bodies, inbox)
    h_BLD, state = agent.backbone.extend(state, x_BLD, mask_BL)
    return Read(h_BLD[:, -1].clone(), state, lengths)  # a view would hold all states of the prompt


def recomputed(
    agent: Agent,
    prompts: Sequence[Prompt],
    inbox: Inbox,
    heads: Heads | None,
    turn: Callable[[Inbox], T],
    *,
    cached: bool = True,
) -> T:
    """turn(inbox), made again in the backward pass instead of keeping all that it needs: a checkpoint per turn."""
    if not torch.is_grad_enabled():
        return turn(inbox)
    if heads is not None:  # outside the checkpoint, so that a backward pass does not read it again
        heads.state(agent, prompts, inbox, cached=cached)

    def again(*payloads: Payload) -> T:
        return turn(dict(zip(inbox, payloads, strict=True)))

    return cast(T, checkpoint(again, *inbox.values(), use_reentrant=False))


def rollout(
    agent: Agent, start: Read, latent_steps: int, *, checkpointed: bool = False, clip: Clip | None = None
) -> Tensor:
    """Roll M latents out of a prompt: -> z_BMD, each a collected state through the inner link.

    The first state is the one at the last prompt position, so M latents cost M - 1 more forwards. The vocabulary
    head is never touched. `checkpointed`: where each of them reads the whole prompt again, because gradients cannot
    flow through the family's cache, one at a time is held for the backward pass. `clip`: of what each latent passes
    back. Raises NumericsError naming the step for a latent that is not finite.
    """
    steps = islice(_steps(agent, start, checkpointed=checkpointed, clip=clip), latent_steps)
    z_BMD = torch.stack([z_BD for _, z_BD in steps], dim=1)
    check_finite(z_BMD)
    return z_BMD


def halting_rollout(
    agent: Agent, start: Read, latent_steps: int, *, checkpointed: bool = False, clip: Clip | None = None
) -> tuple[Tensor, Tensor]:
    """A rollout until every row would end its text, of M latents at most: -> z_BMD, and how many of each row's latents
    stand before its end, length_B.

    A row ends at the first state whose most likely token ends a text; the vocabulary head reads every state for it.
    """
    ends = torch.tensor(sorted(agent.backbone.eos_ids), dtype=torch.int64, device=start.h_BD.device)
    thoughts: list[Tensor] = []
    goes_on_BM: list[Tensor] = []
    for h_BD, z_BD in islice(_steps(agent, start, checkpointed=checkpointed, clip=clip), latent_steps):
        with torch.no_grad():
            goes_on_B = ~torch.isin(most_likely(agent.backbone.logits(h_BD)), ends)
        goes_on_BM.append(goes_on_B & goes_on_BM[-1] if goes_on_BM else goes_on_B)
        thoughts.append(z_BD)
        if not goes_on_BM[-1].any():
            break
    z_BMD = torch.stack(thoughts, dim=1)
    check_finite(z_BMD)
    return z_BMD, torch.stack(goes_on_BM, dim=1).sum(1)


def _steps(agent: Agent, start: Read, *, checkpointed: bool, clip: Clip | None) -> Iterator[tuple[Tensor, Tensor]]:
    """The states h_BD after a prompt, each with what the inner link makes of it, z_BD, which is read for the next."""
    h_BD, state = start.h_BD, start.state
    extend = agent.backbone.extend
    if checkpointed and torch.is_grad_enabled() and not agent.backbone.grad_through_cache:
        extend = partial(checkpoint, extend, use_reentrant=False)
    while True:
        z_BD = agent.inner(h_BD)
        if clip is not None and z_BD.requires_grad:
            z_BD = clip(z_BD)
        yield h_BD, z_BD
        h_B1D, state = extend(state, z_BD[:, None])
        h_BD = h_B1D[:, 0]


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
        blocks.append(
            torch.cat(parts) if parts else torch.zeros(0, backbone.dim, dtype=backbone.dtype, device=backbone.device)
        )
    length = max(len(block) for block in blocks)
    if all(len(block) == length for block in blocks):
        return torch.stack(blocks), None
    x_BLD = torch.stack([torch.nn.functional.pad(block, (0, 0, length - len(block), 0)) for block in blocks])
    mask_BL = torch.stack([torch.arange(length) >= length - len(block) for block in blocks]).to(torch.int64)
    return x_BLD, mask_BL.to(backbone.device)


def _may_cache(backbone: Backbone, cached: bool) -> bool:
    """Gradients cannot flow through the cache of some families; those read again what they would have kept."""
    return cached and (backbone.grad_through_cache or not torch.is_grad_enabled())


def most_likely(logits_BV: Tensor) -> Tensor:
    """The first token with the largest logit. On a CPU argmax takes three times as long as max to say the same."""
    return logits_BV.max(-1).indices


def check_finite(z_BMD: Tensor) -> None:
    """Raise NumericsError naming the first latent step at which any row is not finite."""
    finite_M = torch.isfinite(z_BMD).all(-1).all(0)
    if not finite_M.all():
        step = int(finite_M.long().argmin())
        raise NumericsError(
            f"latent step {step + 1} of {z_BMD.shape[1]} is not finite. "
            "Check the links, or run in float32 (--dtype float32)."
        )
