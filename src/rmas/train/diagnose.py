"""Diagnosis: where the gradient goes, and what the latents do along a rollout. Measures; trains nothing.

Theorem 4.1 of the paper says that gradients through latent links stay near constant over rounds, while those through
text vanish. Here both are measured on the system itself, with its frozen models between the links: the loss of the
last round, differentiated by the messages of each round, once with the system's links and once with the proof's text
surrogate in their place (the embedding expected under the softmax, carried to the receiver in closed form).

Beside it stands how much a message still changes from round to round: a loop that refines an answer settles, one whose
messages are the same at once, or never, does not.

`R` rounds, `B` batch, `M` latent steps, `D` width.
"""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cosine_similarity

from rmas.backbone import Backbone, HFBackbone
from rmas.conversation import Prompt
from rmas.engine import Agent, Around, Heads, Inbox, LatentChannel, Payload, Thought
from rmas.errors import CheckpointError, ConfigError
from rmas.system import System
from rmas.train.config import OuterConfig, Report
from rmas.train.data import Example, load_examples, split_examples
from rmas.train.objective import outer_loss
from rmas.train.outer import OuterTrainer
from rmas.train.resolve import resolved
from rmas.train.surrogate import TextSurrogate, text_surrogate
from rmas.wholefile import write_whole

FILE = "diagnosis.json"
_BATCHES = 4


class Reach(NamedTuple):
    """Gradient norms of the last round's loss, of one edge's message and of its link's weights, in one round."""

    edge: str
    round: int
    message: float
    weights: float


class Drift(NamedTuple):
    """One role's rollout, by latent step: norm over that of its own embeddings, and cosines."""

    role: str
    round: int
    norm: tuple[float, ...]
    to_previous: tuple[float, ...]
    to_first: tuple[float, ...]


class Change(NamedTuple):
    """One edge's message in a later round: how far it is from that of the round before, and from another question's.

    Both over its own length, means over questions; of a single question the second is 0.
    """

    edge: str
    round: int
    to_previous: float
    to_another: float


class Probe(NamedTuple):
    """What one batch showed."""

    reached: list[Reach]
    drifted: list[Drift]
    changed: list[Change]


@final
@dataclass(frozen=True)
class Tapped(Around):
    """A channel of latents that keeps what passes through it, with gradients."""

    edges: Mapping[int, str]  # id of a link -> its edge
    thoughts: list[tuple[str, Tensor]] = field(default_factory=list)
    carried: list[tuple[str, str, Tensor, list[Tensor]]] = field(default_factory=list)

    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        thought = self.channel.think(agent, prompts, inbox, heads, salt)
        assert isinstance(thought.message, Tensor), "a latent channel"
        self.thoughts.append((salt, thought.message.detach()))
        return thought

    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        used: Callable[[Tensor], Tensor] = link
        weights: dict[str, Tensor] = {}
        if isinstance(link, nn.Module):
            # one copy of the weights a round, so that their gradient is told apart by round
            module = link
            weights = {name: parameter.clone() for name, parameter in link.named_parameters()}

            def used(z: Tensor) -> Tensor:
                y: Tensor = functional_call(module, weights, (z,))
                return y

        message = self.channel.carry(used, thought, receiver)
        assert isinstance(message, Tensor), "a latent channel"
        if not message.requires_grad:
            message.requires_grad_()
        for tensor in (message, *weights.values()):
            tensor.retain_grad()
        self.carried.append((thought.salt, self.edges[id(link)], message, list(weights.values())))
        return message


def diagnose(system: System, config: OuterConfig, out: Path, *, report: Report) -> str:
    """Measure four batches; write `out`/diagnosis.json, whose folder is made; -> the same as a text for people.

    Raises ConfigError for a system of constant messages, CheckpointError for a folder that cannot be written.
    """
    if system.spec.is_constant:
        raise ConfigError(f"{system.spec.name}: its messages are constants; there is no rollout to diagnose.")
    if system.spec.halts:
        raise ConfigError(f"{system.spec.name}: its thoughts halt, and steps are compared here. Leave halts out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise CheckpointError(f"{out}: cannot be written ({problem.strerror}). Check the path.") from None
    config = resolved(config, system.spec)
    split = split_examples(load_examples(config, roles=system.pattern.roles), dev=config.dev)
    trainer = OuterTrainer(system, config, split.train)
    runs: dict[str, System | TextSurrogate] = {"latent": system, "text": text_surrogate(system)}
    findings: dict[str, list[Probe]] = {name: [] for name in runs}
    for number in range(_BATCHES):
        for place, (name, runnable) in enumerate(runs.items()):
            report("diagnosis", number * len(runs) + place, _BATCHES * len(runs), {})
            findings[name].append(probe(runnable, trainer.batch(number), config))
    report("diagnosis", _BATCHES * len(runs), _BATCHES * len(runs), {})
    summary = {name: summarise(found, config.rounds or 1) for name, found in findings.items()}
    facts = {
        "system": system.spec.name,
        "digest": system.digest(),
        "data": config.data,
        "rounds": config.rounds,
        "latent_steps": config.latent_steps,
        "batches": _BATCHES,
        "batch_size": config.batch_size,
    }
    try:
        write_whole(out / FILE, json.dumps(facts | summary, indent=2) + "\n")
    except OSError as problem:
        raise CheckpointError(f"{out / FILE}: cannot be written ({problem.strerror}). Check the path.") from None
    return "\n".join(_told(name, table, config.rounds or 1) for name, table in summary.items())


def probe(runnable: System | TextSurrogate, examples: Sequence[Example], config: OuterConfig) -> Probe:
    """One batch: gradient norms of every message and link by round, every rollout's drift, every message's change."""
    assert config.rounds is not None and config.latent_steps is not None, "resolved"
    tapped = Tapped(
        LatentChannel(latent_steps=config.latent_steps),
        {id(runnable.link(edge)): str(edge) for edge in runnable.pattern.edges},
    )
    loss = outer_loss(runnable, examples, rounds=config.rounds, channel=tapped).mean()
    loss.backward()
    reached = [
        Reach(edge, int(salt.split()[0]), _norm([message]), _norm(weights))
        for salt, edge, message, weights in tapped.carried
    ]
    drifted = [_drift(salt, z_BMD, runnable.backbones) for salt, z_BMD in tapped.thoughts]
    return Probe(reached, drifted, _changes([(edge, message) for _, edge, message, _ in tapped.carried]))


def summarise(found: Sequence[Probe], rounds: int) -> dict[str, Any]:
    """Means over batches: by edge and round (of messages, of the link's weights), shares, ratios, drifts, changes."""
    ratios, weight_ratios = [], []
    for probed in found:
        reached = probed.reached
        by_round = {r: [each for each in reached if each.round == r] for r in range(1, rounds + 1)}
        ratios.append(_ratio(_total(by_round[1], "message"), _total(by_round[rounds], "message")))
        weight_ratios.append(_ratio(_total(by_round[1], "weights"), _total(by_round[rounds], "weights")))
    reaches = [each for probed in found for each in probed.reached]
    changes = [each for probed in found for each in probed.changed]
    means = _means(reaches, "message")
    whole = sum(sum(rows.values()) for rows in means.values()) or 1.0
    drifts: dict[tuple[str, int], list[Drift]] = {}
    for probed in found:
        for drift in probed.drifted:
            drifts.setdefault((drift.role, drift.round), []).append(drift)
    return {
        "message_gradient": means,
        "weight_gradient": _means(reaches, "weights"),
        "share": {edge: sum(rows.values()) / whole for edge, rows in means.items()},
        "round_1_over_last": {"mean": statistics.fmean(ratios), "low": min(ratios), "high": max(ratios)},
        "weights_round_1_over_last": statistics.fmean(weight_ratios),
        "latents": [
            {
                "role": role,
                "round": number,
                **{name: _columns([getattr(each, name) for each in group]) for name in Drift._fields[2:]},
            }
            for (role, number), group in drifts.items()
        ],
        "change": _means(changes, "to_previous"),
        "change_to_another": _means(changes, "to_another"),
    }


def _means(found: Sequence[Reach | Change], name: str) -> dict[str, dict[str, float]]:
    """By edge and round."""
    edges: dict[str, dict[str, list[float]]] = {}
    for each in found:
        edges.setdefault(each.edge, {}).setdefault(f"round {each.round}", []).append(getattr(each, name))
    return {edge: {when: statistics.fmean(values) for when, values in rows.items()} for edge, rows in edges.items()}


def _drift(salt: str, z_BMD: Tensor, backbones: Mapping[str, HFBackbone]) -> Drift:
    number, role = salt.split(maxsplit=1)
    backbone = backbones[role]
    ids = torch.arange(min(512, backbone.vocabulary_size), device=backbone.device)
    usual = backbone.embed(ids).float().norm(dim=-1).mean()
    z_BMD = z_BMD.float()
    norm_M = (z_BMD.norm(dim=-1) / usual.to(z_BMD.device)).mean(0)
    previous = cosine_similarity(z_BMD[:, 1:], z_BMD[:, :-1], dim=-1).mean(0)
    first = cosine_similarity(z_BMD[:, 1:], z_BMD[:, :1], dim=-1).mean(0)
    return Drift(role, int(number), *(tuple(row.tolist()) for row in (norm_M, previous, first)))


def _changes(carried: Sequence[tuple[str, Tensor]]) -> list[Change]:
    """Of every edge's messages, in the order of the rounds."""
    edges: dict[str, list[Tensor]] = {}
    for edge, message_BMD in carried:
        edges.setdefault(edge, []).append(message_BMD.detach().double().flatten(1))
    return [
        Change(edge, number, _distance(new_BN, old_BN), _distance(new_BN, new_BN.roll(1, 0)))
        for edge, messages in edges.items()
        for number, (old_BN, new_BN) in enumerate(pairwise(messages), start=2)
    ]


def _distance(x_BN: Tensor, y_BN: Tensor) -> float:
    """Over the length of x; the mean over rows."""
    return float(((x_BN - y_BN).norm(dim=1) / x_BN.norm(dim=1)).mean())


def _norm(tensors: Sequence[Tensor]) -> float:
    """The length of all gradients together; 0 where the loss does not depend on a tensor."""
    return math.hypot(*(float(tensor.grad.double().norm()) for tensor in tensors if tensor.grad is not None))


def _total(reached: Sequence[Reach], name: str) -> float:
    return math.hypot(*(getattr(each, name) for each in reached))


def _ratio(first: float, last: float) -> float:
    return first / last if last else 0.0


def _columns(rows: Sequence[tuple[float, ...]]) -> list[float]:
    return [statistics.fmean(column) for column in zip(*rows, strict=True)]


def _told(name: str, table: Mapping[str, Any], rounds: int) -> str:
    ratio = table["round_1_over_last"]
    lines = [
        f"{name} messages",
        f"  gradient of round 1 over round {rounds}: {ratio['mean']:.2g} ({ratio['low']:.2g} to {ratio['high']:.2g})",
    ]
    for edge, by_round in table["message_gradient"].items():
        norms = ", ".join(f"{when} {norm:.2e}" for when, norm in by_round.items())
        lines.append(f"  {edge}: {norms}; share {table['share'][edge]:.0%}")
    for edge, by_round in table["change"].items():
        another = table["change_to_another"][edge]
        parts = ", ".join(f"{when} {change:.2f} ({another[when]:.2f})" for when, change in by_round.items())
        lines.append(f"  {edge}: change since the round before (another question's message): {parts}")
    for row in table["latents"]:
        norms, cosines = (", ".join(f"{value:.2f}" for value in row[key]) for key in ("norm", "to_previous"))
        lines.append(f"  {row['role']}, round {row['round']}: norm {norms}; cosine to the step before {cosines or '-'}")
    return "\n".join(lines)
