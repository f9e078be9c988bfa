"""What one run's results say, and how surely: mean, standard error, intervals, pass@k. numpy only.

Results are, question by question, the 0/1 results of its samples: `[[1], [0], [1]]`, or `[[1, 0], [1, 1]]` with two
samples a question. The surprising thing: every question counts the same, however many samples it has, and questions,
never samples, are what errors are taken over. Samples of one question are alike, so treating them as independent would
make errors too small (Miller 2024, arXiv:2411.00640). Scores between 0 and 1 (F1) are welcome as well.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rmas.errors import ConfigError

Results = Sequence[Sequence[float]]
Floats = NDArray[np.float64]
_BATCH = 1000  # resamples drawn at once


class Interval(NamedTuple):
    low: float
    high: float


class Estimate(NamedTuple):
    """A share, its standard error (nan for one question: no spread to see) and its interval."""

    mean: float
    error: float
    low: float
    high: float
    num_questions: int
    num_samples: int


def estimate(results: Results, *, level: float = 0.95) -> Estimate:
    """Mean over questions, clustered standard error, and the Wilson interval of the effective sample size.

    The interval is Wilson's own for one 0/1 sample a question; with more, n is replaced by p(1 − p) / SE² (Franco,
    Little, Louis and Slud 2019, Journal of Survey Statistics and Methodology 7, 334–364). It stays honest where all
    are right and SE is 0. ConfigError: no question, a question without samples, a result outside 0 to 1.
    """
    return _estimate(question_means(results), sum(map(len, results)), level)


def standard_error(results: Results) -> float:
    """Cluster-robust standard error of the mean over G questions: sqrt(Σ_q (m_q − m)²) / G, m_q a question's mean.

    Divides by G, not G − 1: with one 0/1 sample a question it is the binomial sqrt(p(1 − p) / G), and with equally many
    samples a question the uncorrected cluster-robust (CR0) error of the overall mean (Liang and Zeger 1986,
    Biometrika 73, 13–22; Miller 2024, arXiv:2411.00640). nan for one question.
    """
    return spread_error(question_means(results))


def wilson(right: float, total: float, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of `right` in `total` independent 0/1 results (Wilson 1927, JASA 22, 209–212).

    (p + z²/2n ± z sqrt(p(1 − p)/n + z²/4n²)) / (1 + z²/n)
    """
    if not (total > 0 and 0 <= right <= total):
        raise ConfigError(f"{right:g} right of {total:g}: no share. Expected at least one result and no more right.")
    p, z = right / total, quantile(level)
    centre = p + z**2 / (2 * total)
    reach = z * math.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    low, high = (centre - reach) / (1 + z**2 / total), (centre + reach) / (1 + z**2 / total)
    return Interval(0.0 if right == 0 else low, 1.0 if right == total else high)


def bootstrap(
    results: Results, *, generator: np.random.Generator, num_resamples: int = 10_000, level: float = 0.95
) -> Interval:
    """Percentile interval of the mean: whole questions drawn with replacement (Efron and Tibshirani 1993, ch. 13).

    The generator advances. Where all results are equal the interval has no width; `estimate` has one that does.
    """
    means = question_means(results)
    check_count("num_resamples", num_resamples)
    tail = _tail(level)
    drawn = [
        means[generator.integers(0, len(means), (min(_BATCH, num_resamples - begin), len(means)))].mean(axis=1)
        for begin in range(0, num_resamples, _BATCH)
    ]
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Interval(float(low), float(high))


def pass_at_k(results: Results, k: int, *, level: float = 0.95) -> Estimate:
    """The chance that one of k samples is right, without bias: per question 1 − C(n − c, k) / C(n, k), then the mean.

    n samples, c of them right (Chen et al. 2021, arXiv:2107.03374, eq. 1). Errors are taken over questions. ConfigError
    where a question has fewer than k samples or a result is neither 0 nor 1.
    """
    check_count("k", k)
    check_binary(results)
    short = [number for number, samples in enumerate(results, start=1) if len(samples) < k]
    if short:
        have = len(results[short[0] - 1])
        raise ConfigError(f"question {short[0]}: {have} samples, pass@{k} needs {k}. Draw more samples or lower k.")
    shares = [pass_chance(len(samples), round(sum(samples)), k) for samples in results]
    return _estimate(np.array(shares), sum(map(len, results)), level)


def pass_chance(num_samples: int, num_right: int, k: int) -> float:
    """1 − C(n − c, k) / C(n, k), in whole numbers up to the last division."""
    return 1 - math.comb(num_samples - num_right, k) / math.comb(num_samples, k)


def effective_number(means: Floats, num_samples: int) -> float:
    """How many independent 0/1 results tell as much as these: p(1 − p) / SE², at most the number of samples.

    The number of questions where the results show no spread, which is the least it can be.
    """
    p, error = float(means.mean()), spread_error(means)
    return min(p * (1 - p) / error**2, float(num_samples)) if error > 0 else float(len(means))


def question_means(results: Results) -> Floats:
    """Each question's mean result. ConfigError: none, a question without samples, a result outside 0 to 1."""
    if not results:
        raise ConfigError("no results: expected at least one question. Check the run and its limit.")
    for number, samples in enumerate(results, start=1):
        if not samples:
            raise ConfigError(f"question {number} has no samples. Finish the run or leave the question out.")
        for result in samples:
            if not 0 <= result <= 1:
                raise ConfigError(f"question {number}: a result is {result:g}, expected 0 (wrong) to 1 (right).")
    return np.array([sum(samples) / len(samples) for samples in results], dtype=np.float64)


def spread_error(values: Floats) -> float:
    """Standard error of the mean of independent values, sqrt(Σ (v − m)²) / n; nan for one."""
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan


def quantile(level: float) -> float:
    """z with `level` of the normal distribution between −z and z."""
    return NormalDist().inv_cdf(1 - _tail(level))


def check_binary(results: Results) -> None:
    question_means(results)
    for number, samples in enumerate(results, start=1):
        for result in samples:
            if result not in (0, 1):
                raise ConfigError(f"question {number}: a result is {result:g}, expected 0 or 1. Give verdicts.")


def check_count(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{name} is {value}, expected at least 1.")


def _estimate(values: Floats, num_samples: int, level: float) -> Estimate:
    mean, number = float(values.mean()), effective_number(values, num_samples)
    interval = wilson(mean * number, number, level=level)
    return Estimate(mean, spread_error(values), *interval, len(values), num_samples)


def _tail(level: float) -> float:
    if not 0 < level < 1:
        raise ConfigError(f"level is {level:g}, expected a share between 0 and 1, such as 0.95.")
    return (1 - level) / 2
