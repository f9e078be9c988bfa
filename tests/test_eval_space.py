"""Answers among gold answers: the distance is zero for the same, large for others, and its chance level is fair."""

from itertools import product

import numpy as np
import pytest
from numpy.linalg import norm

from rmas.errors import ConfigError
from rmas.eval.space import GOLD, Vectors, clouds, energy_coefficient


def drawn(number: int, width: int, *, seed: int, shift: float = 0.0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(number, width)) + shift


def mean_distance(x_ND: Vectors, y_ND: Vectors) -> float:
    return float(np.mean([norm(x - y) for x, y in product(x_ND, y_ND)]))


def test_the_coefficient_is_that_of_its_definition() -> None:
    x_ND, y_ND = drawn(9, 4, seed=0), drawn(9, 4, seed=1, shift=0.5)
    across = 2 * mean_distance(x_ND, y_ND)
    expected = (across - mean_distance(x_ND, x_ND) - mean_distance(y_ND, y_ND)) / across
    assert energy_coefficient(x_ND, y_ND) == pytest.approx(expected, rel=1e-12)


def test_the_same_answers_are_at_distance_zero_and_others_are_not() -> None:
    gold_ND = drawn(60, 5, seed=2)
    control, same, near, far = clouds(
        gold_ND,
        {"same": gold_ND, "near": gold_ND + drawn(60, 5, seed=3) * 0.1, "far": gold_ND + 3},
    )
    assert control.name == GOLD
    assert len(control.gold_N2) == 30
    assert control.p > 0.05
    assert same.distance == pytest.approx(0, abs=1e-8)
    assert same.own == pytest.approx(1)
    assert near.distance < 0.02 < 0.3 < far.distance <= 1
    assert far.p == pytest.approx(1 / 1000)
    assert far.distance > far.chance


def test_answers_of_other_questions_lie_well_and_are_not_their_own() -> None:
    """What a bare scatter cannot show: the right cloud with the wrong answers."""
    gold_ND = drawn(80, 6, seed=4)
    _, own, others = clouds(gold_ND, {"own": gold_ND * 1.001, "others": np.roll(gold_ND, 1, axis=0)})
    assert others.distance == pytest.approx(0, abs=1e-8)
    assert own.own > 0.99
    assert abs(others.own - others.other) < 0.2


def test_p_is_evenly_spread_where_nothing_differs() -> None:
    found = [
        clouds(drawn(24, 3, seed=seed), {"run": drawn(24, 3, seed=1000 + seed)}, num_resamples=99)[1].p
        for seed in range(200)
    ]
    assert 0.02 < np.mean(np.array(found) <= 0.1) < 0.2
    assert 0.4 < np.mean(found) < 0.6


def test_axes_are_the_principal_ones_of_the_gold_answers() -> None:
    gold_ND = drawn(50, 3, seed=6) * [0.1, 10, 1]
    (_, run) = clouds(gold_ND, {"run": gold_ND})
    centred = gold_ND - gold_ND.mean(axis=0)
    assert abs(np.corrcoef(run.gold_N2[:, 0], centred[:, 1])[0, 1]) > 0.999
    assert np.allclose(run.answers_N2, run.gold_N2)


def test_a_picture_needs_enough_answers_and_as_many_as_questions() -> None:
    with pytest.raises(ConfigError, match=r"latent space: 3 answers, expected 8 or more"):
        clouds(drawn(3, 2, seed=0), {})
    with pytest.raises(ConfigError, match=r"run has \(9, 2\), the gold answers \(8, 2\)"):
        clouds(drawn(8, 2, seed=0), {"run": drawn(9, 2, seed=0)})
