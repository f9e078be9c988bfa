"""The agent stage, for the baselines: a system's answerer, fine-tuned with the data and the loop that links have.

`lora` trains an adapter beside the frozen model, `full` every weight. The answerer works alone, or with the messages
of its team in its prompt, as text or as latents. With latents, the outer links may train as well, and the model
wherever else a role has it. What comes out is a bundle that `rmas ask` loads.
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from rmas.backbone import add_adapter, free_weights
from rmas.engine import Channel, Clip, TextChannel
from rmas.errors import ConfigError
from rmas.runfolder import claim_folder
from rmas.settings import Sampling
from rmas.system import System
from rmas.train.alone import ALONE
from rmas.train.config import FREE, AgentConfig, Cost, Report, TrainResult
from rmas.train.data import Batches, Example, Split, batches_of, lengths_of, load_examples, split_examples
from rmas.train.dev import check_answers, check_read, judged, measure, outcome
from rmas.train.frozen import frozen_digest
from rmas.train.heard import HeardChannel
from rmas.train.loop import fit
from rmas.train.objective import Stage, Unrolled, backward, clip_figures, clip_of, stage_of, stages_of, unroll
from rmas.train.outer import trainable
from rmas.train.rejection import LessonChannel, Lessons, draw_lessons
from rmas.train.resolve import check_vectors, latents_of
from rmas.train.run import DevResult, StepResult, num_trained
from rmas.train.team import Team, join_team
from rmas.train.told import Told
from rmas.train.tuned import finish_agent


def train_agent(system: System, config: AgentConfig, out: Path, *, resume: bool, report: Report) -> TrainResult:
    """Fine-tune the answerer of `system` in place; leave a bundle in `out`. With `config.is_alone` it is the one agent
    there is (`SystemSpec.alone`); else it reads `config.rounds` rounds of messages.

    Raises ConfigError for data or settings that do not fit, CheckpointError for a folder that cannot be written or
    resumed, NumericsError for a loss that is not finite.
    """
    _check(system, config)
    role, team = system.pattern.answerer, join_team()
    split = split_examples(load_examples(config, roles=(*system.pattern.roles, *system.spec.team)), dev=config.dev)
    trainer = AgentTrainer(system, config, split, team=team)
    if team.is_first:
        claim_folder(out, config, resume=resume, free=FREE)
    team.wait()
    trainer.check()
    frozen, links = frozen_digest(system, trainer.links, split.train), trainer.links
    begun = trainer.release() if system.spec.begun is not None else None  # what goes on to train writes as it is
    written = trainer.hear(out, report)
    weights = begun or trainer.release()
    parameters = weights | links
    result = fit(
        parameters,
        trainer.step,
        config,
        out,
        evaluate=trainer.evaluate if split.dev else None,
        report=report,
        stage=f"{role} alone" if config.is_alone else f"{role} and its links" if links else f"{role} in its team",
        batch_of=trainer.batch_of,
        minutes=config.minutes,
        team=team,
        groups=[group for group in (weights, links) if group],
        relative=dict.fromkeys(links, config.links_lr or 0.0),
        frozen=frozen,
    )
    if team.is_first:
        finish_agent(system, config, out, num_trained=num_trained(weights))
    team.wait()
    cost = Cost(result.cost.operations + written.operations, result.cost.seconds + written.seconds)
    return outcome(result._replace(cost=cost), parameters)


def _check(system: System, config: AgentConfig) -> None:
    """Refuse, before any data is read, a model that cannot be tuned so."""
    if config.channel == "latent":
        check_vectors(system.spec, latents_of(config, system.spec), config.curriculum)
    role = system.pattern.answerer
    if system.spec.roles[role].adapter is not None:
        raise ConfigError(
            f"{system.spec.name}: {role} has an adapter already, added into its weights. Load what "
            "rmas.train.resolve.spec_for gives to go on from it (method lora), or train on the model itself."
        )
    backbone = system.backbones[role]
    if config.method == "full" and backbone.dtype not in (torch.float32, torch.float64):
        raise ConfigError(
            f"method is full and {backbone.name} is in {backbone.dtype}: too coarse. Use --dtype float32."
        )
    if config.mixed_precision != "none" and backbone.dtype != torch.float32:
        raise ConfigError(
            f"mixed_precision is {config.mixed_precision} and {backbone.name} is in {backbone.dtype}: "
            "weights are to be in float32. Use --dtype float32, or leave it out."
        )


@final
class AgentTrainer:
    """A system whose answerer trains, and what it trains on: a step, a dev evaluation, and what both hear."""

    def __init__(self, system: System, config: AgentConfig, split: Split, *, team: Team) -> None:
        if not config.shared and (config.channel == "latent" or system.spec.begun is not None):
            system.set_apart(system.pattern.answerer)
        self.system, self.config, self._split, self._team = system, config, split, team
        self.backbone = system.backbones[system.pattern.answerer]
        self._last = Stage(config.rounds or 1, latents_of(config, system.spec))
        self._stages = stages_of(config.curriculum, self._last)
        self._most_rounds = max(stage.rounds for stage in self._stages)
        self.links = {} if config.links_lr is None else trainable(system, rounds=self._most_rounds)
        self._batches = Batches(
            lengths_of(split.train), batch_size=config.batch_size, seed=config.data_seed, by_length=config.by_length
        )
        self._told: Told | None = None
        self._lessons: Lessons | None = None

    def check(self) -> None:
        """Refuse, before any work, answers and prompts that have no room."""
        config, split = self.config, self._split
        check_answers(self.system, (example.answer for example in split.dev), max_new_tokens=config.max_new_tokens)
        check_read(
            self.system,
            (*split.train, *split.dev),
            channels=[self._channel(stage) for stage in self._stages],
            rounds=self._most_rounds,
            max_new_tokens=config.max_new_tokens,
        )

    def hear(self, out: Path, report: Report) -> Cost:
        """Let the team write all messages that will be read, where they are text -> what those of the steps took."""
        channel, config, team = self._channel(self._last), self.config, self._team
        if not isinstance(channel, TextChannel):
            return Cost(0.0, 0.0)
        file = out / f"messages-{team.rank}.jsonl"
        met = [self._split.train[i] for i in team.met(self._batches, config.steps)]
        if config.rejection_samples:
            self._lessons = draw_lessons(
                self.system,
                met,
                channel,
                file,
                samples=config.rejection_samples,
                rounds=self._last.rounds,
                batch_size=config.dev_batch,
                max_new_tokens=config.max_new_tokens,
                report=report,
            )
            return Cost(team.size * self._lessons.cost.operations, self._lessons.cost.seconds)
        self._told = Told(channel, file)
        heard = [*met, *chain(*team.share(list(batches_of(self._split.dev, config.dev_batch))))]
        self._told.write(self.system, heard, rounds=self._last.rounds, batch_size=config.dev_batch, report=report)
        written = self._told.cost(met)
        return Cost(team.size * written.operations, written.seconds)

    def release(self) -> dict[str, nn.Parameter]:
        """What of the model trains from here on: an adapter that is put beside it, fresh or begun, or all weights."""
        config = self.config
        if config.method == "lora":
            begun = self.system.spec.begun
            return add_adapter(self.backbone, rank=config.rank, alpha=config.alpha, seed=config.seed, begun=begun)
        return free_weights(self.backbone)

    def step(self, number: int) -> StepResult:
        """Leave the gradients of global batch `number` (0-based), this process's share of it."""
        stage = stage_of(number, self.config.curriculum, self._last)
        is_mixed, clip = self.config.mixed_precision != "none", clip_of(self.config)

        def unrolled(places: Sequence[int]) -> Unrolled:
            micro = [self._split.train[i] for i in places]
            channel = (
                self._heard(micro, stage, clip) if self._lessons is None else self._lessons.of(micro, self.backbone)
            )
            with torch.autocast(self.backbone.device.type, torch.bfloat16, enabled=is_mixed):
                done = unroll(
                    self.system,
                    micro,
                    rounds=stage.rounds,
                    channel=channel,
                    earlier_weight=self.config.earlier_weight if self._lessons is None else 1.0,
                    graded=True,
                    across_rounds=self.config.across_rounds,
                )
                return channel.joined(done) if isinstance(channel, LessonChannel) else done

        done = backward(self._team.share(self._batches[number]), self.config, unrolled)
        return done._replace(figures=clip_figures(clip))

    def evaluate(self, step: int) -> DevResult:
        figures = measure(
            self.system,
            self._split.dev,
            rounds=self._last.rounds,
            channel_of=lambda examples: self._heard(examples, self._last),
            probes=(),
            batch_size=self.config.dev_batch,
            max_new_tokens=self.config.max_new_tokens,
            team=self._team,
        )
        return judged(figures)

    def batch_of(self, number: int) -> list[dict[str, Any]]:
        """Global batch `number` as it can be written down."""
        return [self._split.train[i].row for i in self._batches[number]]

    def _heard(self, examples: Sequence[Example], stage: Stage, clip: Clip | None = None) -> Channel:
        """What `examples` hear: of text, what was written, unless its writers train."""
        config = self.config
        if self._told is not None:
            return self._told.of(examples)
        channel = self._channel(stage, clip)
        return HeardChannel(channel) if config.channel == "latent" and not config.is_graded else channel

    def _channel(self, stage: Stage, clip: Clip | None = None) -> Channel:
        """In which the team speaks to the answerer: a text is, word for word, what is most likely."""
        config = self.config
        if config.is_alone:
            return ALONE
        if config.channel == "latent":
            checkpointed = config.is_graded and config.checkpointed
            return self.system.channel(stage.latent_steps, checkpointed=checkpointed, clip=clip)
        length = config.message_tokens or self.system.spec.message_tokens
        return TextChannel(sampling=Sampling(max_new_tokens=length))
