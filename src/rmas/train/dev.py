"""Dev figures: loss and greedy accuracy, round by round, and the same with the messages' content taken away.

The gap between the accuracy and that of shuffled messages is the curve to watch: without it the links have learned
a constant.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from rmas.engine import Channel, Controlled, Heads, LastTurn, check_lengths, run, speak
from rmas.errors import ConfigError
from rmas.settings import Control, Sampling
from rmas.system import System
from rmas.train.config import TrainResult
from rmas.train.data import Example, batches_of
from rmas.train.objective import answer_ids, answer_nll
from rmas.train.run import DevResult, FitResult, num_trained
from rmas.train.team import ALONE, Team


class Reply(NamedTuple):
    """What the answerer would say after `round`, and the cross-entropy of the right answer there."""

    round: int
    text: str
    nll: float
    is_right: bool


@torch.inference_mode()
def replies(
    system: System,
    examples: Sequence[Example],
    *,
    rounds: int,
    channel: Channel,
    max_new_tokens: int,
    every_round: bool = True,
    heads: Heads | None = None,
    losses: bool = True,
) -> list[list[Reply]]:
    """Greedy answers of one batch, after each round (or the last alone): one list an example.

    Right is the exact answer, white space around it apart. One run serves all rounds: what the answerer reads in
    round r does not depend on the rounds to come. Without `losses`, `nll` is nan and nothing is read for it.
    """
    sampling = Sampling(max_new_tokens=max_new_tokens)
    found: list[list[Reply]] = [[] for _ in examples]

    def listen(turn: LastTurn) -> None:
        backbone = turn.agent.backbone
        start = turn.read()
        ids = [answer_ids(backbone, example, turn.round) for example in examples]
        nlls = answer_nll(turn, ids, start).tolist() if losses else [math.nan] * len(examples)
        *_, rows = speak(backbone, start, sampling, [torch.Generator()] * len(examples))
        for place, (example, row, nll) in enumerate(zip(examples, rows, nlls, strict=True)):
            is_right = row.text.strip() == example.answer_in(turn.round)
            found[place].append(Reply(turn.round, row.text, nll, is_right))

    run(
        system,
        [example.question for example in examples],
        rounds=rounds,
        channel=channel,
        speak=listen,
        early=listen if every_round else None,
        heads=heads,
    )
    return found


def measure(
    system: System,
    examples: Sequence[Example],
    *,
    rounds: int,
    channel_of: Callable[[Sequence[Example]], Channel],
    probes: Sequence[Control],
    batch_size: int,
    max_new_tokens: int,
    team: Team = ALONE,
) -> Mapping[str, float]:
    """`loss`, `accuracy`, `accuracy_r1` … and `accuracy_PROBE`, over all examples; each process takes its batches.

    `channel_of`: what a batch is asked through.

    A batch of one has nothing to shuffle and its own message as the mean: it is left out of those two figures.
    """
    listening = [] if channel_of(examples).is_silent else list(probes)
    names = [*(f"accuracy_r{r}" for r in range(1, rounds + 1)), *(f"accuracy_{probe}" for probe in listening), "loss"]
    totals = dict.fromkeys([*names, *(f"rows_{probe}" for probe in listening)], 0.0)
    for batch in team.share(list(batches_of(examples, batch_size))):
        channel = channel_of(batch)
        channels: dict[str, Channel] = {"": channel}
        channels |= {probe: Controlled(channel=channel, control=probe) for probe in listening}
        heads = Heads(room=max(channel.message_length, max_new_tokens, longest_answer(system, batch)))
        for probe, probed in channels.items():
            if probe in ("shuffled", "mean") and len(batch) < 2:
                continue
            said = replies(
                system,
                batch,
                rounds=rounds,
                channel=probed,
                max_new_tokens=max_new_tokens,
                every_round=not probe,
                heads=heads,
            )
            for rows in said:
                for reply in rows:
                    name = f"accuracy_r{reply.round}" if not probe else f"accuracy_{probe}"
                    totals[name] += reply.is_right
            if probe:
                totals[f"rows_{probe}"] += len(batch)
            else:
                totals["loss"] += sum(rows[-1].nll for rows in said)
    sums = team.total(totals)
    asked = {f"accuracy_{probe}": sums[f"rows_{probe}"] for probe in listening}
    figures = {name: sums[name] / count for name in names if (count := asked.get(name, len(examples)))}
    return {"accuracy": figures[f"accuracy_r{rounds}"], "n": len(examples)} | figures


def judged(figures: Mapping[str, float]) -> DevResult:
    """Dev figures as what checkpoints are compared by: the accuracy, and of equal ones the loss."""
    return DevResult((figures["accuracy"], -figures["loss"]), figures)


def outcome(result: FitResult, parameters: Mapping[str, nn.Parameter]) -> TrainResult:
    """What a training of `parameters` came to, where dev figures were `judged`."""
    figures = {"dev_accuracy": result.score[0], "dev_loss": -result.score[1]} if result.score else {}
    links = {name: parameter for name, parameter in parameters.items() if name.startswith("outer.")}
    trained = num_trained(parameters)
    return TrainResult(result.steps, figures, result.is_complete, trained, num_trained(links), result.cost)


def check_answers(system: System, texts: Iterable[str], *, max_new_tokens: int) -> None:
    """Refuse dev answers that the answerer could never write whole. Raises ConfigError with the first."""
    answerer = system.backbones[system.pattern.answerer]
    for text in texts:
        if (length := len(answerer.encode(text))) > max_new_tokens:
            raise ConfigError(
                f"max_new_tokens is {max_new_tokens}, but the dev answer {text[:40]!r} has {length} tokens and would "
                "always be wrong. Raise max_new_tokens."
            )


def check_read(
    system: System, examples: Sequence[Example], *, channels: Sequence[Channel], rounds: int, max_new_tokens: int
) -> None:
    """Refuse what an agent of `system` could not read whole, with its answer or its message. Raises QuestionError.

    Looks at the examples that give each role most to read.
    """
    holders = system.spec.pack.holders
    for example in _longest(examples, [holders.get(role, role) for role in system.pattern.roles]):
        room = max(max_new_tokens, longest_answer(system, [example]))
        for channel in channels:
            check_lengths(system, [example.question], channel=channel, max_new_tokens=room, rounds=rounds)


def _longest(examples: Sequence[Example], roles: Sequence[str], *, each: int = 8) -> list[Example]:
    """For every role the examples that give it most to read, in characters; who speaks also has the answer."""

    def size(example: Example, role: str) -> int:
        answer = max(map(len, (example.answer, *example.answers)))
        return len(example.question.text) + len(example.question.context.get(role, "")) + answer

    found = {id(e): e for role in roles for e in sorted(examples, key=lambda e: -size(e, role))[:each]}
    return list(found.values())


def longest_answer(system: System, examples: Sequence[Example]) -> int:
    """The most tokens that a gold answer of any round has for the answerer, the one that ends it included."""
    backbone = system.agents[system.pattern.answerer].backbone
    return max(len(backbone.encode(text)) + 1 for example in examples for text in (example.answer, *example.answers))
