"""Errors, intervals, pass@k, paired tests: against scipy, statsmodels and plain counting. Cases come from seeds."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats
from statsmodels.api import WLS
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import power_proportions_2indep, proportion_confint

from rmas.errors import ConfigError
from rmas.eval.paired import (
    Pairs,
    comparisons_note,
    holm,
    mcnemar,
    mcnemar_test,
    pair,
    paired_difference,
    permutation_test,
)
from rmas.eval.power import smallest_paired, smallest_unpaired
from rmas.eval.statistics import bootstrap, estimate, pass_at_k, pass_chance, standard_error, wilson

SEEDS = range(5)


def runs(seed: int, num_questions: int, num_samples: Sequence[int] = (1,)) -> Pairs:
    """Two runs of 0/1 results; the second is a little better. Question i has num_samples[i modulo their number]."""
    generator = np.random.default_rng(seed)
    chances = generator.random(num_questions)
    counts = [num_samples[i % len(num_samples)] for i in range(num_questions)]

    def drawn(bonus: float) -> list[list[int]]:
        rows = zip(chances, counts, strict=True)
        return [[int(x < p + bonus) for x in generator.random(n)] for p, n in rows]

    return Pairs(drawn(0.0), drawn(0.1))


def scores(seed: int, num_questions: int) -> Pairs:
    """Two runs of scores between 0 and 1, one a question."""
    generator = np.random.default_rng(seed)
    return Pairs(generator.random((num_questions, 1)).tolist(), (generator.random((num_questions, 1)) ** 2).tolist())


def split(both: int, first: int, second: int, neither: int) -> Pairs:
    """Single results with the four outcomes so often."""
    outcomes = [(1, 1)] * both + [(1, 0)] * first + [(0, 1)] * second + [(0, 0)] * neither
    return Pairs([[a] for a, _ in outcomes], [[b] for _, b in outcomes])


@pytest.mark.parametrize("seed", SEEDS)
def test_standard_error_of_single_samples_is_the_binomial(seed: int) -> None:
    results = runs(seed, 40).first
    p = sum(map(sum, results)) / 40
    assert standard_error(results) == pytest.approx(math.sqrt(p * (1 - p) / 40))
    assert estimate(results).mean == pytest.approx(p)


@pytest.mark.parametrize("num_samples", [(1,), (4,), (1, 2, 5)])
@pytest.mark.parametrize("seed", SEEDS)
def test_standard_error_is_the_cluster_robust_one(seed: int, num_samples: Sequence[int]) -> None:
    results = runs(seed, 30, num_samples).first
    flat = [result for samples in results for result in samples]
    groups = [number for number, samples in enumerate(results) for _ in samples]
    weights = [1 / len(samples) for samples in results for _ in samples]
    model = WLS(flat, np.ones(len(flat)), weights=weights)
    options = {"groups": np.array(groups), "use_correction": False}
    theirs = model.fit(cov_type="cluster", cov_kwds=options)
    assert estimate(results).mean == pytest.approx(theirs.params[0])
    assert standard_error(results) == pytest.approx(theirs.bse[0])


def test_repeating_a_sample_adds_no_certainty() -> None:
    results = runs(0, 40).first
    assert standard_error([[*samples] * 8 for samples in results]) == pytest.approx(standard_error(results))


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 1), (0, 30), (30, 30), (7, 30), (1, 1319), (660, 1319)])
def test_wilson_interval_is_that_of_statsmodels(right: int, total: int, level: float) -> None:
    theirs = proportion_confint(right, total, alpha=1 - level, method="wilson")
    assert wilson(right, total, level=level) == pytest.approx(theirs)
    single = estimate([[1]] * right + [[0]] * (total - right), level=level)
    assert single[2:4] == pytest.approx(theirs)


@pytest.mark.parametrize("right", [0, 1])
def test_equal_results_have_no_error_but_an_interval_of_the_number_of_questions(right: int) -> None:
    found = estimate([[right] * 8] * 20)
    assert (found.mean, found.error, found.num_questions, found.num_samples) == (right, 0, 20, 160)
    assert found[2:4] == pytest.approx(wilson(20 * right, 20))


def test_one_question_has_no_error_and_a_wide_interval() -> None:
    found = estimate([[1, 0, 1, 1]])
    assert (found.mean, found.num_questions, found.num_samples) == (0.75, 1, 4)
    assert math.isnan(found.error)
    assert found.low < 0.2
    assert found.high > 0.95


def test_interval_of_repeated_samples_is_near_the_normal_one() -> None:
    found = estimate(runs(0, 400, (4,)).first)
    assert found.low == pytest.approx(found.mean - 1.96 * found.error, abs=0.002)
    assert found.high == pytest.approx(found.mean + 1.96 * found.error, abs=0.002)


@pytest.mark.parametrize("num_samples", [(1,), (3,), (1, 2, 5)])
def test_bootstrap_interval_is_that_of_scipy(num_samples: Sequence[int]) -> None:
    results = runs(1, 60, num_samples).first
    ours = bootstrap(results, generator=np.random.default_rng(7), num_resamples=2500, level=0.9)
    means = [sum(samples) / len(samples) for samples in results]
    theirs = stats.bootstrap(
        (means,),
        np.mean,
        n_resamples=2500,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(7),
        batch=1000,
    )
    assert ours == pytest.approx(tuple(theirs.confidence_interval))


def test_bootstrap_repeats_with_its_seed() -> None:
    results = runs(1, 60).first
    first, again, other = (
        bootstrap(results, generator=np.random.default_rng(seed), num_resamples=50) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(n: int) -> None:
    for right in range(n + 1):
        samples = [1] * right + [0] * (n - right)
        for k in range(1, n + 1):
            subsets = list(combinations(samples, k))
            assert pass_chance(n, right, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_is_a_mean_over_questions_with_their_error() -> None:
    results = runs(2, 25, (6, 8)).first
    shares = [pass_chance(len(samples), sum(map(int, samples)), 4) for samples in results]
    found = pass_at_k(results, 4)
    assert found.mean == pytest.approx(np.mean(shares))
    assert found.error == pytest.approx(stats.sem(shares, ddof=0))
    assert found.low < found.mean < found.high


def test_pass_at_one_is_the_mean() -> None:
    results = runs(2, 25, (6, 8)).first
    assert pass_at_k(results, 1) == pytest.approx(estimate(results))


def test_pass_at_k_of_many_samples_does_not_overflow() -> None:
    assert pass_chance(20_000, 1, 100) == pytest.approx(100 / 20_000)


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (0, 6), (3, 3), (2, 9), (40, 61), (700, 600)])
def test_mcnemar_is_that_of_statsmodels_and_the_binomial_test_of_scipy(counts: tuple[int, int]) -> None:
    first, second = counts
    assert mcnemar(first, second) == pytest.approx(their_mcnemar([[5, first], [second, 5]], exact=True).pvalue)
    if first + second:
        assert mcnemar(first, second) == pytest.approx(stats.binomtest(first, first + second).pvalue)


def test_mcnemar_counts_the_questions_that_one_run_alone_has_right() -> None:
    assert mcnemar_test(split(10, 2, 9, 4)) == (2, 9, mcnemar(2, 9))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_samples", [(1,), (4,), (1, 2, 3), ()])
def test_permutation_test_is_the_full_enumeration_and_that_of_scipy(seed: int, num_samples: Sequence[int]) -> None:
    pairs = runs(seed, 9, num_samples) if num_samples else scores(seed, 9)
    found = permutation_test(pairs, generator=np.random.default_rng(0))
    first, second = ([sum(samples) / len(samples) for samples in results] for results in pairs)
    differences = np.subtract(first, second)
    signs = np.array(list(product((-1, 1), repeat=9)))
    sums, observed = np.abs(signs @ differences), abs(differences.sum())
    assert found.is_exact
    assert found.p == pytest.approx((sums >= observed - 1e-9).mean())
    theirs = stats.permutation_test(
        (first, second), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples", vectorized=True
    )
    assert found.p == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("seed", SEEDS)
def test_permutation_test_of_single_samples_is_mcnemar(seed: int) -> None:
    pairs = runs(seed, 300)
    found = permutation_test(pairs, generator=np.random.default_rng(0))
    assert found.is_exact
    assert found.p == pytest.approx(mcnemar_test(pairs).p)


@pytest.mark.parametrize("pairs", [runs(3, 200, (5,)), scores(3, 200)], ids=["counts", "scores"])
def test_drawn_sign_patterns_come_near_the_exact_p(pairs: Pairs) -> None:
    if all(len(samples) > 1 for samples in pairs.first):
        truth = permutation_test(pairs, generator=np.random.default_rng(0)).p
    else:
        d = np.subtract(pairs.first, pairs.second)
        truth = 2 * stats.norm.sf(abs(d.sum()) / math.sqrt((d**2).sum()))
    found = permutation_test(pairs, generator=np.random.default_rng(0), num_resamples=20_000, most_sums=100)
    assert not found.is_exact
    assert found.p == pytest.approx(truth, abs=0.005)


def test_drawn_p_is_never_zero() -> None:
    found = permutation_test(split(0, 60, 0, 0), generator=np.random.default_rng(0), num_resamples=99, most_sums=10)
    assert found == (0.01, False)


@pytest.mark.parametrize("pairs", [split(5, 0, 0, 5), split(3, 4, 4, 2)], ids=["equal runs", "a tie"])
def test_runs_that_tie_have_p_of_one(pairs: Pairs) -> None:
    assert permutation_test(pairs, generator=np.random.default_rng(0)) == (1.0, True)
    assert mcnemar_test(pairs).p == 1.0


@pytest.mark.parametrize("num_samples", [(1,), (4,), (1, 2, 5)])
def test_paired_difference_has_the_error_of_the_per_question_differences(num_samples: Sequence[int]) -> None:
    pairs = runs(4, 80, num_samples)
    first, second = ([sum(samples) / len(samples) for samples in results] for results in pairs)
    differences = np.subtract(first, second)
    found = paired_difference(pairs)
    assert found.mean == pytest.approx(differences.mean())
    assert found.error == pytest.approx(stats.sem(differences, ddof=0))
    assert found.low < found.mean < found.high


def test_interval_of_the_difference_adds_half_a_question_to_each_outcome() -> None:
    both, first, second, neither = 20, 9, 3, 8
    a, b, c, d = (count + 0.5 for count in (both, first, second, neither))
    total = a + b + c + d
    centre, reach = (b - c) / total, 1.959964 * math.sqrt(b + c - (b - c) ** 2 / total) / total
    found = paired_difference(split(both, first, second, neither))
    assert found[2:4] == pytest.approx((centre - reach, centre + reach))


def test_runs_that_nowhere_differ_leave_room_for_a_difference() -> None:
    found = paired_difference(split(15, 0, 0, 15))
    assert (found.mean, found.error, found.num_questions) == (0, 0, 30)
    assert found.low == pytest.approx(-found.high)
    assert found.high == pytest.approx(1.96 / 32, abs=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_holm_is_that_of_statsmodels(seed: int) -> None:
    generator = np.random.default_rng(seed)
    p_values = (generator.random(7) ** 3).round(2).tolist()
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@pytest.mark.parametrize("p_values", [[], [0.03], [0.5, 0.5, 0.5], [1.0, 0.0]])
def test_holm_of_none_one_and_ties(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="holm")[1] if p_values else []
    assert holm(p_values) == pytest.approx(expected)


def test_the_note_on_comparisons_counts_them_and_is_silent_for_one() -> None:
    assert comparisons_note(0) == comparisons_note(1) == ""
    assert comparisons_note(5).startswith("5 comparisons: p is Holm-adjusted.")
    assert "about 23%" in comparisons_note(5)
    assert "\n" not in comparisons_note(5)


@pytest.mark.parametrize(("n", "differ"), [(60, 12), (200, 40), (1000, 300), (1000, 1000)])
def test_smallest_paired_difference_solves_connors_formula(n: int, differ: int) -> None:
    delta, psi = smallest_paired(split(n - differ, differ // 2, differ - differ // 2, 0)), differ / n
    z_a, z_b = stats.norm.isf(0.025), stats.norm.isf(0.2)
    assert ((z_a * math.sqrt(psi) + z_b * math.sqrt(psi - delta**2)) / delta) ** 2 == pytest.approx(n)
    assert delta <= psi


def test_a_true_difference_of_that_size_is_found_four_times_in_five() -> None:
    n, psi = 400, 0.25
    delta = smallest_paired(split(300, 50, 50, 0))
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(n, [(psi + delta) / 2, (psi - delta) / 2, 1 - psi], 2000)
    found = np.abs(drawn[:, 0] - drawn[:, 1]) / np.sqrt(drawn[:, 0] + drawn[:, 1]) >= 1.96
    assert found.mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("n", [10, 100, 1000])
def test_runs_that_nowhere_differ_still_have_a_smallest_difference(n: int) -> None:
    delta = smallest_paired(split(n, 0, 0, 0))
    z_a, z_b = stats.norm.isf(0.025), stats.norm.isf(0.2)
    assert n * delta == pytest.approx((z_a + z_b * math.sqrt(1 - delta)) ** 2)
    four = Pairs([[1] * 4] * n, [[1] * 4] * n)
    assert smallest_paired(four) == pytest.approx(delta / 4)


def test_repeated_samples_and_more_questions_show_smaller_differences() -> None:
    single, repeated, more = (smallest_paired(runs(5, n, (k,))) for n, k in ((100, 1), (100, 8), (900, 1)))
    assert repeated < single
    assert more == pytest.approx(single / 3, rel=0.2)


@pytest.mark.parametrize(("right", "total"), [(0, 50), (50, 50), (20, 50), (900, 1000), (660, 1319)])
def test_smallest_unpaired_difference_has_the_power_that_statsmodels_gives_it(right: int, total: int) -> None:
    delta = smallest_unpaired([[1]] * right + [[0]] * (total - right))
    least = min(right, total - right) / total
    theirs = power_proportions_2indep(delta, least, total, alternative="larger", alpha=0.025)
    assert theirs.power == pytest.approx(0.8, abs=1e-3)


def test_an_unpaired_comparison_of_the_same_questions_shows_less() -> None:
    pairs = runs(6, 200)
    assert smallest_paired(pairs) < smallest_unpaired(pairs.first)


def test_a_handful_of_questions_can_show_no_difference() -> None:
    assert math.isnan(smallest_paired(split(3, 0, 0, 0)))
    assert math.isnan(smallest_unpaired([[1]]))
    assert 0.5 < smallest_paired(split(8, 0, 0, 0)) < 1


def test_runs_are_paired_by_question_whatever_their_order() -> None:
    assert pair({"a": [1], "b": [0]}, {"b": [1], "a": [0]}) == ([[1], [0]], [[0], [1]])


RNG = np.random.default_rng(0)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no question": (lambda: estimate([]), "no results: expected at least one question"),
    "no sample": (lambda: estimate([[1], []]), "question 2 has no samples"),
    "no share": (lambda: estimate([[1], [2]]), "question 2: a result is 2, expected 0"),
    "not a number": (lambda: estimate([[math.nan]]), "question 1: a result is nan"),
    "level": (lambda: estimate([[1]], level=95), "level is 95, expected a share"),
    "nothing counted": (lambda: wilson(0, 0), "0 right of 0"),
    "resamples": (lambda: bootstrap([[1]], generator=RNG, num_resamples=0), "num_resamples is 0"),
    "too few samples": (lambda: pass_at_k([[1, 0], [1]], 2), "question 2: 1 samples, pass@2 needs 2"),
    "k": (lambda: pass_at_k([[1]], 0), "k is 0, expected at least 1"),
    "pass of a score": (lambda: pass_at_k([[0.5]], 1), "question 1: a result is 0.5, expected 0 or 1"),
    "McNemar of many": (lambda: mcnemar_test(Pairs([[1, 0]], [[1, 0]])), "question 1: 2 samples, McNemar's test takes"),
    "unequal lengths": (lambda: paired_difference(Pairs([[1]], [[1], [0]])), "1 questions against 2"),
    "p": (lambda: holm([0.2, 1.5]), "a p-value is 1.5"),
    "power": (lambda: smallest_paired(split(9, 0, 0, 0), power=80), "power is 80"),
    "one id lacks": (lambda: pair({"a": [1], "b": [1]}, {"a": [1]}), "the second run lacks b."),
    "both lack": (
        lambda: pair({"a": [1], "b": [1]}, {"b": [1], "c": [0]}),
        "unequal questions: the first run lacks c and the second run lacks a. Compare finished runs",
    ),
    "named runs": (lambda: pair({"a": [1]}, {}, names=("text", "single")), "unequal questions: single lacks a."),
    "many ids lack": (lambda: pair({}, {f"q{n}": [1] for n in range(9)}), "the first run lacks q0, q1, q2 and 6 more"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line(name: str) -> None:
    call, line = BAD[name]
    with pytest.raises(ConfigError) as caught:
        call()
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
