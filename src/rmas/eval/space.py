"""Where answers lie among gold answers in an embedding space: the paper's Figure 7, with a distance. numpy only.

The paper embeds decoded texts, so words and form are what is seen, never latent states. The surprising thing: clouds
that look alike may still differ, and one that lies right may answer wrongly. So each has a distance to the gold
answers beside what chance gives, and its answers' cosine to their own gold beside that to other questions' gold.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rmas.errors import ConfigError
from rmas.eval.statistics import check_count

Vectors = NDArray[np.float64]  # (N, D), a row a text; N2: on two axes
GOLD = "gold, half and half"


class Cloud(NamedTuple):
    """A run's answers among gold answers.

    `distance`: energy coefficient, 0 (the same distribution) to 1. `chance`: below it in 95 % of swaps of answers with
    their gold; `p`: the share of swaps at least as far. `own`, `other`: mean cosine to the same question's gold
    answer and to another's.
    """

    name: str
    distance: float
    chance: float
    p: float
    own: float
    other: float
    answers_N2: Vectors
    gold_N2: Vectors


def clouds(gold_ND: Vectors, runs: Mapping[str, Vectors], *, seed: int = 0, num_resamples: int = 999) -> list[Cloud]:
    """One half of the gold answers among the other, as the control, and then each run among all of them.

    Row i of every run answers the question of gold row i. Axes are the first two principal ones of the gold answers.
    Raises ConfigError for fewer than 8 questions or another number of rows.
    """
    check_count("num_resamples", num_resamples)
    number = len(gold_ND)
    if number < 8:
        raise ConfigError(f"latent space: {number} answers, expected 8 or more. Report runs of more questions.")
    for name, rows_ND in runs.items():
        if rows_ND.shape != gold_ND.shape:
            raise ConfigError(f"latent space: {name} has {rows_ND.shape}, the gold answers {gold_ND.shape}.")
    generator = np.random.default_rng(seed)
    order = generator.permutation(number)[: number // 2 * 2]
    halves = gold_ND[order[::2]], gold_ND[order[1::2]]
    axes = _axes(gold_ND)
    return [
        _cloud(name, first, second, axes, generator, num_resamples)
        for name, (first, second) in {GOLD: halves, **{name: (rows, gold_ND) for name, rows in runs.items()}}.items()
    ]


def energy_coefficient(x_ND: Vectors, y_ND: Vectors) -> float:
    """(2 E|X − Y| − E|X − X'| − E|Y − Y'|) / 2 E|X − Y|, for equally many rows (Székely and Rizzo 2013, JSPI 143)."""
    number = len(x_ND)
    signs = np.concatenate([np.ones(number), -np.ones(number)])
    return float(_coefficients(_distances(np.concatenate([x_ND, y_ND])), signs[None])[0])


def _cloud(
    name: str,
    answers_ND: Vectors,
    gold_ND: Vectors,
    axes: tuple[Vectors, Vectors],
    generator: np.random.Generator,
    num_resamples: int,
) -> Cloud:
    distances = _distances(np.concatenate([answers_ND, gold_ND]))
    swaps = np.ones((num_resamples + 1, len(gold_ND)))
    swaps[1:] = generator.choice([-1.0, 1.0], size=(num_resamples, len(gold_ND)))
    found = _coefficients(distances, np.concatenate([swaps, -swaps], axis=1))
    p = float((found >= found[0] * (1 - 1e-9)).mean())  # the observed one counts
    cosines = _unit(answers_ND) @ _unit(gold_ND).T
    own = float(np.diag(cosines).mean())
    other = float((cosines.sum() - np.trace(cosines)) / (cosines.size - len(cosines)))
    centre_D, axes_D2 = axes
    return Cloud(
        name,
        float(found[0]),
        float(np.quantile(found[1:], 0.95)),
        p,
        own,
        other,
        (answers_ND - centre_D) @ axes_D2,
        (gold_ND - centre_D) @ axes_D2,
    )


def _coefficients(distances: Vectors, signs: Vectors) -> Vectors:
    """One a row of signs, 1 for the first sample and -1 for the second, as many of each."""
    total = distances.sum()
    apart = -np.einsum("sn,sn->s", signs @ distances, signs)  # 2 Σ|x − y| − Σ|x − x'| − Σ|y − y'|
    across = (total + apart) / 2  # 2 Σ|x − y|
    found: Vectors = np.divide(apart, across, out=np.zeros_like(apart), where=across > 0)
    return found


def _distances(rows_ND: Vectors) -> Vectors:
    squares = np.einsum("nd,nd->n", rows_ND, rows_ND)
    found: Vectors = np.sqrt(np.maximum(squares[:, None] + squares - 2 * rows_ND @ rows_ND.T, 0))
    np.fill_diagonal(found, 0)
    return found


def _axes(rows_ND: Vectors) -> tuple[Vectors, Vectors]:
    """The centre (D) and the first two principal axes (D, 2), their signs settled."""
    centre_D = rows_ND.mean(axis=0)
    axes_2D = np.linalg.svd(rows_ND - centre_D, full_matrices=False)[2][:2]
    signs = np.sign(axes_2D[np.arange(2), np.abs(axes_2D).argmax(axis=1)])
    return centre_D, (axes_2D * signs[:, None]).T


def _unit(rows_ND: Vectors) -> Vectors:
    lengths = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    found: Vectors = np.divide(rows_ND, lengths, out=np.zeros_like(rows_ND), where=lengths > 0)
    return found
