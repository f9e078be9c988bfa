"""What the agent stage leaves behind: a bundle with the answerer's weights, and its card."""

from pathlib import Path
from typing import Any

from rmas.backbone import save_adapter, save_weights, settle_adapter
from rmas.checkpoint import save_system, system_files, write_files
from rmas.system import System
from rmas.train.alone import keep_alone
from rmas.train.config import AgentConfig
from rmas.train.finish import kept_dtype
from rmas.train.journal import draw_curves
from rmas.train.resolve import latents_of

ADAPTER, MODEL = "adapter", "model"  # folders of a bundle


def finish_agent(system: System, config: AgentConfig, out: Path, *, num_trained: int) -> None:
    """Write the bundle: `num_trained` numbers of the model or beside it, and a system file that names them."""
    role = system.pattern.answerer
    backbone = system.backbones[role]
    if config.method == "lora":
        save_adapter(backbone, out / ADAPTER)
        entry = {"adapter": ADAPTER}
    else:
        save_weights(backbone, out / MODEL)
        entry = {"backbone": f"./{MODEL}"}
    beside = num_trained if config.method == "lora" else 0
    card = _card(system, config, num_trained, of=backbone.num_parameters - beside)
    if config.is_alone:
        keep_alone(system.spec, out, entry=entry, max_new_tokens=config.max_new_tokens, card=card)
        return
    draw_curves(out)
    told: dict[str, Any] = {"rounds": config.rounds, "max_new_tokens": config.max_new_tokens}
    taught = [name for name, other in system.backbones.items() if other is backbone] if config.shared else [role]
    if config.channel == "latent":
        told["latent_steps"] = latents_of(config, system.spec)
        if config.method == "lora":
            settle_adapter(backbone)  # the manifest tells of the weights as they will be loaded
        save_system(system, out, dtype=kept_dtype(config), told=told, roles=dict.fromkeys(taught, entry))
    else:
        told |= {"solver": "text", "message_tokens": config.message_tokens or system.spec.message_tokens}
        write_files(out, system_files(system.spec, told, dict.fromkeys(taught, entry)))
    write_files(out, {"README.md": card.encode()})


def _card(system: System, config: AgentConfig, num_trained: int, *, of: int) -> str:
    backbone = system.backbones[system.pattern.answerer]
    what = f"A low-rank adapter of rank {config.rank}" if config.method == "lora" else "All weights"
    if config.is_alone:
        where, how = "alone", "no agent hears another"
    elif config.channel == "text":
        where = "with the text of its team"
        how = f"it read {config.rounds} rounds of messages, which the team had written before{_and_others(config)}"
    else:
        where = "with the latents of its team"
        rate = config.links_lr
        links = "stayed as they were" if rate is None else f"trained with it, at {rate:g} of their size"
        how = f"it read {config.rounds} rounds of latents through links that {links}{_and_others(config)}"
    return (
        f"# {backbone.name}, fine-tuned {where}\n\n{what}: {num_trained:,} numbers, the model has {of:,}. "
        f"Data `{config.data}`, {config.steps:,} steps of {config.batch_size}, rate {config.lr:g}, seed {config.seed}; "
        f"all settings are in config.toml, all figures in log.jsonl. A baseline: {how}.{_before(system)}\n\n"
        '```sh\nrmas ask FOLDER "Your question"\n```\n'
    )


def _before(system: System) -> str:
    return "" if system.spec.begun is None else " It went on from an adapter that was trained before."


def _and_others(config: AgentConfig) -> str:
    if config.rejection_samples:
        drawn = f"the likeliest and {config.rejection_samples} drawn"
        return f". All agents with this model learned from the best of their own messages, {drawn}"
    return ". All agents with this model are tuned" if config.shared else ""
