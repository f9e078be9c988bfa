"""The loop: its schedule, its optimiser, what stops it, and what is left then."""

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rmas.errors import CheckpointError, NumericsError
from rmas.settings import RunConfig, Sampling
from rmas.solvers.recursive import RecursiveSolver
from rmas.train.config import OuterConfig
from rmas.train.journal import read_log
from rmas.train.loop import fit
from rmas.train.run import DevResult, FitResult, StepResult, learning_rate, units
from rmas.train.store import Store
from train_zoo import EXAMPLES, gradients, outer_config, quiet, same_tensors, swayed_system, trainer_of
from zoo import LOOPS, assert_close, noise, snapshot, tiny_system

Parameters = Mapping[str, nn.Parameter]


def toy() -> dict[str, nn.Parameter]:
    """A matrix, which decays, and a bias, which does not."""
    return {"w": nn.Parameter(noise(3, 2)), "b": nn.Parameter(noise(3, seed=1))}


def slopes(number: int) -> dict[str, Tensor]:
    """The made-up gradients of step `number`."""
    return {"w": noise(3, 2, seed=10 + number), "b": noise(3, seed=20 + number)}


def teach(parameters: Parameters, loss: Callable[[int], float] = lambda number: 1.0) -> Callable[[int], StepResult]:
    """A step that leaves the made-up gradients."""

    def step(number: int) -> StepResult:
        for name, slope in slopes(number).items():
            parameters[name].grad = slope
        return StepResult(loss(number), 10)

    return step


def fitted(
    parameters: Parameters,
    folder: Path,
    step: Callable[[int], StepResult] | None = None,
    *,
    evaluate: Callable[[int], DevResult] | None = None,
    batch_of: Callable[[int], Any] | None = None,
    minutes: float | None = None,
    groups: list[list[str]] | None = None,
    **changes: Any,
) -> FitResult:
    folder.mkdir(exist_ok=True)
    return fit(
        parameters,
        step or teach(parameters),
        outer_config(**changes),
        folder,
        evaluate=evaluate,
        report=quiet,
        stage="toy",
        batch_of=batch_of,
        minutes=minutes,
        groups=groups or (),
    )


def values(parameters: Parameters) -> dict[str, Tensor]:
    return snapshot({name: p.data for name, p in parameters.items()})


# The schedule and the optimiser


@pytest.mark.parametrize("decay", ["cosine", "constant"])
def test_the_rate_warms_up_in_a_line_and_then_follows_half_a_cosine_or_stays(decay: str) -> None:
    config = outer_config(steps=20, warmup=4, lr=0.5, decay=decay)
    found = [learning_rate(config, step) for step in range(20)]
    assert found[:4] == pytest.approx([0.125, 0.25, 0.375, 0.5])
    expected = [0.25 * (1 + math.cos(math.pi * (step - 4) / 16)) if decay == "cosine" else 0.5 for step in range(4, 20)]
    assert found[4:] == pytest.approx(expected)
    assert found[4] == 0.5


@pytest.mark.parametrize("config", [{"steps": 3, "warmup": 9}, {"steps": 1, "warmup": 0}, {"steps": 3, "warmup": 3}])
def test_a_training_shorter_than_its_warm_up_has_rates_all_the_same(config: dict[str, int]) -> None:
    rates = [learning_rate(outer_config(lr=1.0, **config), step) for step in range(config["steps"])]
    assert all(0 < rate <= 1 for rate in rates)


def test_steps_are_those_of_adamw_by_its_formula_and_only_matrices_decay(tmp_path: Path) -> None:
    parameters = toy()
    expected = values(parameters)
    first, second = ({name: torch.zeros_like(p) for name, p in expected.items()} for _ in range(2))
    config: dict[str, Any] = {"steps": 5, "lr": 0.1, "warmup": 2, "weight_decay": 0.2, "clip": math.inf}
    config["betas"] = (0.8, 0.9)
    for number in range(5):
        rate = learning_rate(outer_config(**config), number)
        for name, slope in slopes(number).items():
            first[name] = 0.8 * first[name] + 0.2 * slope
            second[name] = 0.9 * second[name] + 0.1 * slope**2
            m, v = first[name] / (1 - 0.8 ** (number + 1)), second[name] / (1 - 0.9 ** (number + 1))
            kept = 1 - rate * 0.2 if name == "w" else 1.0
            expected[name] = kept * expected[name] - rate * m / (v.sqrt() + 1e-8)
    fitted(parameters, tmp_path, **config)
    for name, value in values(parameters).items():
        assert_close(value, expected[name], 1e-12)


def test_steps_are_bitwise_those_of_torchs_adamw(tmp_path: Path) -> None:
    ours, theirs = toy(), toy()
    optimizer = torch.optim.AdamW(theirs.values(), lr=0.1, betas=(0.9, 0.95), weight_decay=0.0, foreach=False)
    for number in range(4):
        teach(theirs)(number)
        optimizer.step()
    fitted(ours, tmp_path, lr=0.1, decay="constant", clip=math.inf)
    assert same_tensors(values(ours), values(theirs))


def test_a_relative_rate_moves_each_tensor_by_a_share_of_its_size_at_the_start(tmp_path: Path) -> None:
    sizes = {
        "outer.a.proj1.weight": 2.0,
        "outer.a.proj1.bias": 0.0,
        "outer.b.proj1.weight": 0.01,
        "outer.c.proj1.bias": 0.0,
    }
    parameters = {name: nn.Parameter(torch.full((3, 2), size)) for name, size in sizes.items()}
    shares = {
        "outer.a.proj1.weight": 2.0,
        "outer.a.proj1.bias": 2.0,
        "outer.b.proj1.weight": 0.01,
        "outer.c.proj1.bias": 1.0,
    }
    assert units(parameters) == pytest.approx(shares)
    before = values(parameters)

    def step(number: int) -> StepResult:
        for parameter in parameters.values():
            parameter.grad = torch.ones_like(parameter)
        return StepResult(1.0, 1)

    fitted(parameters, tmp_path, step, steps=1, warmup=0, lr=0.1, relative_lr=True, clip=math.inf)
    for name, share in shares.items():
        assert_close(before[name] - values(parameters)[name], torch.full((3, 2), 0.1 * share), 1e-6)


@pytest.mark.parametrize(("groups", "clip"), [([], 0.5), ([["w"], ["b"]], 0.5), ([], math.inf), ([], 1e9)])
def test_gradients_are_clipped_together_or_by_group(tmp_path: Path, groups: list[list[str]], clip: float) -> None:
    parameters = toy()
    fitted(parameters, tmp_path, groups=groups, clip=clip, steps=1)
    (line,) = read_log(tmp_path)
    whole = math.hypot(*(float(slope.norm()) for slope in slopes(0).values()))
    assert line["gradient_norm"] == pytest.approx(whole)  # before the clipping
    for group in groups or [["w", "b"]]:
        norm = math.hypot(*(float(slopes(0)[name].norm()) for name in group))
        for name in group:
            grad = parameters[name].grad
            assert grad is not None
            assert_close(grad, slopes(0)[name] * min(1.0, clip / norm), 1e-6)


# Gradients of a batch


@pytest.mark.parametrize("micro", [1, 3])
def test_micro_batches_leave_the_gradient_and_loss_of_the_whole_batch(micro: int) -> None:
    whole, parts = (tiny_system("deliberation", ["llama"]) for _ in range(2))
    results = [
        trainer_of(whole, earlier_weight=0.5).step(0),
        trainer_of(parts, earlier_weight=0.5, micro_batch=micro).step(0),
    ]
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-12)
    assert results[0].tokens == results[1].tokens
    found = gradients(parts)
    assert found.keys() == gradients(whole).keys()
    for name, gradient in gradients(whole).items():
        assert_close(found[name], gradient, 1e-12)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_tokens_of_a_step_are_what_its_turns_read_thought_and_answered(checkpointed: bool) -> None:
    system = tiny_system("sequential", ["llama"])
    trainer = trainer_of(system, rounds=2, latent_steps=3, earlier_weight=0.5, checkpointed=checkpointed)
    answers = RecursiveSolver(system, RunConfig(rounds=2, latent_steps=3), Sampling(max_new_tokens=1)).solve(
        [example.question for example in EXAMPLES]
    )
    thought = sum(t.tokens_in + t.latent_steps for a in answers for t in a.trace.turns if t.verb == "think")
    spoken = sum(a.trace.turns[-1].tokens_in for a in answers)
    written = sum(len(example.answer.encode()) + 1 for example in EXAMPLES)
    assert trainer.step(0).tokens == thought + 2 * (spoken + written)  # it would answer alike after either round


def test_the_gradient_of_a_batch_is_the_mean_of_its_members(tmp_path: Path) -> None:
    system = tiny_system("deliberation", ["llama"])
    loss = trainer_of(system).step(0).loss
    whole = gradients(system)
    total = {name: torch.zeros_like(gradient) for name, gradient in whole.items()}
    losses = []
    for example in EXAMPLES:
        system.zero_grad()
        losses.append(trainer_of(system, (example,)).step(0).loss)
        for name, gradient in gradients(system).items():
            total[name] += gradient / len(EXAMPLES)
    assert loss == pytest.approx(sum(losses) / len(EXAMPLES), rel=1e-9)
    for name, gradient in whole.items():
        assert_close(gradient, total[name], 1e-9)


# What a step moves


@pytest.mark.parametrize("pattern", LOOPS)
@pytest.mark.parametrize("train_inner", [False, True])
def test_a_step_moves_every_link_that_trains_and_nothing_else(tmp_path: Path, pattern: str, train_inner: bool) -> None:
    system = tiny_system(pattern, ["llama", "qwen2"])
    models = {backbone.name: backbone.model for backbone in system.backbones.values()}
    links, frozen = snapshot(system.state_dict()), {name: snapshot(m.state_dict()) for name, m in models.items()}
    trainer = trainer_of(system, EXAMPLES[:2], train_inner=train_inner)
    fitted(trainer.parameters, tmp_path, trainer.step, steps=1, batch_size=2)
    moved = {name for name, tensor in system.state_dict().items() if not torch.equal(tensor, links[name])}
    assert moved == {name for name in links if train_inner or name.startswith("outer.")}
    assert moved == trainer.parameters.keys() == gradients(system).keys()
    assert {name for name, p in system.named_parameters() if p.requires_grad} == moved
    for name, model in models.items():
        assert same_tensors(model.state_dict(), frozen[name])
        assert all(p.grad is None and not p.requires_grad for p in model.parameters())


def test_one_batch_can_be_learned_by_heart(tmp_path: Path) -> None:
    system = swayed_system()
    letters = tuple(replace(example, answer=answer) for example, answer in zip(EXAMPLES[:2], "47", strict=True))
    trainer = trainer_of(system, letters, rounds=1, latent_steps=8)
    first = trainer.step(0).loss
    fitted(trainer.parameters, tmp_path, trainer.step, steps=24, lr=0.03, decay="constant", save_every=24)
    assert trainer.step(0).loss < first / 10


# What is not finite


def test_a_loss_that_is_not_finite_stops_keeps_its_batch_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parameters, before = toy(), dict[str, Tensor]()

    def loss(number: int) -> float:
        before.update(values(parameters))
        return math.nan if number == 3 else 1.0

    with pytest.raises(NumericsError, match=r"^step 4: the loss is nan, .*failed-step-00000004.json") as caught:
        fitted(parameters, tmp_path, teach(parameters, loss), save_every=2, batch_of=lambda number: [f"batch {number}"])
    assert "\n" not in str(caught.value)
    kept = json.loads((tmp_path / "failed-step-00000004.json").read_text(encoding="utf-8"))
    assert (kept["step"], kept["batch"]) == (4, ["batch 3"])
    assert "nan" in kept["problem"]
    assert same_tensors(values(parameters), before)
    stored = Store(tmp_path / "checkpoints").latest()
    assert stored is not None
    assert stored.step == 2
    assert "step 4 is not finite" in caplog.text


def test_a_gradient_that_is_not_finite_stops_too(tmp_path: Path) -> None:
    parameters = toy()
    before = values(parameters)

    def step(number: int) -> StepResult:
        result = teach(parameters)(number)
        parameters["b"].grad = torch.full((3,), math.inf, dtype=torch.float64)
        return result

    with pytest.raises(NumericsError, match=r"step 1: the loss is 1.0, the gradient's norm (inf|nan)"):
        fitted(parameters, tmp_path, step)
    assert same_tensors(values(parameters), before)


def test_a_training_that_met_a_bad_batch_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    whole, stopped, resumed = toy(), toy(), toy()
    fitted(whole, tmp_path / "whole", save_every=2)
    bad = teach(stopped, lambda number: math.nan if number == 3 else 1.0)
    with pytest.raises(NumericsError):
        fitted(stopped, tmp_path / "out", bad, save_every=2)
    fitted(resumed, tmp_path / "out", save_every=2)
    assert same_tensors(values(resumed), values(whole))


def test_a_latent_that_is_not_finite_is_named_and_its_batch_is_kept(tmp_path: Path) -> None:
    system = tiny_system("deliberation", ["llama"])
    trainer = trainer_of(system)
    with torch.no_grad():
        next(system.inner["reflector"].parameters()).fill_(math.nan)
    before = snapshot(system.state_dict())
    with pytest.raises(NumericsError, match=r"step 1: round 1, reflector .*latent step 1 of 2 is not finite"):
        fitted(trainer.parameters, tmp_path, trainer.step, batch_of=trainer.batch_of)
    kept = json.loads((tmp_path / "failed-step-00000001.json").read_text(encoding="utf-8"))
    assert sorted(row["answer"] for row in kept["batch"]) == sorted(example.answer for example in EXAMPLES)
    assert all(row["question"]["text"] and row["targets"] for row in kept["batch"])
    assert all(torch.equal(t.nan_to_num(), before[name].nan_to_num()) for name, t in system.state_dict().items())


def test_a_bad_batch_that_finds_no_room_is_still_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    parameters = toy()
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(NumericsError, match=r"step 1: the loss is inf.*could not be kept .*No space left") as caught:
        fitted(parameters, tmp_path, teach(parameters, lambda number: math.inf))
    assert "\n" not in str(caught.value)


# What ends a training, and what remains


def scores(*found: float, every: int = 1) -> Callable[[int], DevResult]:
    """An `evaluate` that finds one score after another."""
    left: Iterator[float] = iter(found)

    def evaluate(step: int) -> DevResult:
        score = next(left)
        return DevResult((score,), {"accuracy": score})

    return evaluate


def noting(parameters: Parameters, evaluate: Callable[[int], DevResult], seen: list[dict[str, Tensor]]) -> Any:
    def noted(step: int) -> DevResult:
        seen.append(values(parameters))
        return evaluate(step)

    return noted


def test_the_best_parameters_by_dev_are_what_remains(tmp_path: Path) -> None:
    parameters, seen = toy(), list[dict[str, Tensor]]()
    evaluate = noting(parameters, scores(0.1, 0.5, 0.9, 0.9, 0.2), seen)
    result = fitted(parameters, tmp_path, evaluate=evaluate, dev_every=1)
    assert result[:4] == (4, 2, (0.9,), True)  # of equals, the first
    assert same_tensors(values(parameters), seen[2])
    assert not same_tensors(values(parameters), seen[3])


def test_a_training_that_only_gets_worse_ends_as_it_began(tmp_path: Path) -> None:
    parameters = toy()
    before = values(parameters)
    assert fitted(parameters, tmp_path, evaluate=scores(0.9, 0.5, 0.4), dev_every=2).best_step == 0
    assert same_tensors(values(parameters), before)


def test_without_dev_examples_the_last_parameters_remain(tmp_path: Path) -> None:
    parameters = toy()
    assert fitted(parameters, tmp_path)[:4] == (4, 4, (), True)


def test_patience_ends_a_training_that_stopped_getting_better(tmp_path: Path) -> None:
    parameters = toy()
    evaluate = scores(0.1, 0.5, 0.4, 0.5, 0.9)
    result = fitted(parameters, tmp_path, evaluate=evaluate, dev_every=1, patience=2, steps=9, save_every=9)
    assert result[:4] == (3, 1, (0.5,), True)
    stored = Store(tmp_path / "checkpoints").latest()
    assert stored is not None
    assert (stored.step, stored.state["worse"]) == (3, 2)
    again = fitted(toy(), tmp_path, evaluate=scores(), dev_every=1, patience=2, steps=9)  # nothing is left to do
    assert again == result


def test_dev_is_measured_before_the_first_step_at_its_steps_and_at_the_end(tmp_path: Path) -> None:
    fitted(toy_of := toy(), tmp_path, evaluate=scores(1, 2, 3, 4), dev_every=2, steps=5)
    lines = read_log(tmp_path)
    assert [line["step"] for line in lines if line["event"] == "dev"] == [0, 2, 4, 5]
    steps = [line for line in lines if line["event"] == "step"]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5]
    expected = [learning_rate(outer_config(steps=5), step) for step in range(5)]
    assert [line["lr"] for line in steps] == pytest.approx(expected)
    assert all(line["loss"] == 1.0 and line["tokens_per_second"] > 0 for line in steps)
    assert toy_of.keys() == {"w", "b"}


def test_out_of_time_is_a_clean_stop_that_can_be_resumed(tmp_path: Path) -> None:
    whole, parameters = toy(), toy()
    fitted(whole, tmp_path / "whole", evaluate=scores(0.1, 0.2, 0.3), dev_every=2)
    stopped = fitted(parameters, tmp_path / "out", evaluate=scores(0.1), dev_every=2, minutes=1e-12)
    assert (stopped.steps, stopped.is_complete) == (0, False)
    resumed = toy()
    result = fitted(resumed, tmp_path / "out", evaluate=scores(0.2, 0.3), dev_every=2)
    assert result.is_complete
    assert same_tensors(values(resumed), values(whole))


def test_a_stop_after_some_steps_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("rmas.train.loop.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    parameters = toy()
    stopped = fitted(parameters, tmp_path, minutes=1.0, steps=9, save_every=9)
    assert 0 < stopped.steps < 9
    stored = Store(tmp_path / "checkpoints").latest()
    assert stored is not None
    assert stored.step == stopped.steps
    assert torch.equal(stored.tensors["parameter.w"], parameters["w"].detach())


@pytest.mark.parametrize(("stop", "relative"), [(1, False), (2, True), (3, False)])
def test_a_resumed_training_has_the_same_bits_and_lines(tmp_path: Path, stop: int, relative: bool) -> None:
    """With momenta, the schedule, the best so far and the patience used up, all of which a checkpoint must hold.

    And the units of a relative rate: those of the training's start, whatever the tensors are at the resume.
    """
    changes: dict[str, Any] = {"steps": 6, "dev_every": 1, "save_every": 1, "patience": 4, "warmup": 2}
    changes["relative_lr"] = relative
    found = (0.1, 0.9, 0.3, 0.4, 0.2, 0.1)

    class Stopped(BaseException):
        pass

    whole, first = toy(), toy()
    second = {name: nn.Parameter(7 * p.detach()) for name, p in toy().items()}
    result = fitted(whole, tmp_path / "whole", evaluate=scores(*found), **changes)

    def step(number: int) -> StepResult:
        if number == stop:
            raise Stopped
        return teach(first)(number)

    with pytest.raises(Stopped):
        fitted(first, tmp_path / "out", step, evaluate=scores(*found), **changes)
    resumed = fitted(second, tmp_path / "out", evaluate=scores(*found[stop + 1 :]), **changes)
    assert resumed[:4] == result[:4]
    assert resumed.cost.operations == result.cost.operations
    assert (result.steps, result.best_step) == (5, 1)
    assert same_tensors(values(second), values(whole))


def test_a_checkpoint_of_other_links_is_refused_in_one_line(tmp_path: Path) -> None:
    fitted(toy(), tmp_path)
    wider = {"w": nn.Parameter(noise(4, 2)), "b": nn.Parameter(noise(3))}
    before = values(wider)
    with pytest.raises(CheckpointError, match=r"step 4 holds parameter.w \(3, 2\), this system has \(4, 2\)") as caught:
        fitted(wider, tmp_path)
    assert "\n" not in str(caught.value)
    assert same_tensors(values(wider), before)
    with pytest.raises(CheckpointError, match=r"parameter.b .*this system has no such link"):
        fitted({"w": toy()["w"]}, tmp_path)
    with pytest.raises(CheckpointError, match=r"holds parameter.extra not at all"):
        fitted(toy() | {"extra": nn.Parameter(noise(1))}, tmp_path)


def test_every_step_is_reported_with_its_loss_and_speed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[str, int, int]] = []

    def report(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        told.append((stage, done, total))
        assert figures["loss"] == 1.0
        assert figures["tokens_per_second"] > 0

    parameters, config = toy(), OuterConfig(data="toy", steps=3)
    fit(parameters, teach(parameters), config, tmp_path, report=report, stage="toy")
    assert told == [("toy", 1, 3), ("toy", 2, 3), ("toy", 3, 3)]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_operations_are_counted_at_first_and_then_in_every_eighth_step(tmp_path: Path) -> None:
    """A step whose matrix product grows with its number: 2 * 4 * 5 * (number + 1) operations."""
    parameters = toy()

    def step(number: int) -> StepResult:
        torch.ones(number + 1, 4) @ torch.ones(4, 5)
        return teach(parameters)(number)

    cost = fitted(parameters, tmp_path, step, steps=20).cost
    assert cost.operations == 40 * (sum(range(1, 9)) + 8 * 9 + 4 * 17)  # steps 8 and 16 stand for those behind them
