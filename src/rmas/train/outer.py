"""The outer stage: all outer links together, through the unrolled rounds, on one shared cross-entropy (eq. 6)."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from rmas.designs import is_constant
from rmas.engine import Channel, Clip, Heads
from rmas.errors import CheckpointError, ConfigError
from rmas.link import ConstantMessage, Link
from rmas.runfolder import claim_folder
from rmas.system import System
from rmas.train.config import FREE, OuterConfig, Report, TrainResult
from rmas.train.data import Batches, Example, lengths_of, load_examples, split_examples
from rmas.train.dev import check_answers, check_read, judged, longest_answer, measure, outcome
from rmas.train.finish import finish
from rmas.train.frozen import frozen_digest
from rmas.train.kept import KeptThoughts, first_roles, keep_thoughts
from rmas.train.loop import fit
from rmas.train.objective import (
    Stage,
    Unrolled,
    backward,
    clip_figures,
    clip_of,
    forced_channel,
    stage_of,
    stages_of,
    unroll,
)
from rmas.train.resolve import resolved
from rmas.train.run import DevResult, StepResult
from rmas.train.team import ALONE, Team, join_team


def train_outer(system: System, config: OuterConfig, out: Path, *, resume: bool, report: Report) -> TrainResult:
    """Train the outer links of `system` (and, if asked, the inner ones) in place; leave a bundle in `out`.

    Raises ConfigError for data or settings that do not fit, CheckpointError for a folder that cannot be written or
    resumed, NumericsError for a loss that is not finite.
    """
    team = join_team()
    config = resolved(config, system.spec)
    examples = load_examples(config, roles=system.pattern.roles)
    split = split_examples(examples, dev=config.dev)
    if team.is_first:
        claim_folder(out, config, resume=resume, free=FREE)
    team.wait()
    retell(system, config)
    if config.constants is not None:
        take_constants(system, Path(config.constants))
    trainer = OuterTrainer(system, config, split.train, team=team)
    trainer.check(split.dev)
    if config.keep_thoughts:
        trainer.keep(report)

    def evaluate(step: int) -> DevResult:
        return judged(trainer.measure(split.dev))

    result = fit(
        trainer.parameters,
        trainer.step,
        config,
        out,
        evaluate=evaluate if split.dev else None,
        report=report,
        stage="outer links",
        batch_of=trainer.batch_of,
        minutes=config.minutes,
        team=team,
        frozen=frozen_digest(system, trainer.parameters, split.train),
    )
    if team.is_first:
        trained = "the outer links and the inner links" if config.train_inner else "the outer links"
        counts = {"num_train": len(split.train), "num_dev": len(split.dev)}
        finish(system, config, out, result, stage="outer", trained=trained, **counts)
    team.wait()
    return outcome(result, trainer.parameters)


@torch.no_grad()
def take_constants(system: System, bundle: Path) -> None:
    """Start the constants of `system` from those that a bundle has on the same edges. Raises CheckpointError."""
    try:
        tensors = load_file(bundle / "links.safetensors")
    except (OSError, SafetensorError) as problem:
        raise CheckpointError(
            f"{bundle}: no bundle with constants ({problem}). Train one, or leave constants out."
        ) from None
    ours = {name: value for name, value in system.state_dict().items() if name.endswith("message_MD")}
    for name, value in ours.items():
        found = tensors.get(name)
        if found is None or found.shape != value.shape:
            has = "none" if found is None else str(tuple(found.shape))
            raise CheckpointError(
                f"{bundle}: {name} is {has}, expected {tuple(value.shape)}. Train it for this system."
            )
        value.copy_(found)
    if not ours:
        raise ConfigError("constants is set, but no outer link has any: give an edge the design linear+constant.")


def retell(system: System, config: OuterConfig) -> None:
    """Let the system's own file say the rounds and latent steps that it is trained with."""
    assert config.rounds is not None and config.latent_steps is not None, "resolved"
    told: dict[str, Any] = {"rounds": config.rounds, "latent_steps": config.latent_steps}
    system.spec = replace(system.spec, table=dict(system.spec.table) | told, **told)


@final
class OuterTrainer:
    """A system, its config and its examples: what a step, a dev evaluation and the diagnosis share."""

    def __init__(self, system: System, config: OuterConfig, examples: Sequence[Example], *, team: Team = ALONE) -> None:
        self.system, self.config, self.examples, self._team = system, resolved(config, system.spec), examples, team
        self._batches = Batches(
            lengths_of(examples),
            batch_size=config.batch_size,
            seed=config.data_seed,
            by_length=config.by_length,
            fixed=config.keep_heads,
        )
        self._last = Stage(self.config.rounds or 1, self.config.latent_steps or 1)  # none is None: resolved
        self._stages = stages_of(config.curriculum, self._last)
        self._most_rounds = max(stage.rounds for stage in self._stages)
        self._heads: dict[tuple[int, ...], Heads] = {}
        self._kept: KeptThoughts | None = None
        self.parameters: Mapping[str, nn.Parameter] = trainable(
            system, rounds=self._most_rounds, train_inner=config.train_inner
        )

    def keep(self, report: Report) -> None:
        """Roll out the first thoughts of every example that this process will meet. Raises ConfigError: none stays."""
        if not first_roles(self.system):
            raise ConfigError(
                "keep_thoughts is set, but no agent's first thought stays the same in this training: its inner link "
                "trains. Leave keep_thoughts out."
            )
        stages = [self.stage(0), *self._stages[1:], self.stage(self.config.steps)]
        self._kept = keep_thoughts(
            self.system,
            [self.examples[i] for i in self._team.met(self._batches, self.config.steps)],
            latent_steps=max(stage.latent_steps for stage in stages),
            batch_size=self.config.dev_batch,
            report=report,
        )

    def check(self, dev: Sequence[Example]) -> None:
        """Refuse, before any work, what no agent could read whole, and missing role targets."""
        rounds = self._most_rounds
        for example in (*self.examples, *dev):
            example.question.check_roles((*self.system.pattern.roles, *self.system.spec.team))
            example.answer_in(rounds)
        channels: list[Channel] = [self.system.channel(max(stage.latent_steps for stage in self._stages))]
        if self.config.objective != "rollout":
            channels.append(self._channel("teacher_forced", self.examples, self.stage(0)))
        answers = (example.answer_in(rounds) for example in dev)
        check_answers(self.system, answers, max_new_tokens=self.config.max_new_tokens)
        check_read(
            self.system,
            (*self.examples, *dev),
            channels=channels,
            rounds=rounds,
            max_new_tokens=self.config.max_new_tokens,
        )

    def stage(self, step: int) -> Stage:
        """Rounds and latent steps of 0-based `step`."""
        return stage_of(step, self.config.curriculum, self._last)

    @cached_property
    def _room(self) -> int:
        """The most positions that any turn of this training takes after reading its prompt."""
        steps = [stage.latent_steps for stage in self._stages]
        if self.config.objective != "rollout":
            steps.append(self.config.target_cap)
        return max(*steps, longest_answer(self.system, self.examples))

    def step(self, number: int) -> StepResult:
        """Leave the gradients of global batch `number` (0-based), this process's share of it."""
        objective, stage = self._objective(number), self.stage(number)
        clip = clip_of(self.config)

        def unrolled(places: Sequence[int]) -> Unrolled:
            micro = [self.examples[i] for i in places]
            heads = self._heads.setdefault(tuple(places), Heads(room=self._room)) if self.config.keep_heads else None
            return unroll(
                self.system,
                micro,
                rounds=stage.rounds,
                channel=self._channel(objective, micro, stage, clip),
                earlier_weight=self.config.earlier_weight,
                heads=heads,
                across_rounds=self.config.across_rounds,
            )

        done = backward(self._team.share(self._batches[number]), self.config, unrolled)
        figures = {"rounds": stage.rounds, "latent_steps": stage.latent_steps}
        return done._replace(figures=figures | clip_figures(clip))

    def measure(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Dev figures, at the rounds and latent steps that the system is trained for."""
        return measure(
            self.system,
            examples,
            rounds=self._last.rounds,
            channel_of=lambda _: self.system.channel(self._last.latent_steps),
            probes=self.config.probes,
            batch_size=self.config.dev_batch,
            max_new_tokens=self.config.max_new_tokens,
            team=self._team,
        )

    def batch(self, number: int) -> list[Example]:
        return [self.examples[i] for i in self._batches[number]]

    def batch_of(self, number: int) -> list[dict[str, Any]]:
        """Global batch `number` as it can be written down."""
        return [example.row for example in self.batch(number)]

    def _channel(self, objective: str, examples: Sequence[Example], stage: Stage, clip: Clip | None = None) -> Channel:
        checkpointed = self.config.checkpointed
        if objective == "rollout" or self.system.spec.is_constant:
            return self.system.channel(stage.latent_steps, checkpointed=checkpointed, known=self._kept, clip=clip)
        return forced_channel(self.system, examples, cap=self.config.target_cap, checkpointed=checkpointed)

    def _objective(self, number: int) -> str:
        """What this step trains for; a mixed one is drawn, from all teacher-forced to all rollout."""
        if self.config.objective != "mixed":
            return self.config.objective
        share = 1 - number / max(1.0, self.config.mixed_until * self.config.steps)
        draw = random.Random(f"{self.config.seed} {number} objective").random()
        return "teacher_forced" if draw < share else "rollout"


def trainable(system: System, *, rounds: int, train_inner: bool = False) -> dict[str, nn.Parameter]:
    """The parameters that train, by their name in the system: the outer links', and if asked the inner ones'. No other
    link takes a gradient from here on.

    What no answer of that many rounds depends on stays: in one round the edges that point back and the answerer's inner
    link, and before a learned constant all that led to it.

    Links are float32 or wider whatever their backbones are. Raises ConfigError where nothing could train.
    """
    pattern = system.pattern
    mute = {edge for edge, design in system.spec.outer.items() if is_constant(design)}
    edges = pattern.heard(rounds, mute)
    modules = {f"outer.{edge}": system.outer[str(edge)] for edge in edges}
    if train_inner:
        think = {edge.source for edge in edges if edge not in mute}
        roles = [role for role in pattern.roles if role in think]
        modules |= {f"inner.{role}": system.inner[role] for role in roles}
    found = {
        f"{place}.{name}": parameter
        for place, module in modules.items()
        if isinstance(module, Link | ConstantMessage)
        for name, parameter in module.named_parameters()
    }
    if not found:
        raise ConfigError(f"{system.spec.name}: it has no link that could train. Give its edges a link design.")
    for name, parameter in system.named_parameters():
        parameter.requires_grad_(name in found)
    return found
