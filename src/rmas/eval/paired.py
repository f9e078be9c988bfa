"""Whether two runs on the same questions differ: paired tests, the difference, many comparisons. numpy only.

Differences are the first run's less the second's, question by question; a positive one is in the first's favour. The
surprising thing: the permutation test is exact more often than not, because differences of 0/1 results lie on a grid
and their sums can be counted instead of drawn.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rmas.errors import ConfigError
from rmas.eval.statistics import (
    Floats,
    Results,
    check_binary,
    check_count,
    quantile,
    question_means,
    spread_error,
)

_MOST_SUMS = 100_000  # distinct sums that are still counted one by one
_FINEST = 2**32  # grid of scores that are no simple fractions
_BATCH = 1000  # sign patterns drawn at once


class Pairs(NamedTuple):
    """The results of two runs, question by question."""

    first: Results
    second: Results


class McNemar(NamedTuple):
    """How many questions only one of the runs has right, and the exact two-sided p."""

    first_alone: int
    second_alone: int
    p: float


class Permutation(NamedTuple):
    """Two-sided p, and whether every sign pattern was counted or only some were drawn."""

    p: float
    is_exact: bool


class Difference(NamedTuple):
    """First less second: mean, clustered standard error (nan for one question) and interval."""

    mean: float
    error: float
    low: float
    high: float
    num_questions: int


def pair(
    first: Mapping[str, Sequence[float]],
    second: Mapping[str, Sequence[float]],
    *,
    names: tuple[str, str] = ("the first run", "the second run"),
) -> Pairs:
    """Results by question id -> the two runs in the first's order. ConfigError where an id is in one run alone."""
    lacking = [
        f"{name} lacks {_listed([key for key in other if key not in run])}"
        for name, run, other in zip(names, (first, second), (second, first), strict=True)
        if other.keys() - run.keys()
    ]
    if lacking:
        raise ConfigError(f"unequal questions: {' and '.join(lacking)}. Compare finished runs of the same questions.")
    return Pairs(list(first.values()), [second[key] for key in first])


def mcnemar(first_alone: int, second_alone: int) -> float:
    """Exact two-sided McNemar test: the chance of a split at least this uneven among the pairs that differ.

    min(1, 2 P(X ≤ min(b, c))), X binomial(b + c, 1/2) (McNemar 1947, Psychometrika 12, 153–157; exact form).
    """
    total, least = first_alone + second_alone, min(first_alone, second_alone)
    tail: int = sum(math.comb(total, k) for k in range(least + 1))
    return float(min(1.0, 2 * tail / 2**total))


def mcnemar_test(pairs: Pairs) -> McNemar:
    """The exact McNemar test of two runs. ConfigError unless each question has one 0/1 sample in both."""
    for results in pairs:
        check_binary(results)
        for number, samples in enumerate(results, start=1):
            if len(samples) != 1:
                raise ConfigError(
                    f"question {number}: {len(samples)} samples, McNemar's test takes one. Use the permutation test."
                )
    differences = differences_of(pairs)
    first, second = int((differences > 0).sum()), int((differences < 0).sum())
    return McNemar(first, second, mcnemar(first, second))


def permutation_test(
    pairs: Pairs, *, generator: np.random.Generator, num_resamples: int = 100_000, most_sums: int = _MOST_SUMS
) -> Permutation:
    """Two-sided p of the mean difference when each question's sign is tossed (Fisher 1935; Good 2005, ch. 3).

    Exact, P(|Σ ±d_q| ≥ |Σ d_q|), as long as the signs make at most `most_sums` different sums: always for up to 16
    questions that differ, and for 0/1 results nearly always. Else that share among `num_resamples` drawn sign patterns,
    with the observed one counted, (hits + 1) / (num_resamples + 1) (Phipson and Smyth 2010, arXiv:1603.05766).
    """
    check_count("num_resamples", num_resamples)
    steps, slack = _on_grid(pairs)
    observed = abs(int(steps.sum())) - slack
    counted = _signed_sums(steps, most_sums)
    if counted is None:
        return Permutation(_drawn_share(steps, observed, generator, num_resamples), False)
    sums, chances = counted
    return Permutation(float(min(1.0, chances[np.abs(sums) >= observed].sum())), True)


def paired_difference(pairs: Pairs, *, level: float = 0.95) -> Difference:
    """Mean difference, its standard error sqrt(Σ (d_q − d)²) / n over n questions, and its interval.

    The interval is Agresti and Min's adjusted Wald (2005, Statistics in Medicine 24, 729–740): half a question is added
    to each of the four outcomes, so Σd², n become Σd² + 1, n + 2. It has a width even where no question differs. With
    up to k samples a question the smallest difference is 1/k instead of 1, and Σd² + 1/k² takes its place.
    """
    differences, z = differences_of(pairs), quantile(level)
    count, step = len(differences) + 2, 1 / most_samples(pairs)
    centre = float(differences.sum()) / count
    reach = z * math.sqrt((float((differences**2).sum() + step**2) / count - centre**2) / count)
    low, high = max(-1.0, centre - reach), min(1.0, centre + reach)
    return Difference(float(differences.mean()), spread_error(differences), low, high, len(differences))


def holm(p_values: Sequence[float]) -> list[float]:
    """p adjusted for their number m, in the order given: the largest of (m + 1 − j) p_(j) up to its rank j, at most 1.

    Holm (1979, Scandinavian Journal of Statistics 6, 65–70).
    """
    for p in p_values:
        if not 0 <= p <= 1:
            raise ConfigError(f"a p-value is {p:g}, expected 0 to 1.")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def comparisons_note(num_comparisons: int, *, alpha: float = 0.05) -> str:
    """One line to stand below a table with that many comparisons; empty for one or none."""
    if num_comparisons < 2:
        return ""
    chance = 1 - (1 - alpha) ** num_comparisons
    return (
        f"{num_comparisons} comparisons: p is Holm-adjusted. Were nothing different, about {chance:.0%} of such tables "
        f"would show an unadjusted p < {alpha:g} somewhere (if independent)."
    )


def differences_of(pairs: Pairs) -> Floats:
    """First less second, question by question. ConfigError where the numbers of questions differ."""
    if len(pairs.first) != len(pairs.second):
        raise ConfigError(f"{len(pairs.first)} questions against {len(pairs.second)}. Pair the runs by question id.")
    return question_means(pairs.first) - question_means(pairs.second)


def most_samples(pairs: Pairs) -> int:
    """The largest number of samples that a question has."""
    return max(len(samples) for results in pairs for samples in results)


def _on_grid(pairs: Pairs) -> tuple[NDArray[np.int64], int]:
    """The differences that are not 0 in whole steps of a common grid, and how many steps rounding may have cost."""
    differences = differences_of(pairs)
    scale = math.lcm(*(len(samples) for results in pairs for samples in results))
    is_whole = all(result in (0, 1) for results in pairs for samples in results for result in samples)
    is_exact = is_whole and scale <= _FINEST
    steps = np.rint(differences * (scale if is_exact else _FINEST)).astype(np.int64)
    steps = steps[steps != 0]
    return steps, 0 if is_exact else len(steps)


def _signed_sums(steps: NDArray[np.int64], most: int) -> tuple[NDArray[np.int64], Floats] | None:
    """Every sum that signs before the steps can make, and its chance; None where there are more than `most`."""
    sums, chances = np.zeros(1, dtype=np.int64), np.ones(1)
    for step in steps:
        sums, places = np.unique(np.concatenate([sums - step, sums + step]), return_inverse=True)
        if len(sums) > most:
            return None
        chances = np.bincount(places, weights=np.tile(chances / 2, 2)).astype(np.float64)
    return sums, chances


def _drawn_share(steps: NDArray[np.int64], observed: int, generator: np.random.Generator, num_resamples: int) -> float:
    hits = 0
    for begin in range(0, num_resamples, _BATCH):
        signs = generator.integers(0, 2, (min(_BATCH, num_resamples - begin), len(steps)), dtype=np.int8) * 2.0 - 1
        hits += int((np.abs(signs @ steps) >= observed).sum())
    return (hits + 1) / (num_resamples + 1)


def _listed(keys: Sequence[str]) -> str:
    """Up to three of the ids, and how many there are."""
    shown = ", ".join(keys[:3])
    return f"{shown} and {len(keys) - 3} more" if len(keys) > 3 else shown
