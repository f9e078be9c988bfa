"""The diagnosis: gradients by round and drift by latent step, each against an oracle."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rmas.alignment import shared_rows
from rmas.engine import LatentChannel
from rmas.errors import CheckpointError, ConfigError
from rmas.link import Link, SoftToken, fit_affine
from rmas.system import System
from rmas.train.config import OuterConfig
from rmas.train.diagnose import FILE, Change, Drift, Probe, Reach, Tapped, diagnose, probe, summarise
from rmas.train.objective import outer_loss
from rmas.train.surrogate import text_surrogate
from train_zoo import EXAMPLES, gradients, outer_config, own_system, quiet, sums_file
from zoo import assert_close, backbone, noise, snapshot, tiny_system

PAIR = EXAMPLES[:2]


def config(**changes: Any) -> OuterConfig:
    return outer_config(**changes)


def tapped_run(system: System, *, rounds: int, latent_steps: int = 2) -> Tapped:
    """A run with its backward pass done."""
    system.zero_grad()
    edges = {id(system.link(edge)): str(edge) for edge in system.pattern.edges}
    tapped = Tapped(LatentChannel(latent_steps=latent_steps), edges)
    outer_loss(system, PAIR, rounds=rounds, channel=tapped).mean().backward()
    return tapped


@pytest.mark.parametrize("pattern", ["deliberation", "mixture"])
def test_weight_gradients_by_round_sum_to_the_ordinary_gradient(pattern: str) -> None:
    system = tiny_system(pattern, ["llama"])
    outer_loss(system, PAIR, rounds=2, channel=LatentChannel(latent_steps=2)).mean().backward()
    ordinary = {name: g for name, g in gradients(system).items() if name.startswith("outer.")}
    tapped = tapped_run(system, rounds=2)
    for edge in map(str, system.pattern.edges):
        by_round = [[w.grad for w in weights] for _, name, _, weights in tapped.carried if name == edge]
        for place, (name, _) in enumerate(system.outer[edge].named_parameters()):
            parts = [row[place] for row in by_round]
            total = torch.stack([part for part in parts if part is not None]).sum(0)
            assert_close(total, ordinary[f"outer.{edge}.{name}"], 1e-9)
    assert len(ordinary) == sum(len(list(link.parameters())) for link in system.outer.values())


def test_tapping_changes_neither_messages_nor_loss() -> None:
    system = tiny_system("sequential", ["llama", "qwen2"])
    edges = {id(system.link(edge)): str(edge) for edge in system.pattern.edges}
    plain = LatentChannel(latent_steps=2)
    assert torch.equal(
        outer_loss(system, PAIR, rounds=2, channel=plain),
        outer_loss(system, PAIR, rounds=2, channel=Tapped(plain, edges)),
    )


def test_a_probe_measures_the_gradient_by_each_message() -> None:
    """Against a change of the message itself, along its gradient."""
    system = tiny_system("deliberation", ["llama"])
    tapped = tapped_run(system, rounds=1)
    ((_, _, message, _),) = tapped.carried
    assert message.grad is not None
    slope_BMD = message.grad
    norm = float(slope_BMD.norm())
    (reached,) = probe(system, PAIR, config(rounds=1)).reached
    assert (reached.edge, reached.round) == ("reflector->toolcaller", 1)
    assert reached.message == pytest.approx(norm)
    losses = []
    for sign in (1, -1):
        shift = sign * 1e-2 * slope_BMD / norm
        with_shift = Shifted(system.outer["reflector->toolcaller"], shift)
        moved = replace_link(system, with_shift)
        with torch.no_grad():
            losses.append(float(outer_loss(moved, PAIR, rounds=1, channel=LatentChannel(latent_steps=2)).mean()))
    assert (losses[0] - losses[1]) / 2e-2 == pytest.approx(norm, rel=1e-2)  # norms in float32: see zoo


class Shifted(nn.Module):
    def __init__(self, link: nn.Module, shift_BMD: Tensor) -> None:
        super().__init__()
        self.link, self.shift_BMD = link, shift_BMD

    def forward(self, z: Tensor) -> Tensor:
        moved: Tensor = self.link(z) + self.shift_BMD
        return moved


def replace_link(system: System, link: nn.Module) -> System:
    other = tiny_system("deliberation", ["llama"])
    other.load_state_dict(system.state_dict())
    other.outer["reflector->toolcaller"] = link
    return other


def test_with_one_round_the_first_is_the_last() -> None:
    found = [probe(tiny_system("deliberation", ["llama"]), PAIR, config(rounds=1))]
    summary = summarise(found, 1)
    assert summary["round_1_over_last"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert summary["weights_round_1_over_last"] == 1.0


def test_a_summary_is_means_shares_and_ratios() -> None:
    def row(first: float, second: float) -> Probe:
        reached = [Reach("a->b", 1, first, 1.0), Reach("b->a", 1, 0.0, 0.0), Reach("a->b", 2, second, 2.0)]
        drifted = [Drift("a", 1, (1.0, first), (0.5,), (0.25,))]
        return Probe(reached, drifted, [Change("a->b", 2, first, 1.5)])

    summary = summarise([row(3.0, 6.0), row(1.0, 1.0)], 2)
    assert summary["message_gradient"] == {"a->b": {"round 1": 2.0, "round 2": 3.5}, "b->a": {"round 1": 0.0}}
    assert summary["share"] == {"a->b": 1.0, "b->a": 0.0}
    assert summary["round_1_over_last"] == {"mean": 0.75, "low": 0.5, "high": 1.0}
    assert summary["weights_round_1_over_last"] == 0.5
    assert summary["change"] == {"a->b": {"round 2": 2.0}}
    assert summary["change_to_another"] == {"a->b": {"round 2": 1.5}}
    (latents,) = summary["latents"]
    assert latents == {"role": "a", "round": 1, "norm": [1.0, 2.0], "to_previous": [0.5], "to_first": [0.25]}


# The text surrogate


def test_text_between_roles_of_one_model_carries_the_expected_embedding_itself() -> None:
    system = tiny_system("deliberation", ["llama"])
    surrogate = text_surrogate(system)
    z = noise(2, 3, backbone("llama").dim)
    for edge in system.pattern.edges:
        assert torch.equal(torch.as_tensor(surrogate.link(edge)(z)), z)
    inner = surrogate.agents["reflector"].inner
    assert isinstance(inner, SoftToken)
    expected = backbone("llama").expected_embedding(backbone("llama").logits(z).softmax(-1))
    assert_close(inner(z), expected, 1e-9)


def test_text_between_models_carries_the_least_squares_map_of_shared_tokens() -> None:
    system = tiny_system("deliberation", ["llama", "qwen2"])
    z, edge = noise(2, 3, backbone("llama").dim), system.pattern.edges[0]
    expected = fit_affine(*shared_rows(backbone("llama"), backbone("qwen2")))(z)
    assert_close(text_surrogate(system).link(edge)(z), expected, 1e-9)


def test_edges_that_carry_one_thought_have_gradients_of_their_own() -> None:
    """A summarizer that tells three agents the same still reaches each of them by itself."""
    reached = probe(text_surrogate(tiny_system("mixture", ["llama"])), PAIR, config()).reached
    feedback = [each.message for each in reached if each.edge.startswith("summarizer->")]
    assert len(feedback) == len(set(feedback)) == 3
    assert all(norm > 0 for norm in feedback)


def test_every_message_of_a_surrogate_is_reached_and_it_has_no_weights() -> None:
    reached, drifts, _ = probe(text_surrogate(tiny_system("sequential", ["llama", "qwen2"])), PAIR, config())
    assert [(each.round, each.edge) for each in reached] == [
        (1, "planner->critic"),
        (1, "critic->solver"),
        (1, "solver->planner"),
        (2, "planner->critic"),
        (2, "critic->solver"),
    ]
    assert all(each.message > 0 and each.weights == 0 for each in reached)
    assert len(drifts) == 5


# Drift


def test_the_latents_of_a_constant_inner_link_do_not_turn() -> None:
    system = tiny_system("deliberation", ["llama"], inner="linear")
    bias_D = noise(backbone("llama").dim)
    for link in system.inner.values():
        assert isinstance(link, Link)
        with torch.no_grad():
            link.proj1.weight.zero_()
            link.proj1.bias.copy_(bias_D)
    drifts = probe(system, PAIR, config(rounds=2, latent_steps=4)).drifted
    usual = backbone("llama").embed(torch.arange(backbone("llama").vocabulary_size)).norm(dim=-1).mean()
    assert [(drift.role, drift.round) for drift in drifts] == [("reflector", 1), ("toolcaller", 1), ("reflector", 2)]
    for drift in drifts:
        assert drift.to_previous == pytest.approx([1.0] * 3, abs=1e-6)
        assert drift.to_first == pytest.approx([1.0] * 3, abs=1e-6)
        assert drift.norm == pytest.approx([float(bias_D.norm() / usual)] * 4, rel=1e-5)


def test_drift_is_the_mean_over_rows_of_cosines_and_norms() -> None:
    system = tiny_system("deliberation", ["llama"])
    tapped = tapped_run(system, rounds=1, latent_steps=3)
    (drift,) = probe(system, PAIR, config(rounds=1, latent_steps=3)).drifted
    ((_, z_BMD),) = tapped.thoughts
    rows = z_BMD.tolist()

    def cosine(a: list[float], b: list[float]) -> float:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.hypot(*a) / math.hypot(*b)

    def mean(a: int, b: int) -> float:
        return sum(cosine(row[a], row[b]) for row in rows) / len(rows)

    assert drift.to_previous == pytest.approx([mean(0, 1), mean(1, 2)], rel=1e-5)
    assert drift.to_first == pytest.approx([mean(0, 1), mean(0, 2)], rel=1e-5)


def test_one_latent_step_has_a_norm_and_nothing_to_compare_with() -> None:
    (drift,) = probe(tiny_system("deliberation", ["llama"]), PAIR, config(rounds=1, latent_steps=1)).drifted
    assert (len(drift.norm), drift.to_previous, drift.to_first) == (1, (), ())


# Change from round to round


def test_changes_are_distances_to_the_round_before_and_to_the_next_question_over_the_messages_own_length() -> None:
    system = tiny_system("deliberation", ["llama"])
    tapped = tapped_run(system, rounds=3)
    told: dict[str, list[list[list[float]]]] = {}
    for _, edge, message, _ in tapped.carried:
        told.setdefault(edge, []).append([row.flatten().tolist() for row in message])
    found = probe(system, PAIR, config(rounds=3)).changed
    assert [(each.edge, each.round) for each in found] == [
        ("reflector->toolcaller", 2),
        ("reflector->toolcaller", 3),
        ("toolcaller->reflector", 2),
    ]
    for each in found:
        old, new = told[each.edge][each.round - 2 : each.round]
        ours = [math.dist(new[row], old[row]) / math.hypot(*new[row]) for row in (0, 1)]
        others = [math.dist(new[row], new[1 - row]) / math.hypot(*new[row]) for row in (0, 1)]
        assert each.to_previous == pytest.approx(sum(ours) / 2, rel=1e-5)
        assert each.to_another == pytest.approx(sum(others) / 2, rel=1e-5)
        assert min(each.to_previous, each.to_another) > 0


def test_with_one_round_there_is_nothing_to_compare_with_and_a_question_alone_has_no_other() -> None:
    system = tiny_system("deliberation", ["llama"])
    assert probe(system, PAIR, config(rounds=1)).changed == []
    (change,) = probe(system, PAIR[:1], config(rounds=2)).changed
    assert change.to_another == 0 < change.to_previous


# The whole


def test_a_diagnosis_writes_its_file_says_it_in_words_and_trains_nothing(tmp_path: Path) -> None:
    system = own_system(tmp_path)
    before = snapshot(system.state_dict())
    text = diagnose(system, config(data=sums_file(tmp_path), dev=2), tmp_path, report=quiet)
    found = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert (found["rounds"], found["latent_steps"], found["batches"], found["batch_size"]) == (2, 2, 4, 4)
    assert found["digest"] == system.digest()
    assert all(torch.equal(tensor, before[name]) for name, tensor in system.state_dict().items())
    for name in ("latent", "text"):
        table = found[name]
        assert table["message_gradient"].keys() == {"reflector->toolcaller", "toolcaller->reflector"}
        assert sum(table["share"].values()) == pytest.approx(1)
        assert 0 < table["round_1_over_last"]["low"] <= table["round_1_over_last"]["high"]
        assert f"{name} messages" in text
    assert "reflector, round 2: norm" in text
    assert "reflector->toolcaller: change since the round before (another question's message): round 2 0." in text
    assert found["latent"]["weights_round_1_over_last"] > 0 == found["text"]["weights_round_1_over_last"]


def test_a_system_of_constant_messages_has_nothing_to_diagnose(tmp_path: Path) -> None:
    system = tiny_system("deliberation", ["llama"], outer="constant")
    with pytest.raises(ConfigError, match="tiny-deliberation: its messages are constants") as caught:
        diagnose(system, config(latent_steps=32), tmp_path, report=quiet)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("taken", ["out", f"out/{FILE}"], ids=["folder", "file"])
def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    monkeypatch.setattr("rmas.train.diagnose._BATCHES", 1)
    if taken == "out":
        (tmp_path / taken).write_text("a file")
    else:
        (tmp_path / taken).mkdir(parents=True)
    with pytest.raises(CheckpointError, match=rf"{taken}: cannot be written") as caught:
        diagnose(own_system(tmp_path), config(data=sums_file(tmp_path)), tmp_path / "out", report=quiet)
    assert "\n" not in str(caught.value)


def test_examples_of_a_probe_may_have_targets_that_nobody_asks_for() -> None:
    bare = [replace(example, targets={}) for example in PAIR]
    ours, theirs = (probe(tiny_system("deliberation", ["llama"]), part, config(rounds=1)) for part in (PAIR, bare))
    assert ours == theirs
