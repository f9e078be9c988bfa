"""The agent stage, for the baselines: a system's answerer, fine-tuned with the data and the loop that links have.

`lora` trains an adapter beside the frozen model, `full` every weight. The answerer works alone, or with the messages
of its team in its prompt, as text or as latents. With latents, the outer links may train as well, and the model
wherever else a role has it. What comes out is a bundle that `rmas ask` loads.
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rmas.backbone import add_adapter, free_weights, save_adapter, save_weights, settle_adapter
from rmas.checkpoint import save_system, system_files, write_files
from rmas.engine import Channel, TextChannel
from rmas.errors import ConfigError
from rmas.runfolder import claim_folder
from rmas.settings import Sampling
from rmas.system import System
from rmas.train.alone import ALONE, keep_alone
from rmas.train.config import FREE, AgentConfig, Report, TrainResult
from rmas.train.data import Batches, Example, batches_of, lengths_of, load_examples, split_examples
from rmas.train.dev import check_answers, check_read, judged, measure, outcome
from rmas.train.finish import kept_dtype
from rmas.train.frozen import frozen_digest
from rmas.train.heard import HeardChannel
from rmas.train.journal import draw_curves
from rmas.train.loop import fit
from rmas.train.objective import Stage, Unrolled, backward, stage_of, unroll
from rmas.train.outer import trainable
from rmas.train.run import DevResult, StepResult, num_trained, units
from rmas.train.team import join_team
from rmas.train.told import Told

ADAPTER, MODEL = "adapter", "model"  # folders of a bundle


class Tuned(NamedTuple):
    """What was trained: how many numbers, of how many."""

    trained: int
    of: int


def train_agent(system: System, config: AgentConfig, out: Path, *, resume: bool, report: Report) -> TrainResult:
    """Fine-tune the answerer of `system` in place; leave a bundle in `out`. With `config.is_alone` it is the one agent
    there is (`SystemSpec.alone`); else it reads `config.rounds` rounds of messages.

    Raises ConfigError for data or settings that do not fit, CheckpointError for a folder that cannot be written or
    resumed, NumericsError for a loss that is not finite.
    """
    role = system.pattern.answerer
    if config.channel == "latent" and not config.shared:
        system.set_apart(role)
    team, backbone = join_team(), system.backbones[role]
    if system.spec.roles[role].adapter is not None:
        raise ConfigError(f"{system.spec.name}: {role} has an adapter already. Train on the model itself.")
    if config.method == "full" and backbone.dtype not in (torch.float32, torch.float64):
        raise ConfigError(
            f"method is full and {backbone.name} is in {backbone.dtype}: too coarse. Use --dtype float32."
        )
    split = split_examples(load_examples(config, roles=(*system.pattern.roles, *system.spec.team)), dev=config.dev)
    if team.is_first:
        claim_folder(out, config, resume=resume, free=FREE)
    team.wait()
    check_answers(system, (example.answer for example in split.dev), max_new_tokens=config.max_new_tokens)
    last = Stage(config.rounds or 1, system.spec.latent_steps)
    stages = [last, *(Stage(*row[1:]) for row in config.curriculum)]
    check_read(
        system,
        (*split.train, *split.dev),
        channels=[_channel(system, config, stage) for stage in stages],
        rounds=max(stage.rounds for stage in stages),
        max_new_tokens=config.max_new_tokens,
    )
    links = {} if config.links_lr is None else trainable(system, train_inner=False)
    frozen = frozen_digest(system, links, split.train)
    batches = Batches(
        lengths_of(split.train), batch_size=config.batch_size, seed=config.data_seed, by_length=config.by_length
    )
    told, said = None, _channel(system, config, last)
    if isinstance(said, TextChannel):
        told = Told(said, out / f"messages-{team.rank}.jsonl")
        met = [split.train[i] for i in team.met(batches, config.steps)]
        heard = [*met, *chain(*team.share(list(batches_of(split.dev, config.dev_batch))))]
        told.write(system, heard, rounds=last.rounds, batch_size=config.dev_batch, report=report)
    if config.method == "lora":
        own = add_adapter(backbone, rank=config.rank, alpha=config.alpha, seed=config.seed)
    else:
        own = free_weights(backbone)
    parameters = own | links
    rate = (config.links_lr or 0) / config.lr

    def channel_of(examples: Sequence[Example], stage: Stage = last) -> Channel:
        if told is not None:
            return told.of(examples)
        channel = _channel(system, config, stage)
        return channel if config.is_graded else HeardChannel(channel)

    def step(number: int) -> StepResult:
        stage = stage_of(number, config.curriculum, last)

        def unrolled(places: Sequence[int]) -> Unrolled:
            micro = [split.train[i] for i in places]
            return unroll(system, micro, rounds=stage.rounds, channel=channel_of(micro, stage), graded=True)

        return backward(team.share(batches[number]), config, unrolled)

    def evaluate(step: int) -> DevResult:
        figures = measure(
            system,
            split.dev,
            rounds=last.rounds,
            channel_of=channel_of,
            probes=(),
            batch_size=config.dev_batch,
            max_new_tokens=config.max_new_tokens,
            team=team,
        )
        return judged(figures)

    result = fit(
        parameters,
        step,
        config,
        out,
        evaluate=evaluate if split.dev else None,
        report=report,
        stage=f"{role} alone" if config.is_alone else f"{role} and its links" if links else f"{role} in its team",
        batch_of=lambda number: [split.train[i].row for i in batches[number]],
        minutes=config.minutes,
        team=team,
        groups=[group for group in (own, links) if group],
        rates={name: unit * rate for name, unit in units(links).items()},
        frozen=frozen,
    )
    trained = num_trained(own)
    if team.is_first:
        beside = trained if config.method == "lora" else 0
        _finish(system, config, out, Tuned(trained, backbone.num_parameters - beside))
    team.wait()
    return outcome(result, parameters)


def _channel(system: System, config: AgentConfig, stage: Stage) -> Channel:
    """In which the team speaks to the answerer: a text is, word for word, what is most likely."""
    if config.is_alone:
        return ALONE
    if config.channel == "latent":
        return system.channel(stage.latent_steps, checkpointed=config.is_graded and config.checkpointed)
    return TextChannel(sampling=Sampling(max_new_tokens=config.message_tokens or system.spec.message_tokens))


def _finish(system: System, config: AgentConfig, out: Path, tuned: Tuned) -> None:
    """The bundle: the weights, and a system file that names them."""
    role = system.pattern.answerer
    backbone = system.backbones[role]
    if config.method == "lora":
        save_adapter(backbone, out / ADAPTER)
        entry = {"adapter": ADAPTER}
    else:
        save_weights(backbone, out / MODEL)
        entry = {"backbone": f"./{MODEL}"}
    card = _card(system, config, tuned)
    if config.is_alone:
        keep_alone(system.spec, out, entry=entry, max_new_tokens=config.max_new_tokens, card=card)
        return
    draw_curves(out)
    told: dict[str, Any] = {"rounds": config.rounds, "max_new_tokens": config.max_new_tokens}
    if config.channel == "latent":
        if config.method == "lora":
            settle_adapter(backbone)  # the manifest tells of the weights as they will be loaded
        taught = [name for name, other in system.backbones.items() if other is backbone]
        save_system(system, out, dtype=kept_dtype(config), told=told, roles=dict.fromkeys(taught, entry))
    else:
        told |= {"solver": "text", "message_tokens": config.message_tokens or system.spec.message_tokens}
        write_files(out, system_files(system.spec, told, {role: entry}))
    write_files(out, {"README.md": card.encode()})


def _card(system: System, config: AgentConfig, tuned: Tuned) -> str:
    backbone = system.backbones[system.pattern.answerer]
    what = f"A low-rank adapter of rank {config.rank}" if config.method == "lora" else "All weights"
    if config.is_alone:
        where, how = "alone", "no agent hears another"
    elif config.channel == "text":
        where = "with the text of its team"
        how = f"it read {config.rounds} rounds of messages, which the team had written before"
    else:
        where = "with the latents of its team"
        rate = config.links_lr
        links = "stayed as they were" if rate is None else f"trained with it, at {rate:g} of their size"
        also = ", and thought as every agent that has the model" if config.shared else ""
        how = f"it read {config.rounds} rounds of latents through links that {links}{also}"
    return (
        f"# {backbone.name}, fine-tuned {where}\n\n{what}: {tuned.trained:,} numbers, the model has {tuned.of:,}. "
        f"Data `{config.data}`, {config.steps:,} steps of {config.batch_size}, rate {config.lr:g}, seed {config.seed}; "
        f"all settings are in config.toml, all figures in log.jsonl. A baseline: {how}.\n\n"
        '```sh\nrmas ask FOLDER "Your question"\n```\n'
    )
