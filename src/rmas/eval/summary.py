"""The figures of a run, from its records alone: the same records, the same summary, whatever happened on the way."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rmas.eval.power import smallest_unpaired
from rmas.eval.record import Record
from rmas.eval.statistics import bootstrap, estimate, pass_at_k

PASSES = (1, 2, 5, 10, 20, 50, 100)  # k of pass@k
_COUNTS = ("prompt_tokens", "latent_steps", "completion_tokens", "sequential_steps")


def summarise(records: Sequence[Record]) -> dict[str, Any]:
    """Accuracy by both readings with error and intervals, pass@k, majority vote, what was unparsed or cut, tokens, and
    calls of tools where there were any.

    `records`: whole questions in any order. Every figure is a mean over questions; None: these records tell none.
    `judged` is the accuracy by the judge, where one was asked about all; `majority` there is where samples vote.
    """
    questions = by_question(records)
    groups = [questions[name] for name in sorted(questions)]
    strict = _results(groups, lambda record: record.verdict == "correct")
    interval = bootstrap(strict, generator=np.random.default_rng(0))
    least = min(map(len, groups))
    table: dict[str, Any] = {
        "questions": len(groups),
        "samples": sum(map(len, groups)),
        "accuracy": estimate(strict)._asdict(),
        "bootstrap": interval._asdict(),
        "lenient": estimate(_results(groups, lambda record: record.lenient == "correct"))._asdict(),
        "unparsed": _mean(groups, lambda record: record.verdict == "unparsed"),
        "truncated": _mean(groups, lambda record: record.is_truncated),
        "smallest_difference": smallest_unpaired(strict),
    }
    if all(record.judged is not None for record in records):
        table["judged"] = estimate(_results(groups, lambda record: record.judged == "correct"))._asdict()
    if least > 1:
        table["pass_at"] = {str(k): pass_at_k(strict, k)._asdict() for k in PASSES if k <= least}
        chosen = [found for group in groups if (found := majority(group)) is not None]
        if len(chosen) == len(groups):
            table["majority"] = estimate([[float(is_right)] for is_right in chosen])._asdict()
    for name in sorted({name for record in records for name in record.scores}):
        scored = [[record.scores.get(name, 0.0) for record in group] for group in groups]
        table[name] = estimate(scored)._asdict()
    called = Counter(call["tool"] for record in records for turn in record.turns for call in turn.get("calls", ()))
    if called:
        table["calls"] = {name: count / len(groups) for name, count in sorted(called.items())}
    table["tokens"] = {name: sum(vars(record)[name] for record in records) / len(groups) for name in _COUNTS}
    return {key: as_json(value) for key, value in table.items()}


def running(records: Sequence[Record]) -> dict[str, float]:
    """Accuracy so far with its interval, questions being what is counted: what the progress bar shows."""
    groups = list(by_question(records).values())
    found = estimate(_results(groups, lambda record: record.verdict == "correct"))
    return {"accuracy": found.mean, "low": found.low, "high": found.high}


def by_question(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Each question's records, in the order of their samples."""
    questions: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.key):
        questions.setdefault(record.id, []).append(record)
    return questions


def majority(group: Sequence[Record]) -> bool | None:
    """Whether the answer that most samples give is right; of equals, the one said first. Unparsed samples do not vote.

    None where answers have no ballots: programs, and records that are older than ballots.
    """
    voters = [record for record in group if record.ballot is not None]
    if not voters:
        return None if any(record.extracted is not None for record in group) else False
    votes = Counter(record.ballot for record in voters)
    chosen = max(voters, key=lambda record: votes[record.ballot])
    return chosen.verdict == "correct"


def _results(groups: Sequence[Sequence[Record]], holds: Callable[[Record], bool]) -> list[list[float]]:
    return [[float(holds(record)) for record in group] for group in groups]


def _mean(groups: Sequence[Sequence[Record]], holds: Callable[[Record], bool]) -> float:
    return float(np.mean([np.mean(row) for row in _results(groups, holds)]))


def as_json(value: Any) -> Any:
    """What JSON can hold of figures: None for nan, at any depth."""
    if isinstance(value, dict):
        return {key: as_json(part) for key, part in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
