"""`rmas train`: what is refused before any weight loads, and what the library is called with."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cli_runner import refusal, rmas
from rmas import system as system_module
from rmas.cli import screen
from rmas.configfile import load_config
from rmas.errors import ConfigError
from rmas.runfolder import CONFIG, claim_folder
from rmas.system import System
from rmas.train.config import Cost, OuterConfig, Report, TrainResult
from rmas.train.stages import STAGES, StageConfig

ROW = '{"question": "1 + 1?", "answer": "2"}\n'
each_stage = pytest.mark.parametrize("stage", STAGES)
CONFIGS: Mapping[str, type[StageConfig]] = {name: stage.config for name, stage in STAGES.items()}


class Call(NamedTuple):
    """What the trainer was called with."""

    system: System
    config: StageConfig
    out: Path
    resume: bool


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "train.jsonl"
    path.write_text(ROW.replace("1 +", "1 + 0 +") + ROW, encoding="utf-8")
    return str(path)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The trainers are fakes that note their calls; one shipped system of random weights serves them."""
    made: list[Call] = []

    def train(system: System, config: Any, out: Path, *, resume: bool, report: Report) -> TrainResult:
        made.append(Call(system, config, out, resume))
        report("links", 1, 2, {"loss": 0.5, "tokens_per_second": 1234.0})
        report("links", 2, 2, {"loss": 0.25})
        return TrainResult(2, {"dev_accuracy": 0.5}, config.seed != 13, 7, 7, Cost(0.0, 0.0))

    for stage in STAGES.values():
        monkeypatch.setattr(stage.trains.replace(":", "."), train)
    return made


@pytest.fixture
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that comes only after weights were loaded fails the test."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(system_module, "load_system", load)


def run(stage: str, data: str, out: Path, *more: str) -> Any:
    return rmas("train", stage, "tiny", "--data", data, "--out", str(out), *more, cache=out.parent / "cache")


def refused(stage: str, data: str, out: Path, *more: str) -> str:
    return refusal("train", stage, "tiny", "--data", data, "--out", str(out), *more)


@each_stage
def test_the_resolved_config_is_printed_stored_and_handed_on(
    tmp_path: Path, data: str, calls: list[Call], stage: str
) -> None:
    out = tmp_path / "out"
    result = run(stage, data, out, "--set", "steps=2", "--set", "columns.question=question")
    assert result.exit_code == 0, result.stderr
    (call,) = calls
    assert (type(call.config), call.config.steps, call.config.columns) == (CONFIGS[stage], 2, {"question": "question"})
    assert (call.out, call.resume) == (out, False)
    assert load_config(CONFIGS[stage], out / CONFIG, ()) == call.config
    first = result.stderr.splitlines()[0]
    system = "tiny:solver" if stage in ("agent", "prompt") else "tiny"
    assert first.startswith(f"system={system} data={data} kind=open ")
    assert "steps=2 " in first
    assert "columns={'question': 'question'}" in first


def test_rounds_and_latent_steps_are_the_systems_unless_given(tmp_path: Path, data: str, calls: list[Call]) -> None:
    run("outer", data, tmp_path / "a")
    run("outer", data, tmp_path / "b", "--set", "rounds=1")
    found = [(call.config.rounds, call.config.latent_steps) for call in calls if isinstance(call.config, OuterConfig)]
    assert found == [(2, 4), (1, 4)]


def test_the_config_of_a_run_is_the_config_file_of_the_next(tmp_path: Path, data: str, calls: list[Call]) -> None:
    run("outer", data, tmp_path / "a", "--set", "lr=0.25")
    rmas("train", "outer", "tiny", "--out", str(tmp_path / "b"), "--config", str(tmp_path / "a" / CONFIG))
    assert calls[0].config == calls[1].config


def test_progress_has_loss_and_speed_and_the_end_says_how_to_ask(tmp_path: Path, data: str, calls: list[Call]) -> None:
    out = tmp_path / "out"
    result = run("outer", data, out)
    assert "links: 1 of 2, loss 0.5000, 1,234 tokens/s\n" in result.stderr
    assert "links: 2 of 2, loss 0.2500\n" in result.stderr
    assert result.stdout == f'2 steps, dev_accuracy 0.5\n{out} is a bundle: rmas ask {out} "Your question"\n'


def test_a_run_that_is_not_finished_says_how_to_go_on(tmp_path: Path, data: str, calls: list[Call]) -> None:
    result = run("outer", data, tmp_path, "--set", "seed=13", "--set", "dev=0")
    assert result.exit_code == 2  # the data lies in the same folder
    out = tmp_path / "out"
    result = run("outer", data, out, "--set", "seed=13")
    assert result.stdout.endswith(f"Not finished: the same command with --resume goes on in {out}.\n")


def test_other_processes_of_a_launcher_keep_silent(
    tmp_path: Path, data: str, calls: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    result = run("outer", data, tmp_path / "out")
    assert len(calls) == 1
    assert result.stdout == ""
    assert "data=" not in result.stderr
    assert "links" not in result.stderr


def test_an_interruption_says_how_to_go_on(tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> TrainResult:
        raise KeyboardInterrupt

    monkeypatch.setattr("rmas.train.outer.train_outer", interrupted)
    out = tmp_path / "out"
    result = run("outer", data, out)
    assert result.exit_code == 130
    line = f"rmas: interrupted. The same command with --resume goes on in {out}."
    assert result.stderr.splitlines()[-1] == line


def test_resume_goes_on_in_the_same_folder(tmp_path: Path, data: str, calls: list[Call]) -> None:
    out = tmp_path / "out"
    run("outer", data, out)
    (out / "log.jsonl").write_text("")
    result = run("outer", data, out, "--resume", "--set", "minutes=5", "--set", "micro_batch=1")
    assert result.exit_code == 0, result.stderr
    assert calls[1].resume
    now = load_config(OuterConfig, out / CONFIG, ())
    assert (now.minutes, now.micro_batch) == (5, 1)


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_a_missing_data_file_is_refused(tmp_path: Path, stage: str) -> None:
    line = refused(stage, str(tmp_path / "none.jsonl"), tmp_path / "out")
    assert line == f"{tmp_path}/none.jsonl: no such file. Check the path."
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_an_empty_data_file_is_refused(tmp_path: Path, stage: str) -> None:
    (tmp_path / "x.jsonl").write_text("")
    assert "is empty" in refused(stage, str(tmp_path / "x.jsonl"), tmp_path / "out")


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_a_missing_column_is_refused(tmp_path: Path, stage: str) -> None:
    (tmp_path / "x.jsonl").write_text('{"question": "Why?"}\n')
    assert "answer" in refused(stage, str(tmp_path / "x.jsonl"), tmp_path / "out")


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_no_data_is_refused(tmp_path: Path, stage: str) -> None:
    line = refusal("train", stage, "tiny", "--out", str(tmp_path / "out"))
    assert line.startswith("data: none given. Pass --data")


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_an_unknown_key_is_refused(tmp_path: Path, data: str, stage: str) -> None:
    assert refused(stage, data, tmp_path / "out", "--set", "stepz=1").endswith("Did you mean 'steps'?")


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_a_missing_config_file_is_refused(tmp_path: Path, data: str, stage: str) -> None:
    line = refused(stage, data, tmp_path / "out", "--config", str(tmp_path / "none.toml"))
    assert line == f"{tmp_path}/none.toml: no such file. Check the path."


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_an_unknown_system_is_refused(tmp_path: Path, data: str, stage: str) -> None:
    line = refusal("train", stage, "smoll", "--data", data, "--out", str(tmp_path / "out"))
    assert line.startswith("unknown system 'smoll'")


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_a_system_without_links_is_refused(tmp_path: Path, data: str, stage: str) -> None:
    line = refusal("train", stage, "echo", "--data", data, "--out", str(tmp_path / "out"))
    assert line.startswith("echo: solver 'echo' has no links to train.")


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path, data: str, stage: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert refused(stage, data, out) == f"{out}: not empty. Pass --resume to go on, or choose another folder."
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_a_folder_that_is_a_file_is_refused(tmp_path: Path, data: str, stage: str) -> None:
    assert refused(stage, data, Path(data)) == f"{data}: not a folder. Choose another."


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, data: str, stage: str) -> None:
    out = Path(data) / "out"
    assert refused(stage, data, out) == f"{out}: cannot be written (Not a directory). Choose another folder."


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_nothing_to_resume_is_refused(tmp_path: Path, data: str, stage: str) -> None:
    out = tmp_path / "out"
    line = f"{out}: nothing to resume, it holds no config.toml. Begin without --resume."
    assert refused(stage, data, out, "--resume") == line
    assert not out.exists()


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_resume_with_another_config_is_refused(tmp_path: Path, data: str, stage: str) -> None:
    out = tmp_path / "out"
    begun = OuterConfig(data=data, rounds=2, latent_steps=4) if stage == "outer" else CONFIGS[stage](data=data)
    claim_folder(out, begun, resume=False)
    before = (out / CONFIG).read_bytes()
    line = refused(stage, data, out, "--resume", "--set", "seed=1", "--set", "limit=9")
    assert line == (
        f"{out}: limit was not set, now 9; seed was 42, now 1. Resume with the same config, or choose another folder."
    )
    assert (out / CONFIG).read_bytes() == before


@pytest.mark.usefixtures("_no_weights")
@each_stage
def test_resume_of_another_stage_is_refused(tmp_path: Path, data: str, stage: str) -> None:
    for other in CONFIGS.keys() - {stage}:
        out = tmp_path / other
        claim_folder(out, CONFIGS[other](data=data), resume=False)
        line = f"{out}: holds a run of another kind. Resume that, or choose another folder."
        assert refused(stage, data, out, "--resume") == line


def test_refusals_of_settings_load_no_torch(tmp_path: Path) -> None:
    arguments = ["rmas", "train", "outer", "tiny", "--data", "x.jsonl", "--out", str(tmp_path / "out")]
    script = (
        f"import sys\nsys.argv = {arguments!r}\n"
        "from rmas.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 2, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "rmas: x.jsonl: no such file. Check the path."


def test_a_folder_can_be_claimed_twice_until_it_is_begun(tmp_path: Path) -> None:
    config = OuterConfig(data="x")
    claim_folder(tmp_path, config, resume=False)
    (tmp_path / "config.toml.99.partial").write_text("half")
    claim_folder(tmp_path, config, resume=False)
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(ConfigError, match="not empty"):
        claim_folder(tmp_path, config, resume=False)


def test_a_config_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = OuterConfig(data="x")
    claim_folder(tmp_path, config, resume=False)
    before = (tmp_path / CONFIG).read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigError, match=r"cannot be written \(No space left on device\)"):
        claim_folder(tmp_path, OuterConfig(data="x", minutes=1.0), resume=True, free=("minutes",))
    assert (tmp_path / CONFIG).read_bytes() == before


def test_lines_of_a_long_stage_are_few_and_the_last_is_among_them(capsys: pytest.CaptureFixture[str]) -> None:
    with screen.training_progress() as report:
        for step in range(1, 1001):
            report("outer links", step, 1000, {"loss": 1.0})
    lines = capsys.readouterr().err.splitlines()
    assert 20 <= len(lines) <= 22
    assert lines[0] == "outer links: 1 of 1000, loss 1.0000"
    assert lines[1].endswith("loss 1.0000, 0 s left")
    assert lines[-1] == "outer links: 1000 of 1000, loss 1.0000"


def test_bars_of_a_terminal_show_loss_and_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    with screen.training_progress() as report:
        report("outer links", 3, 10, {"loss": 0.5, "tokens_per_second": 2500.0})
    assert "3 of 10, loss 0.5000, 2,500 tokens/s" in capsys.readouterr().err
