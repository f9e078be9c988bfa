"""The inner stage: each agent's inner link learns to turn a state into the embedding of what comes next (eq. 5).

Agents do not meet here, so one optimiser holds all inner links: a step takes one batch of pairs a role, and gradients
are clipped link by link, as if each role were trained alone. Only the best checkpoint is chosen for all together.
`N` pairs, `D` width.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from rmas.backbone import HFBackbone
from rmas.link import Link
from rmas.precision import widened
from rmas.runfolder import claim_folder
from rmas.system import System
from rmas.train.config import FREE, InnerConfig, Report, TrainResult
from rmas.train.data import Example, Split, load_examples, split_examples
from rmas.train.finish import finish
from rmas.train.frozen import frozen_digest
from rmas.train.loop import fit
from rmas.train.resolve import trained_roles
from rmas.train.run import DevResult, StepResult, num_trained
from rmas.train.shards import StateBatches, StatePairs, States
from rmas.train.states import Extraction, extract_states, role_readings, states_key
from rmas.train.team import ALONE, Team, join_team

STATES = "states"  # the folder of the shards, in the training's own
_CHUNK = 4096  # pairs in one dev forward
_log = logging.getLogger(__name__)


def train_inner(system: System, config: InnerConfig, out: Path, *, resume: bool, report: Report) -> TrainResult:
    """Extract states once, train the inner links of `system` on them in place, leave a bundle in `out`.

    Raises ConfigError for data or settings that do not fit, CheckpointError for a folder that cannot be written or
    resumed, NumericsError for a loss that is not finite. Backbones and outer links stay as they are.
    """
    team = join_team()
    roles = trained_roles(system.spec, config.roles)
    for role in config.roles or system.pattern.roles:
        if role not in roles:
            _log.warning("%s: its inner link is a soft token, which holds nothing to train; skipped", role)
    split = split_examples(load_examples(config, roles=system.pattern.roles), dev=config.dev)
    if team.is_first:
        claim_folder(out, config, resume=resume, free=FREE)
    team.wait()
    teacher = _Teacher(system, split, config, out / STATES, report)
    if not team.is_first:
        team.wait()  # the first writes the shards, the others find them
    lessons = [teacher.lesson(role) for role in roles]
    if team.is_first:
        team.wait()
    trainer = InnerTrainer(system, config, lessons, team)
    result = fit(
        trainer.parameters,
        trainer.step,
        config,
        out,
        evaluate=trainer.evaluate if split.dev else None,
        report=report,
        stage="inner links",
        batch_of=trainer.batch_of,
        team=team,
        groups=trainer.groups,
        frozen=frozen_digest(system, trainer.parameters, split.train),
    )
    if team.is_first:
        trained = f"the inner links of {', '.join(roles)}"
        counts = {"num_train": len(split.train), "num_dev": len(split.dev)}
        finish(system, config, out, result, stage="inner", trained=trained, **counts)
    team.wait()
    figures = trainer.measure() if split.dev else {}
    return TrainResult(result.steps, figures, result.is_complete, num_trained(trainer.parameters), 0, result.cost)


def inner_loss(link: Callable[[Tensor], Tensor], h_ND: Tensor, e_ND: Tensor, norm_weight: float = 0.0) -> Tensor:
    """eq. (5): the mean of 1 - cos(link(h), e), plus norm_weight times that of (|link(h)| / |e| - 1)².

    Float32 or wider whatever the states are. The cosine alone leaves the norm to the design; the release does.
    """
    z_ND, e_ND = link(widened(h_ND)), widened(e_ND)
    loss = (1 - cosine_similarity(z_ND, e_ND, dim=-1)).mean()
    if norm_weight == 0:
        return loss
    return loss + norm_weight * (_norm_ratio(z_ND, e_ND) - 1).square().mean()


class Yardsticks(NamedTuple):
    """Dev cosines to compare with: of the best constant vector, and of the link as it was before training."""

    constant: float
    start: float


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What one role trains on. `dev` and `yardsticks` are None where nothing is held out."""

    role: str
    link: Link
    backbone: HFBackbone
    batches: StateBatches
    dev: States | None = None
    yardsticks: Yardsticks | None = None


@final
class InnerTrainer:
    """The steps and dev figures of some lessons. Sets which parameters of the system train."""

    def __init__(self, system: System, config: InnerConfig, lessons: Sequence[Lesson], team: Team = ALONE) -> None:
        self.lessons, self._config, self._team = tuple(lessons), config, team
        self.groups = [[f"inner.{each.role}.{name}" for name, _ in each.link.named_parameters()] for each in lessons]
        names = {name for group in self.groups for name in group}
        self.parameters: Mapping[str, nn.Parameter] = {n: p for n, p in system.named_parameters() if n in names}
        for name, parameter in system.named_parameters():
            parameter.requires_grad_(name in names)

    def step(self, number: int) -> StepResult:
        """Leave the gradients of global batch `number` (0-based), this process's share of it: a batch a role."""
        losses, tokens = {}, 0
        for lesson in self.lessons:
            pairs = lesson.batches[number]
            losses[f"loss_{lesson.role}"] = self._learn(lesson, pairs)
            tokens += len(pairs.ids_N[self._team.rank :: self._team.size])
        return StepResult(sum(losses.values()) / len(losses), tokens, losses)

    def _learn(self, lesson: Lesson, pairs: StatePairs) -> float:
        """Add one batch's gradient, in micro-batches -> its loss."""
        total = 0.0
        mine = pairs.rows(slice(self._team.rank, None, self._team.size))
        for part in _chunks(mine, self._config.micro_batch or self._config.batch_size):
            h_ND, e_ND = part.h_ND.to(lesson.backbone.device), part.targets(lesson.backbone)
            loss = inner_loss(lesson.link, h_ND, e_ND, self._config.norm_weight) * (len(h_ND) / len(pairs.h_ND))
            loss.backward()
            total += float(loss.detach())
        return total

    def batch_of(self, number: int) -> dict[str, list[int]]:
        """Global batch `number` as it can be written down: by role, the token after each of its states."""
        return {lesson.role: lesson.batches[number].ids_N.tolist() for lesson in self.lessons}

    def evaluate(self, step: int) -> DevResult:
        """The dev figures; their loss, the objective's own, decides which checkpoint is best."""
        figures = self.measure()
        return DevResult((-figures["loss"],), figures)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Mean over roles of the dev loss, and by role: cosine, norm over the target's, and the yardsticks."""
        figures: dict[str, float] = {}
        losses = []
        for lesson in self.lessons:
            assert lesson.dev is not None and lesson.yardsticks is not None, "dev examples"
            dev = score(lesson.link, lesson.dev, lesson.backbone)
            losses.append(1 - dev.cosine + self._config.norm_weight * dev.norm_error)
            figures |= {f"cosine_{lesson.role}": dev.cosine, f"norm_{lesson.role}": dev.norm}
            figures |= {f"cosine_{lesson.role}_{name}": value for name, value in lesson.yardsticks._asdict().items()}
        return {"loss": sum(losses) / len(losses)} | figures


class Score(NamedTuple):
    """Means over pairs: the cosine to the target, the norm over the target's, and (that - 1)²."""

    cosine: float
    norm: float
    norm_error: float


@torch.no_grad()
def score(map_of: Callable[[Tensor], Tensor], states: States, backbone: HFBackbone) -> Score:
    """How near map_of(h) comes to what followed, over all pairs; one shard in memory."""
    total = torch.zeros(3, dtype=torch.float64)
    for part in _all_pairs(states):
        z_ND, e_ND = map_of(widened(part.h_ND.to(backbone.device))), widened(part.targets(backbone))
        ratio_N = _norm_ratio(z_ND, e_ND)
        rows = torch.stack([cosine_similarity(z_ND, e_ND, dim=-1), ratio_N, (ratio_N - 1).square()])
        total += rows.double().sum(1).cpu()
    return Score(*(total / len(states)).tolist())


@torch.no_grad()
def best_constant(states: States, backbone: HFBackbone) -> Tensor:
    """The one vector (D,) with the highest mean cosine to all targets: the mean of their directions."""
    parts = (normalize(widened(part.targets(backbone)), dim=-1).sum(0) for part in _all_pairs(states))
    return torch.stack(list(parts)).sum(0) / len(states)


@final
class _Teacher:
    """Extracts into ROLE/train and ROLE/dev; roles that read the same texts with one model share the first's."""

    def __init__(self, system: System, split: Split, config: InnerConfig, folder: Path, report: Report) -> None:
        self._system, self._split, self._config, self._folder, self._report = system, split, config, folder, report
        self._options = Extraction(target=config.target, tau=config.tau)
        self._done: dict[str, States] = {}

    def lesson(self, role: str) -> Lesson:
        """Extract what the role trains on, and what it is measured on."""
        backbone, link = self._system.backbones[role], self._system.inner[role]
        assert isinstance(link, Link)
        train = self._states(role, self._split.train, "train")
        batches = StateBatches(train, batch_size=self._config.batch_size, seed=self._config.data_seed)
        if not self._split.dev:
            return Lesson(role=role, link=link, backbone=backbone, batches=batches)
        dev = self._states(role, self._split.dev, "dev")
        constant_D = best_constant(train, backbone)
        constant = score(lambda h_ND: constant_D.expand(len(h_ND), -1), dev, backbone)
        yardsticks = Yardsticks(constant.cosine, score(link, dev, backbone).cosine)
        return Lesson(role=role, link=link, backbone=backbone, batches=batches, dev=dev, yardsticks=yardsticks)

    def _states(self, role: str, examples: Sequence[Example], part: str) -> States:
        backbone, config = self._system.backbones[role], self._config
        readings = role_readings(self._system, role, examples, positions=config.positions, max_length=config.max_length)
        key = states_key(backbone, readings, self._options)
        if key not in self._done:
            folder = self._folder / role / part
            self._done[key] = extract_states(backbone, readings, folder, self._options, report=self._report)
        return self._done[key]


def _all_pairs(states: States) -> Iterator[StatePairs]:
    for number in range(len(states.counts)):
        yield from _chunks(states.shard(number), _CHUNK)


def _chunks(pairs: StatePairs, size: int) -> Iterator[StatePairs]:
    for first in range(0, len(pairs.ids_N), size):
        yield pairs.rows(slice(first, first + size))


def _norm_ratio(z_ND: Tensor, e_ND: Tensor) -> Tensor:
    z_N, e_N = (torch.linalg.vector_norm(x_ND, dim=-1) for x_ND in (z_ND, e_ND))
    ratio_N: Tensor = z_N / e_N.clamp(min=1e-12)
    return ratio_N
