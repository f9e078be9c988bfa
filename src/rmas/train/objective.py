"""Outer objectives: what the links are trained for. All walk `engine.run`; they differ in its channel.

    rollout         agents think in latents of their own, as at inference; eq. (6)
    teacher_forced  the release's scheme: states at the tokens of role targets, the first 80 of them
    mixed           a seeded draw between the two, from all teacher-forced to all rollout

`B` batch, `T` target tokens, `N` real target tokens of the batch, `D` width, `V` vocabulary.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast, final

import torch
from torch import Tensor

from rmas.backbone import Backbone
from rmas.conversation import Prompt
from rmas.engine import (
    Agent,
    Channel,
    Clip,
    Heads,
    Inbox,
    LastTurn,
    LatentChannel,
    Payload,
    Read,
    Runnable,
    Thought,
    carry_latents,
    num_positions,
    read,
    recomputed,
    run,
    target_states,
)
from rmas.errors import ConfigError, QuestionError
from rmas.precision import widened
from rmas.system import System
from rmas.train.apart import RoundsApart
from rmas.train.config import UnrolledConfig
from rmas.train.data import Example
from rmas.train.run import StepResult

_CHUNK = 64  # rows of logits held at a time


class Stage(NamedTuple):
    """What one step unrolls."""

    rounds: int
    latent_steps: int


def stage_of(step: int, curriculum: Sequence[tuple[int, int, int]], otherwise: Stage) -> Stage:
    """Rounds and latent steps of 0-based `step`: the curriculum's last row that has begun, or `otherwise`."""
    begun = [Stage(rounds, latent) for first, rounds, latent in curriculum if first <= step]
    return begun[-1] if begun else otherwise


def stages_of(curriculum: Sequence[tuple[int, int, int]], last: Stage) -> list[Stage]:
    """Every stage of a training: `last`, which its dev evaluations have in any case, and the curriculum's."""
    return [last, *(Stage(rounds, latent) for _, rounds, latent in curriculum)]


class Unrolled(NamedTuple):
    """A run with gradients: nll_RB, and the positions that all its turns read, thought and answered."""

    nll_RB: Tensor
    positions: int


def outer_loss(
    system: Runnable, examples: Sequence[Example], *, rounds: int, channel: Channel, earlier_weight: float = 0.0
) -> Tensor:
    """One run, and each example's cross-entropy: the mean over its answer's tokens -> nll_RB, round by round.

    Rounds that no weight asks for are not computed: with `earlier_weight` 0 there is one row, the last round's.
    """
    return unroll(system, examples, rounds=rounds, channel=channel, earlier_weight=earlier_weight).nll_RB


def unroll(
    system: Runnable,
    examples: Sequence[Example],
    *,
    rounds: int,
    channel: Channel,
    earlier_weight: float = 0.0,
    heads: Heads | None = None,
    graded: bool = False,
    across_rounds: bool = True,
) -> Unrolled:
    """`outer_loss`, with what it took. `heads`: of the same examples, from an earlier run.

    `graded`: what prompts begin with has a gradient too, for models that train. `across_rounds=False`: none passes
    from a round to the one before it.
    """
    nll: list[Tensor] = []
    positions = 0
    checkpointed = isinstance(channel, LatentChannel | ForcedChannel) and channel.checkpointed
    ids = [[answer_ids(_answerer(system), example, r) for example in examples] for r in range(1, rounds + 1)]

    def listen(turn: LastTurn) -> None:
        nonlocal positions
        targets = ids[turn.round - 1]
        positions += sum(num_positions(turn.prompts, turn.inbox)) + sum(map(len, targets))
        if turn.round == rounds:
            positions += sum(t.tokens_in + t.latent_steps for turns in turn.log.turns for t in turns)
        if checkpointed and turn.round < rounds:

            def answer(inbox: Inbox) -> Tensor:
                return answer_nll(replace(turn, inbox=inbox), targets)

            nll.append(recomputed(turn.agent, turn.prompts, turn.inbox, turn.heads, answer))
        else:
            nll.append(answer_nll(turn, targets))

    room = max(channel.message_length, max(len(row) for rows in ids for row in rows))
    run(
        system if across_rounds else RoundsApart(system),
        [example.question for example in examples],
        rounds=rounds,
        channel=channel,
        speak=listen,
        early=listen if earlier_weight else None,
        heads=heads or Heads(room=room, graded=graded),
    )
    return Unrolled(torch.stack(nll), positions)


def weigh(nll_RB: Tensor, earlier_weight: float, *, gated: bool = False) -> Tensor:
    """The weighted mean over rounds -> (B,): the last round counts 1, each earlier one `earlier_weight`.

    `gated`: and each by how likely the right answers of all rounds before it are, as a given: the product over rounds
    of the geometric mean of an answer's tokens. Where a round has its own answer, the next one's cannot be told from a
    wrong one: its loss would teach to guess.
    """
    weights_R1 = torch.full((len(nll_RB), 1), earlier_weight, dtype=nll_RB.dtype, device=nll_RB.device)
    weights_R1[-1] = 1.0
    gates_RB = torch.ones_like(nll_RB)
    if gated:
        gates_RB[1:] = torch.exp(-nll_RB.detach()[:-1].cumsum(0))
    return (nll_RB * gates_RB * weights_R1).sum(0) / weights_R1.sum()


def backward(
    places: Sequence[int], config: UnrolledConfig, unrolled: Callable[[Sequence[int]], Unrolled]
) -> StepResult:
    """Leave the gradients of a process's share of a batch, the examples at `places`: a micro-batch at a time."""
    size = config.micro_batch or max(1, len(places))
    total, tokens = 0.0, 0
    for first in range(0, len(places), size):
        nll_RB, positions = unrolled(places[first : first + size])
        loss = weigh(nll_RB, config.earlier_weight, gated=config.gated).sum() / config.batch_size
        loss.backward()
        total, tokens = total + float(loss.detach()), tokens + positions
    return StepResult(total, tokens)


def clip_of(config: UnrolledConfig) -> Clip | None:
    """A step's clipping of what latents pass back, or none. The loss is a mean over `batch_size` questions."""
    return None if config.clip_latents == math.inf else Clip(config.clip_latents / config.batch_size)


def clip_figures(clip: Clip | None) -> dict[str, float]:
    """What a step's log says of it, after its backward pass."""
    return {} if clip is None else {"latents_clipped": clip.share}


def answer_ids(backbone: Backbone, example: Example, round_number: int) -> tuple[int, ...]:
    """What the answerer should write in this round: the answer's tokens and the end of the text."""
    return (*backbone.encode(example.answer_in(round_number)), backbone.end_id)


def answer_nll(turn: LastTurn, targets: Sequence[Sequence[int]], start: Read | None = None) -> Tensor:
    """The mean cross-entropy of each row's target -> nll_B, float32 or wider. Logits at target positions only.

    `start`: the turn, where it was read already.
    """
    return target_nll(turn.agent.backbone, start or turn.read(), targets)


def target_nll(backbone: Backbone, start: Read, targets: Sequence[Sequence[int]]) -> Tensor:
    """The mean cross-entropy of what each row should write from `start` on -> nll_B."""
    length = max(len(target) for target in targets)
    ids_BT = torch.tensor([[*target, *[0] * (length - len(target))] for target in targets], device=backbone.device)
    sizes_B = torch.tensor([len(target) for target in targets], device=backbone.device)
    is_real_BT = torch.arange(length, device=backbone.device) < sizes_B[:, None]
    h_BTD = target_states(backbone, start, ids_BT)
    nll_N = chunked_nll(backbone, h_BTD[is_real_BT], ids_BT[is_real_BT])
    row_N = torch.arange(len(targets), device=backbone.device).repeat_interleave(sizes_B)
    return torch.zeros(len(targets), dtype=nll_N.dtype, device=nll_N.device).index_add(0, row_N, nll_N) / sizes_B


def chunked_nll(backbone: Backbone, h_ND: Tensor, ids_N: Tensor, *, chunk: int = _CHUNK) -> Tensor:
    """Cross-entropy at each position -> nll_N. Never more than `chunk` rows of logits at a time.

    Where the vocabulary head itself trains, they are all kept instead: it needs a gradient of its own.
    """
    if backbone.head_trains:
        logits_NV = widened(backbone.logits(h_ND))
        return torch.nn.functional.cross_entropy(logits_NV, ids_N, reduction="none")
    return cast(Tensor, _ChunkedNLL.apply(h_ND, ids_N, backbone, chunk))  # type: ignore[no-untyped-call]


class _ChunkedNLL(torch.autograd.Function):
    """Each row's loss depends on its own state alone, so its gradient is made with it and only scaled later."""

    @staticmethod
    def forward(ctx: Any, h_ND: Tensor, ids_N: Tensor, backbone: Backbone, chunk: int) -> Tensor:
        losses, slopes = [], []
        for h_CD, ids_C in zip(h_ND.split(chunk), ids_N.split(chunk), strict=True):
            with torch.enable_grad():
                h_CD = h_CD.detach().requires_grad_(ctx.needs_input_grad[0])
                logits_CV = widened(backbone.logits(h_CD))
                nll_C = torch.nn.functional.cross_entropy(logits_CV, ids_C, reduction="none")
                if ctx.needs_input_grad[0]:
                    slopes += torch.autograd.grad(nll_C.sum(), h_CD)
            losses.append(nll_C.detach())
        if slopes:
            ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None]:
        (slope_ND,) = ctx.saved_tensors
        return slope_ND * slopes[0][:, None].to(slope_ND.dtype), None, None, None


@final
@dataclass(frozen=True, kw_only=True)
class ForcedChannel:
    """The release's scheme, for comparison: a message is made of the states at the tokens of a role's target text.

    `targets`: per role one text a row. The first `cap` states are sent. As released, the state before the first
    target token, which is the first one sent at inference, is not among them (method: a known departure).
    """

    targets: Mapping[str, Sequence[str]]
    cap: int = 80
    checkpointed: bool = False

    @property
    def is_silent(self) -> bool:
        return False

    @property
    def message_length(self) -> int:
        return self.cap

    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        backbone = agent.backbone
        rows = [backbone.encode(text)[: self.cap] for text in self.targets[agent.role]]
        if (empty := next((i for i, row in enumerate(rows) if not row), None)) is not None:
            raise QuestionError(f"row {empty + 1} of the batch has an empty target for {agent.role}. Fill it in.")

        def turn(inbox: Inbox) -> Tensor:
            start = read(agent, prompts, inbox, heads=heads)
            width = max(len(row) for row in rows)
            ids_BT = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=backbone.device)
            h_BTD, _ = backbone.extend(start.state, backbone.embed(ids_BT))
            return agent.inner(h_BTD)

        z_BTD = recomputed(agent, prompts, inbox, heads, turn) if self.checkpointed else turn(inbox)
        message = [z_TD[: len(row)] for z_TD, row in zip(z_BTD, rows, strict=True)]
        return Thought(message, num_positions(prompts, inbox), max(len(row) for row in rows), (0,) * len(prompts), salt)

    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        return carry_latents(link, thought, receiver)


def forced_channel(system: System, examples: Sequence[Example], *, cap: int, checkpointed: bool) -> ForcedChannel:
    """The release's scheme for one batch. Raises ConfigError where role targets are missing."""
    targets = {role: [_target(example, role, system) for example in examples] for role in system.pattern.roles}
    return ForcedChannel(targets=targets, cap=cap, checkpointed=checkpointed)


def _target(example: Example, role: str, system: System) -> str:
    """A role's target; the answerer's is the answer, as released."""
    text = example.targets.get(role) or (example.answer if role == system.pattern.answerer else "")
    if not text:
        raise ConfigError(
            f"objective teacher_forced needs a target text for {role}, and {example.question.text[:40]!r} has none. "
            f"Name its column (--set columns.{role}=NAME), or train with objective rollout."
        )
    return text


def _answerer(system: Runnable) -> Backbone:
    return system.agents[system.pattern.answerer].backbone
