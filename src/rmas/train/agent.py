"""The agent stage, for the baselines: a system's answerer alone, fine-tuned with the data and the loop that links have.

`lora` trains an adapter beside the frozen model, `full` every weight. What comes out is a bundle that `rmas ask` loads.
Its adapter may be named by any role that has the same model, such as the answerer of a team that writes text.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from rmas.backbone import add_adapter, free_weights, save_adapter, save_weights
from rmas.errors import ConfigError
from rmas.runfolder import claim_folder
from rmas.system import System
from rmas.train.alone import ALONE, check_alone, keep_alone
from rmas.train.config import FREE, AgentConfig, Report, TrainResult
from rmas.train.data import Batches, lengths_of, load_examples, split_examples
from rmas.train.dev import check_answers, judged, measure, outcome
from rmas.train.frozen import frozen_digest
from rmas.train.loop import DevResult, StepResult, fit
from rmas.train.objective import Unrolled, backward, unroll
from rmas.train.team import join_team

ADAPTER, MODEL = "adapter", "model"  # folders of a bundle


class Tuned(NamedTuple):
    """What was trained: how many numbers, of how many."""

    trained: int
    of: int


def train_agent(system: System, config: AgentConfig, out: Path, *, resume: bool, report: Report) -> TrainResult:
    """Fine-tune the one agent of `system` (`SystemSpec.alone`) in place; leave a bundle in `out`.

    Raises ConfigError for data or settings that do not fit, CheckpointError for a folder that cannot be written or
    resumed, NumericsError for a loss that is not finite.
    """
    (role,) = system.pattern.roles
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
    check_alone(system, (*split.train, *split.dev), max_new_tokens=config.max_new_tokens)
    frozen = frozen_digest(system, (), split.train)
    if config.method == "lora":
        parameters = add_adapter(backbone, rank=config.rank, alpha=config.alpha, seed=config.seed)
    else:
        parameters = free_weights(backbone)
    batches = Batches(
        lengths_of(split.train), batch_size=config.batch_size, seed=config.data_seed, by_length=config.by_length
    )

    def step(number: int) -> StepResult:
        def unrolled(places: Sequence[int]) -> Unrolled:
            micro = [split.train[i] for i in places]
            return unroll(system, micro, rounds=1, channel=ALONE, share_heads=False)

        return backward(team.share(batches[number]), config, unrolled)

    def evaluate(step: int) -> DevResult:
        figures = measure(
            system,
            split.dev,
            rounds=1,
            latent_steps=0,
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
        stage=f"{role} alone",
        batch_of=lambda number: [split.train[i].row for i in batches[number]],
        minutes=config.minutes,
        team=team,
        frozen=frozen,
    )
    trained = sum(parameter.numel() for parameter in parameters.values())
    if team.is_first:
        beside = trained if config.method == "lora" else 0
        _finish(system, config, out, Tuned(trained, backbone.num_parameters - beside))
    team.wait()
    return outcome(result, parameters)


def _finish(system: System, config: AgentConfig, out: Path, tuned: Tuned) -> None:
    """The bundle: the weights, and a system file that names them."""
    (backbone,) = system.backbones.values()
    if config.method == "lora":
        save_adapter(backbone, out / ADAPTER)
        entry = {"adapter": ADAPTER}
    else:
        save_weights(backbone, out / MODEL)
        entry = {"backbone": f"./{MODEL}"}
    keep_alone(
        system.spec,
        out,
        entry=entry,
        max_new_tokens=config.max_new_tokens,
        card=_card(system, config, tuned),
    )


def _card(system: System, config: AgentConfig, tuned: Tuned) -> str:
    (backbone,) = system.backbones.values()
    what = f"A low-rank adapter of rank {config.rank}" if config.method == "lora" else "All weights"
    return (
        f"# {backbone.name}, fine-tuned alone\n\n{what}: {tuned.trained:,} numbers, the model has {tuned.of:,}. "
        f"Data `{config.data}`, {config.steps:,} steps of {config.batch_size}, rate {config.lr:g}, seed {config.seed}; "
        "all settings are in config.toml, all figures in log.jsonl. A baseline: no agent hears another.\n\n"
        '```sh\nrmas ask FOLDER "Your question"\n```\n'
    )
