"""Several processes train as one: shares, sums, and one writer."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accelerate.utils
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rmas.errors import NumericsError
from rmas.train.loop import fit
from rmas.train.outer import train_outer
from rmas.train.run import StepResult
from rmas.train.team import ALONE, Team, join_team
from train_zoo import EXAMPLES, gradients, outer_config, own_system, quiet, sums_file, swayed_system, trainer_of
from zoo import assert_close, noise, tiny_system

CPU = SimpleNamespace(device=torch.device("cpu"))


class Wire:
    """Stands for the network between two processes that run one after the other: the first one's numbers are kept,
    and the second one gets the sums."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[Tensor] = []
        self.is_second = False
        monkeypatch.setattr(accelerate.utils, "reduce", self.reduce)

    def reduce(self, tensor: Tensor, reduction: str) -> Tensor:
        assert reduction == "sum"
        if not self.is_second:
            self.sent.append(tensor.clone())
            return tensor
        other = self.sent.pop(0)
        assert (other.shape, other.dtype) == (tensor.shape, tensor.dtype)  # or a real network would hang
        return tensor + other


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(monkeypatch)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("number", [0, 1, 4, 7])
def test_shares_are_a_partition_of_near_equal_parts(size: int, number: int) -> None:
    shares = [Team(rank, size).share(range(number)) for rank in range(size)]
    assert sorted(item for share in shares for item in share) == list(range(number))
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_one_process_sends_nothing() -> None:
    parameters = [nn.Parameter(noise(2))]
    assert ALONE.sum_up(parameters, 0.5, 3) == (0.5, 3)
    assert parameters[0].grad is None
    assert ALONE.total({"a": 1.0}) == {"a": 1.0}
    assert (ALONE.any(True), ALONE.any(False)) == (True, False)
    ALONE.wait()


def test_without_a_launcher_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert join_team() == ALONE
    assert ALONE.is_first


def test_sums_are_of_gradients_losses_and_tokens_whatever_the_shapes_and_types(wire: Wire) -> None:
    def parameters() -> list[nn.Parameter]:
        return [
            nn.Parameter(noise(2, 3)),
            nn.Parameter(noise(4).float()),
            nn.Parameter(noise(2)),
            nn.Parameter(noise(1)),
        ]

    first, second = parameters(), parameters()
    first[0].grad, second[0].grad = noise(2, 3, seed=1), noise(2, 3, seed=2)
    first[1].grad, second[1].grad = None, noise(4, seed=3).float()  # no row of the first share reached it
    first[2].grad, second[2].grad = noise(2, seed=4), None
    expected = [noise(2, 3, seed=1) + noise(2, 3, seed=2), noise(4, seed=3).float(), noise(2, seed=4)]
    Team(0, 2, CPU).sum_up(first, 0.25, 3)
    wire.is_second = True
    assert Team(1, 2, CPU).sum_up(second, 0.5, 4) == (0.75, 7)
    for parameter, total in zip(second, expected, strict=False):
        assert parameter.grad is not None
        assert parameter.grad.dtype == parameter.dtype
        assert_close(parameter.grad, total, 1e-12)
    assert second[3].grad is None  # reached nowhere: AdamW leaves it alone, as it does in one process
    assert wire.sent == []


def test_what_stops_one_process_reaches_the_others(wire: Wire, tmp_path: Path) -> None:
    """A process that fails on its share still sends one, for the others wait for it."""

    def fitted(rank: int, step: Callable[[int], StepResult]) -> None:
        parameters = {"w": nn.Parameter(noise(3))}
        fit(parameters, step, outer_config(), tmp_path, report=quiet, stage="toy", team=Team(rank, 2, CPU))

    def broken(number: int) -> StepResult:
        raise NumericsError("latent step 1 of 2 is not finite")

    with pytest.raises(NumericsError, match="latent step 1 of 2 is not finite"):
        fitted(0, broken)
    wire.is_second = True
    with pytest.raises(NumericsError, match="step 1: the loss is nan"):
        fitted(1, lambda number: StepResult(0.5, 3))


def test_totals_and_facts_are_of_all_processes(wire: Wire) -> None:
    Team(0, 2, CPU).total({"a": 1.0, "b": 2.0})
    Team(0, 2, CPU).any(True)
    wire.is_second = True
    assert Team(1, 2, CPU).total({"b": 3.0, "a": 4.0}) == {"a": 5.0, "b": 5.0}
    assert Team(1, 2, CPU).any(False) is True


@pytest.mark.parametrize("changes", [{}, {"micro_batch": 1}, {"earlier_weight": 0.5, "rounds": 3}])
@pytest.mark.parametrize("number", [4, 3, 1])
def test_two_shares_leave_the_loss_and_gradient_of_the_whole_batch(
    wire: Wire, number: int, changes: dict[str, Any]
) -> None:
    """Also where the batch cannot be halved, and where the second process has nothing to do."""
    examples = EXAMPLES[:number]
    system = tiny_system("deliberation", ["llama"])
    alone = trainer_of(system, examples, **changes).step(0)
    whole = gradients(system)
    for rank in range(2):
        system.zero_grad()
        wire.is_second = rank == 1
        team = Team(rank, 2, CPU)
        trainer = trainer_of(system, examples, team=team, **changes)
        result = trainer.step(0)
        loss, tokens = team.sum_up(list(trainer.parameters.values()), result.loss, result.tokens)
    assert loss == pytest.approx(alone.loss, rel=1e-12)
    assert tokens == alone.tokens
    assert gradients(system).keys() == whole.keys()
    for name, gradient in gradients(system).items():
        assert_close(gradient, whole[name], 1e-10)


# Two real processes, connected as a launcher connects them

TRAINING: dict[str, Any] = {"steps": 3, "dev": 3, "dev_every": 2, "dev_batch": 2, "save_every": 1}
PROCESSES = """
import json, multiprocessing, os, socket, sys
from dataclasses import replace
from collections.abc import Callable
from pathlib import Path
import torch
from safetensors.torch import save_file
from rmas.errors import NumericsError
from rmas.train.loop import fit
from rmas.train.run import StepResult
from rmas.train.outer import train_outer
from rmas.train.team import join_team
from train_zoo import EXAMPLES, gradients, outer_config, own_system, quiet, trainer_of
from zoo import tiny_system

folder, config = Path(sys.argv[1]), outer_config(**json.loads(sys.argv[2]))


def one_step(rank):
    team = join_team()
    assert (team.rank, team.size, team.is_first) == (rank, 2, rank == 0)
    for number in (4, 3, 1):
        system = tiny_system("deliberation", ["llama"])
        trainer = trainer_of(system, EXAMPLES[:number], team=team)
        result = trainer.step(0)
        loss, _ = team.sum_up(list(trainer.parameters.values()), result.loss, result.tokens)
        save_file(gradients(system) | {"loss": torch.tensor(loss)}, folder / f"step-{number}-{rank}")


def train(rank):
    system = own_system(folder / str(rank)).double()
    # the second process has a folder of its own, in which nothing may appear
    result = train_outer(system, config, folder / f"out-{rank}", resume=False, report=quiet)
    save_file(system.state_dict(), folder / f"links-{rank}")
    (folder / f"result-{rank}").write_text(json.dumps([result.steps, result.figures, result.is_complete]))


def run_out_of_time(rank):
    hurried = replace(config, minutes=1e-9 if rank else 1e9)
    system = own_system(folder / str(rank)).double()
    result = train_outer(system, hurried, folder / f"hurried-{rank}", resume=False, report=quiet)
    (folder / f"hurried-result-{rank}").write_text(json.dumps([result.steps, result.is_complete]))


def work(rank, port):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    one_step(rank)
    train(rank)
    run_out_of_time(rank)
    torch.distributed.destroy_process_group()


with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
fork = multiprocessing.get_context("fork")  # so that what takes longest, the imports, is done once
children = [fork.Process(target=work, args=(rank, port)) for rank in range(2)]
for child in children:
    child.start()
for child in children:
    child.join(90)
print(json.dumps([child.exitcode for child in children]))
for child in children:
    child.kill()
"""


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_two_processes_train_the_links_of_one(tmp_path: Path) -> None:
    config = {**TRAINING, "data": sums_file(tmp_path), "probes": ["shuffled"]}
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", PROCESSES, str(tmp_path), json.dumps(config)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=190,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [0, 0], done.stderr
    for number in (4, 3, 1):
        system = tiny_system("deliberation", ["llama"])
        loss = trainer_of(system, EXAMPLES[:number]).step(0).loss
        for rank in range(2):
            found = load_file(tmp_path / f"step-{number}-{rank}")
            assert float(found.pop("loss")) == pytest.approx(loss, rel=1e-6)
            assert found.keys() == gradients(system).keys()
            for name, gradient in gradients(system).items():
                assert_close(found[name], gradient, 1e-10)
    alone = own_system(tmp_path / "alone").double()
    result = train_outer(
        alone, outer_config(**{**config, "probes": ("shuffled",)}), tmp_path / "whole", resume=False, report=quiet
    )
    bundle = load_file(tmp_path / "out-0" / "links.safetensors")
    for links in (bundle, *(load_file(tmp_path / f"links-{rank}") for rank in range(2))):
        assert links.keys() == alone.state_dict().keys()
        for name, tensor in alone.state_dict().items():
            assert_close(links[name], tensor, 1e-10)
    for rank in range(2):
        steps, figures, is_complete = json.loads((tmp_path / f"result-{rank}").read_text(encoding="utf-8"))
        assert (steps, is_complete) == (3, True)
        assert figures == pytest.approx(result.figures, rel=1e-9)
    assert not (tmp_path / "out-1").exists()
    stops = [json.loads((tmp_path / f"hurried-result-{rank}").read_text(encoding="utf-8")) for rank in range(2)]
    assert stops == [[0, False]] * 2  # one clock that has run out stops both


def test_dev_figures_of_two_shares_are_those_of_one(wire: Wire) -> None:
    system = swayed_system()
    whole = trainer_of(system, probes=("shuffled",), dev_batch=2).measure(EXAMPLES)
    for rank in range(2):
        wire.is_second = rank == 1
        trainer = trainer_of(system, probes=("shuffled",), dev_batch=2, team=Team(rank, 2, CPU))
        figures = trainer.measure(EXAMPLES)
    assert figures == pytest.approx(whole, rel=1e-9)
