"""The smallest true difference that a number of questions would show. numpy only.

Said beside a difference that was not found, so that "no difference" is not read out of a sample that could not have
shown one.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

from rmas.errors import ConfigError
from rmas.eval.paired import Pairs, differences_of, most_samples
from rmas.eval.statistics import Results, effective_number, quantile, question_means


def smallest_paired(pairs: Pairs, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true difference that a paired test of these questions would find with `power`. nan: none.

    Connor (1987, Biometrics 43, 207–211), solved for δ: δ sqrt(n) = z_α/2 sqrt(ψ) + z_β sqrt(ψ − δ²). ψ is the observed
    discordance, the share of questions that differ; with repeated samples the mean of d². As a difference of δ takes
    discordance, ψ is never below δ / k, k the most samples a question.
    """
    differences = differences_of(pairs)
    n, k, psi = len(differences), most_samples(pairs), float((differences**2).mean())
    z_a, z_b = quantile(1 - alpha), _power_quantile(power)
    if n < z_a**2:
        return math.nan
    delta = (z_a * math.sqrt(n * psi) + z_b * math.sqrt(psi * (n + z_b**2 - z_a**2))) / (n + z_b**2)
    if delta <= k * psi and psi > 0:
        return delta
    # ψ = δ / k: n kδ = (z_α/2 + z_β u)² with u² = 1 − kδ
    u = (math.sqrt((z_a * z_b) ** 2 + (n + z_b**2) * (n - z_a**2)) - z_a * z_b) / (n + z_b**2)
    return (1 - u**2) / k


def smallest_unpaired(results: Results, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true difference from this accuracy that a second run, on other questions, would show. nan: none.

    Fleiss (1981, Statistical Methods for Rates and Proportions, ch. 3), solved for δ = |p₂ − p₁|, p₂ towards one
    half (the larger of the two): δ sqrt(n) = z_α/2 sqrt(2 p̄(1 − p̄)) + z_β sqrt(p₁(1 − p₁) + p₂(1 − p₂)), p̄ between
    the two; n each run's number of independent results (`effective_number`).
    """
    means = question_means(results)
    p, n = float(means.mean()), effective_number(means, sum(map(len, results)))
    p = min(p, 1 - p)
    z_a, z_b = quantile(1 - alpha), _power_quantile(power)

    def lacks(delta: float) -> bool:
        other, middle = p + delta, p + delta / 2
        spread = z_b * math.sqrt(p * (1 - p) + other * (1 - other)) + z_a * math.sqrt(2 * middle * (1 - middle))
        return delta * math.sqrt(n) < spread

    low, high = 0.0, 1 - p
    if lacks(high):
        return math.nan
    for _ in range(60):
        low, high = ((low + high) / 2, high) if lacks((low + high) / 2) else (low, (low + high) / 2)
    return high


def smallest_note(smallest: Sequence[float | None], against: str, *, power: float = 0.8) -> str:
    """One line to stand below a table: from where on a difference would be seen. None or nan: nowhere."""
    points = sorted(100 * value for value in smallest if value is not None and not math.isnan(value))
    if not points:
        return f"Against {against} these questions are too few to show any difference with {power:.0%} power."
    ends = " to ".join(dict.fromkeys(f"{value:.1f}" for value in (points[0], points[-1])))
    return (
        f"Against {against} differences of {ends} points would be seen with {power:.0%} power, smaller ones less often."
    )


def _power_quantile(power: float) -> float:
    if not 0.5 <= power < 1:
        raise ConfigError(f"power is {power:g}, expected at least 0.5 and below 1, such as 0.8.")
    return NormalDist().inv_cdf(power)
