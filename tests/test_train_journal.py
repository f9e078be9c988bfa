"""The journal of a training: what is written is there, and a resumed log reads like one without a break."""

import json
import logging
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from rmas.errors import CheckpointError
from rmas.train import journal as module
from rmas.train.curves import _points, _running_mean
from rmas.train.journal import CURVES, EVENTS, LOG, Journal, draw_curves, read_log

PNG = b"\x89PNG\r\n\x1a\n"


def noted(folder: Path, steps: range, *, resume_from: int | None = None) -> None:
    journal = Journal(folder, resume_from=resume_from)
    for step in steps:
        journal.write(step, "step", {"loss": 1 / step, "lr": 0.1})
        if step % 2 == 0:
            journal.write(step, "dev", {"loss": 2 / step, "accuracy": 0.5, "accuracy_shuffled": 0.1, "n": 10})
    journal.close()


def scalars(folder: Path) -> set[tuple[str, int, float]]:
    """Every scalar in the TensorBoard files: tag, step, value."""
    found = set()
    for path in sorted((folder / EVENTS).iterdir()):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")  # then a checksum of 4 bytes, the event, and another
            event = Event.FromString(content[12 : 12 + length])
            found |= {(value.tag, event.step, value.simple_value) for value in event.summary.value}
            content = content[16 + length :]
    return found


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Make a package look as if it were not installed."""
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == package else find_spec(name))


def test_a_line_holds_step_event_and_values_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path, resume_from=None)
    journal.write(3, "step", {"loss": 0.1 + 0.2, "objective": "röllout"})
    text = (tmp_path / LOG).read_text(encoding="utf-8")  # before close: it is on disk already
    journal.close()
    assert text == '{"step": 3, "event": "step", "loss": 0.30000000000000004, "objective": "röllout"}\n'
    assert read_log(tmp_path) == [json.loads(text)]


def test_a_number_that_is_not_finite_stays_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal(tmp_path, resume_from=None)
    journal.write(1, "step", {"loss": math.nan, "norm": math.inf})
    journal.close()
    assert '"loss": "nan", "norm": "inf"' in (tmp_path / LOG).read_text()
    assert capsys.readouterr() == ("", "")
    assert draw_curves(tmp_path) is None


def test_no_log_is_no_lines(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []


def test_a_resumed_log_reads_like_an_unbroken_one(tmp_path: Path) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    broken.mkdir()
    whole.mkdir()
    noted(broken, range(1, 8))
    noted(broken, range(5, 11), resume_from=4)
    noted(whole, range(1, 11))
    assert (broken / LOG).read_bytes() == (whole / LOG).read_bytes()


def test_beginning_anew_drops_all_lines(tmp_path: Path) -> None:
    noted(tmp_path, range(1, 4))
    noted(tmp_path, range(1, 2))
    assert [line["step"] for line in read_log(tmp_path)] == [1]


@pytest.mark.parametrize("half", ['{"step": 2, "ev', '{"step": 2, "event": "step"}', "\ufffd"])
def test_a_half_written_last_line_goes(tmp_path: Path, half: str) -> None:
    noted(tmp_path, range(1, 2))
    whole = (tmp_path / LOG).read_bytes()
    (tmp_path / LOG).write_bytes(whole + half.encode()[:-1])
    assert [line["step"] for line in read_log(tmp_path)] == [1]
    Journal(tmp_path, resume_from=5).close()
    assert (tmp_path / LOG).read_bytes() == whole


BROKEN = ("{", "[]", '{"step": "1", "event": "dev"}', '{"step": 1}', '{"step": 1, "event": 2}')


@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_line_elsewhere_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    good = '{"step": 1, "event": "step"}'
    (tmp_path / LOG).write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(CheckpointError, match=rf"{LOG}:2: not a line of a training log\. Remove it\.$"):
        read_log(tmp_path)


def test_a_cut_that_fails_leaves_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted(tmp_path, range(1, 4))
    before = (tmp_path / LOG).read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match=r"log\.jsonl: cannot be written \(No space left on device\)"):
        Journal(tmp_path, resume_from=1)
    assert (tmp_path / LOG).read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


def test_a_journal_in_no_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        Journal(tmp_path / "none", resume_from=None)


def test_tensorboard_gets_the_numbers_and_no_texts(tmp_path: Path) -> None:
    journal = Journal(tmp_path, resume_from=None)
    journal.write(1, "step", {"loss": 0.5, "objective": "rollout"})
    journal.write(2, "dev", {"accuracy": 0.25, "loss": math.nan})
    journal.close()
    assert scalars(tmp_path) == {("step/loss", 1, 0.5), ("dev/accuracy", 2, 0.25)}


@pytest.mark.parametrize("package", ["tensorboardX", "matplotlib"])
def test_without_an_extra_package_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, package: str
) -> None:
    without(monkeypatch, package)
    with caplog.at_level(logging.WARNING):
        noted(tmp_path, range(1, 5))
        drawn = draw_curves(tmp_path)
    assert (tmp_path / EVENTS).exists() == (package != "tensorboardX")
    assert (drawn is None) == (package == "matplotlib")
    assert len(read_log(tmp_path)) == 6
    assert [f"{package} is not installed" in record.message for record in caplog.records] == [True]


def test_curves_of_an_outer_stage_are_a_picture_of_two_panels(tmp_path: Path) -> None:
    noted(tmp_path, range(1, 30))
    path = draw_curves(tmp_path)
    assert path == tmp_path / CURVES
    assert size(path) == (1400, 520)


def test_curves_of_an_inner_stage_are_a_picture_of_two_panels(tmp_path: Path) -> None:
    journal = Journal(tmp_path, resume_from=None)
    for step in range(1, 9):
        journal.write(step, "step", {"loss": 1.0, "loss_planner": 1.0})
        journal.write(step, "dev", {"loss": 0.9, "cosine_planner": 0.1, "cosine_planner_constant": 0.05})
    journal.close()
    path = draw_curves(tmp_path)
    assert path is not None
    assert size(path) == (1400, 520)


def test_a_loss_without_dev_figures_is_one_panel(tmp_path: Path) -> None:
    noted(tmp_path, range(1, 2))
    path = draw_curves(tmp_path)
    assert path is not None
    assert size(path) == (700, 520)


def test_a_log_without_a_loss_draws_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path, resume_from=None)
    journal.write(0, "start", {"steps": 3})
    journal.close()
    assert draw_curves(tmp_path) is None
    assert "holds no loss to draw" in caplog.text


def test_the_running_mean_is_centred() -> None:
    points = [(step, float(step)) for step in range(100)]
    mean = _running_mean(points)
    assert mean[50] == (50, 50.0)
    assert mean[0] == (0, 1.0)


def test_points_that_are_no_finite_numbers_are_not_drawn() -> None:
    values = (1, "nan", None, math.inf, 2.5)
    lines = [{"step": step, "event": "step", "loss": value} for step, value in enumerate(values)]
    assert _points(lines, "step", "loss") == [(0, 1.0), (4, 2.5)]


def test_journal_and_card_load_no_torch_and_no_matplotlib() -> None:
    script = (
        "import sys, rmas.train.card, rmas.runfolder, rmas.train.journal\n"
        "assert not {'torch', 'matplotlib', 'tensorboardX'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG."""
    head = path.read_bytes()[:24]
    assert head.startswith(PNG)
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
