"""A training that is stopped anywhere and resumed ends with the bits of one that was not."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from processes import printed_by
from rmas.errors import CheckpointError
from rmas.train import store as store_module
from rmas.train.journal import read_log
from rmas.train.outer import OuterTrainer, train_outer
from rmas.train.run import StepResult
from train_zoo import outer_config, own_system, quiet, sums_file

# Dev evaluations and checkpoints at different steps, a schedule, and a draw in each step of the first half.
COURSE: Mapping[str, Any] = {
    "steps": 6,
    "save_every": 2,
    "dev_every": 3,
    "dev": 2,
    "warmup": 2,
    "objective": "mixed",
    "probes": (),
    "columns": {"reflector": "plan"},
}


def plans_file(folder: Path) -> str:
    """The small sums, with a target for the reflector."""
    path = Path(sums_file(folder))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("\n".join(json.dumps(row | {"plan": "Add."}) for row in rows), encoding="utf-8")
    return str(path)


def train(folder: Path, out: str, *, resume: bool = False) -> str:
    """-> the digest of the final links."""
    system = own_system(folder)
    train_outer(system, outer_config(data=plans_file(folder), **COURSE), folder / out, resume=resume, report=quiet)
    return system.digest()


def log_of(folder: Path) -> list[dict[str, Any]]:
    """Every line, without the speed."""
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in read_log(folder)]


class Whole(NamedTuple):
    """What a training that nobody stopped ends with."""

    digest: str
    log: list[dict[str, Any]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    return Whole(train(folder, "out"), log_of(folder / "out"))


@pytest.mark.parametrize("stops", [(0,), (3,), (1, 2, 5)])
def test_an_interrupted_training_ends_with_the_same_bits_and_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Whole, stops: tuple[int, ...]
) -> None:
    step = OuterTrainer.step
    for place, stop in enumerate(stops):

        def interrupted(self: OuterTrainer, number: int, stop: int = stop) -> StepResult:
            if number == stop:
                raise KeyboardInterrupt
            return step(self, number)

        with monkeypatch.context() as patch:
            patch.setattr(OuterTrainer, "step", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path, "out", resume=place > 0)
    assert Whole(train(tmp_path, "out", resume=True), log_of(tmp_path / "out")) == whole


def test_a_training_is_not_resumed_beside_other_frozen_links(tmp_path: Path) -> None:
    train(tmp_path, "out")
    system = own_system(tmp_path)
    with torch.no_grad():
        next(system.inner.parameters()).add_(1.0)  # frozen here, and of the same shape
    config = outer_config(data=plans_file(tmp_path), **COURSE)
    with pytest.raises(CheckpointError, match=r"step 6 was made beside other frozen .*Resume with what"):
        train_outer(system, config, tmp_path / "out", resume=True, report=quiet)


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
def test_a_checkpoint_cut_off_in_the_middle_falls_back_to_the_one_before(
    tmp_path: Path, file: str, whole: Whole, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, "out")
    newest = tmp_path / "out" / "checkpoints" / "step-00000006" / file
    newest.write_bytes(newest.read_bytes()[:-20])
    assert Whole(train(tmp_path, "out", resume=True), log_of(tmp_path / "out")) == whole
    assert "Taking the one before" in caplog.text


def test_an_interruption_while_a_checkpoint_is_written_leaves_the_one_before(
    tmp_path: Path, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = store_module._write

    def interrupted(path: Path, put: Callable[[Path], object]) -> None:
        write(path, put)
        if "step-00000004" in path.parent.name:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, "out")
    assert train(tmp_path, "out", resume=True) == whole.digest


def test_a_training_whose_checkpoints_are_all_broken_is_refused_in_one_line(tmp_path: Path) -> None:
    train(tmp_path, "out")
    for file in (tmp_path / "out" / "checkpoints").glob("*/state.json"):
        file.write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="none of its checkpoints is whole") as caught:
        train(tmp_path, "out", resume=True)
    assert "\n" not in str(caught.value)


# The same with SIGKILL. One process imports and forks; its children train and are killed.
KILLS = """
import json, multiprocessing, os, random, signal, sys, time
from pathlib import Path
from rmas.train.outer import train_outer
from train_zoo import outer_config, own_system, sums_file

folder, draw = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
config = outer_config(data=sums_file(folder), steps=12, save_every=2, dev=2, dev_every=4, probes=())
log = folder / "out" / "log.jsonl"


def slowly(*_):
    time.sleep(0.02)


def train(out, resume):
    system = own_system(folder)
    train_outer(system, config, folder / out, resume=resume, report=slowly)
    (folder / (out + ".digest")).write_text(system.digest())


def steps():
    return log.read_text().count('"step"') if log.exists() else 0  # event lines name it twice, dev lines once


fork, codes = multiprocessing.get_context("fork"), []
for number, lines in enumerate(sorted(draw.sample(range(2, 20), 3))):
    child = fork.Process(target=train, args=("out", number > 0))
    child.start()
    while child.is_alive() and steps() < lines:
        time.sleep(0.002)
    time.sleep(draw.random() * 0.04)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    codes.append(child.exitcode)
for out, resume in (("out", True), ("whole", False)):
    child = fork.Process(target=train, args=(out, resume))
    child.start()
    child.join()
    codes.append(child.exitcode)
print(json.dumps(codes))
"""


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_training_killed_three_times_ends_with_the_same_bits(tmp_path: Path) -> None:
    assert printed_by(KILLS, str(tmp_path), "0") == [-9, -9, -9, 0, 0]
    assert (tmp_path / "out.digest").read_text() == (tmp_path / "whole.digest").read_text()
    assert log_of(tmp_path / "out") == log_of(tmp_path / "whole")
