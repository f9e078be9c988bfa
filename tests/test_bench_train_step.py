"""The benchmark of one outer step: all its ways compute one objective, and what it counts is what is kept."""

from pathlib import Path
from typing import Any

import benchmarks.train_step.run as bench
import pytest
import torch
from benchmarks.measure import load_config
from torch import Tensor

from rmas.prompt import Question
from rmas.train.data import Example
from rmas.train.objective import Stage
from zoo import assert_close, tiny_system

STAGE = Stage(rounds=2, latent_steps=2)
SYSTEM = """pattern = "deliberation"
prompts = "terse"
inner = "linear"
outer = "linear"
start = "identity"
[roles.reflector]
backbone = "tiny:llama"
[roles.toolcaller]
backbone = "tiny:gemma3_text"
"""
EXAMPLES = [
    Example(question=Question(text="How many legs have 3 spiders?"), answer="24"),
    Example(question=Question(text="Why?"), answer="Because."),
]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the benchmark reports of a small system of random models."""
    path = tmp_path_factory.mktemp("bench") / "small.toml"
    path.write_text(SYSTEM, encoding="utf-8")
    settings = load_config(str(Path(bench.__file__))) | {"system": str(path), "batch": 2, "prompt_tokens": 20}
    short = {"latent_steps": 2, "repeats": 1, "memory_rounds": [2], "alone_rounds": 2, "alone_latent_steps": 3}
    return bench.measure(settings | short)


def test_both_ways_leave_the_same_gradients(figures: dict[str, Any]) -> None:
    assert 0 < figures["gradient_difference"]["largest"] < 1e-4
    assert len(figures["gradient_difference"]["by_tensor"]) == 2 * 2  # links, and what one is made of
    assert figures["checkpoints_change_nothing"]


def test_ours_keeps_less_than_any_other_way(figures: dict[str, Any]) -> None:
    row = figures["memory"]["2"]
    assert row["ours_bytes"] < row["unchecked_bytes"] < row["whole_bytes"] < row["plain_bytes"]
    assert row["plain_over_ours"] == row["plain_bytes"] / row["ours_bytes"]
    assert row["checkpoints_change_nothing"]


def test_ratios_are_of_the_seconds(figures: dict[str, Any]) -> None:
    assert figures["alone"]["latent_steps"] == 3
    assert figures["ratio"]["median"] == figures["plain_s"]["median"] / figures["ours_s"]["median"]


def test_the_plain_objective_is_that_of_the_trainer_in_float64() -> None:
    system = tiny_system("sequential")
    parameters = dict(system.outer.named_parameters())
    together = bench.gradients_of(parameters, bench.ours(system, EXAMPLES, STAGE))
    for cached in (True, False):
        one_by_one = [bench.plain(system, example, STAGE, cached=cached) for example in EXAMPLES]
        apart = bench.gradients_of(parameters, *one_by_one)
        assert together.keys() == apart.keys() == parameters.keys()
        for name, gradient in together.items():
            assert_close(gradient, apart[name], 1e-6)


def test_a_kept_tensor_counts_once_and_weights_do_not() -> None:
    system = tiny_system("deliberation")
    link = next(iter(system.outer.parameters()))
    x_N = torch.ones(1000, dtype=torch.float64, requires_grad=True)

    def squares() -> Tensor:
        y_N = x_N * 2  # saves nothing that is not x_N
        return (y_N * y_N).sum() + link.sum()  # saves y_N, twice

    assert bench.kept_bytes([system], squares) - 8 * 1000 < 200  # and some scalars
