"""The figures of a run, from its records alone: the same records, the same summary, whatever happened on the way."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rmas.eval.power import smallest_unpaired
from rmas.eval.record import Record
from rmas.eval.statistics import bootstrap, estimate, pass_at_k

_PASSES = (1, 2, 5, 10, 20, 50, 100)


def summarise(records: Sequence[Record]) -> dict[str, Any]:
    """Accuracy by both readings with error and intervals, pass@k, majority vote, what was unparsed or cut, and tokens.

    `records`: whole questions in any order. Every figure is a mean over questions.
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
    if least > 1:
        table["pass_at"] = {str(k): pass_at_k(strict, k)._asdict() for k in _PASSES if k <= least}
        table["majority"] = estimate([[float(majority(group))] for group in groups])._asdict()
    for name in sorted({name for record in records for name in record.scores}):
        scored = [[record.scores.get(name, 0.0) for record in group] for group in groups]
        table[name] = estimate(scored)._asdict()
    firsts = [group[0] for group in groups]
    table["tokens"] = {
        name: sum(vars(record)[name] for record in firsts) / len(firsts)
        for name in ("prompt_tokens", "latent_steps", "completion_tokens")
    }
    table["tokens"]["sequential_steps"] = sum(map(sequential_steps, groups)) / len(groups)
    return table


def by_question(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Each question's records, in the order of their samples."""
    questions: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.key):
        questions.setdefault(record.id, []).append(record)
    return questions


def majority(group: Sequence[Record]) -> bool:
    """Whether the answer that most samples give is right; of equals, the one said first. Unparsed samples do not vote.

    Answers are the same where what was extracted is, white space and case apart: the gold answer has no say in it.
    """
    votes = Counter(_ballot(record) for record in group if record.extracted is not None)
    if not votes:
        return False
    most = max(votes.values())
    chosen = next(record for record in group if record.extracted is not None and votes[_ballot(record)] == most)
    return chosen.verdict == "correct"


def sequential_steps(group: Sequence[Record]) -> int:
    """Model steps of a question that had to wait for the one before: latent steps, and the tokens of one sample."""
    return round(group[0].latent_steps + group[0].completion_tokens / len(group))


def _ballot(record: Record) -> str:
    return "".join((record.extracted or "").split()).casefold()


def _results(groups: Sequence[Sequence[Record]], holds: Callable[[Record], bool]) -> list[list[float]]:
    return [[float(holds(record)) for record in group] for group in groups]


def _mean(groups: Sequence[Sequence[Record]], holds: Callable[[Record], bool]) -> float:
    return float(np.mean([np.mean(row) for row in _results(groups, holds)]))
