"""Reports: what the tables say is what the records say, and runs are compared on the same questions only."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from eval_zoo import SUM_TASK as TASK
from rmas.engine import Trace, Turn
from rmas.errors import ConfigError
from rmas.eval.config import EvalConfig
from rmas.eval.paired import mcnemar
from rmas.eval.report import load_run, report, rows_of
from rmas.eval.run import evaluate_into
from rmas.eval.task import Sample, Target, Task
from rmas.prompt import Question
from rmas.solver import Answer

SUMS = [Sample(id=f"s{n}", question=Question(text=f"{n}"), target=Target(answers=(str(n),))) for n in range(40)]


class Knows:
    """Right on the first numbers only."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def solve(self, questions: Sequence[Question]) -> list[Answer]:
        turn = Turn(round=1, role="solver", verb="speak", tokens_in=5, latent_steps=2, tokens_out=3, seconds=0.1)
        said = [q.text if int(q.text) < self.limit else "-1" for q in questions]
        return [Answer(samples=(text,), trace=Trace(turns=(turn,)), finishes=("eos",)) for text in said]


def finished(folder: Path, name: str, limit: int, *, samples: Sequence[Sample] = SUMS, **changes: object) -> Path:
    out = folder / name
    out.mkdir()
    settings = {"task": "sums", "rounds": 3, "latent_steps": 4, **changes}
    evaluate_into(out, Knows(limit), TASK, EvalConfig(**settings), samples=samples, facts={})  # type: ignore[arg-type]
    return out


def test_a_row_holds_the_figures_of_its_run_and_the_paired_test(tmp_path: Path) -> None:
    runs = [load_run(finished(tmp_path, name, limit)) for name, limit in (("a", 30), ("b", 20), ("c", 30))]
    first, second, third = rows_of(runs)
    assert (first["accuracy"], second["accuracy"], first["questions"]) == (0.75, 0.5, 40)
    assert "p" not in first
    assert second["difference"] == pytest.approx(-0.25)
    assert second["p"] == pytest.approx(2 * mcnemar(0, 10))  # Holm: the smaller of two
    assert third["p"] == 1.0


def test_the_reference_is_the_run_that_was_named(tmp_path: Path) -> None:
    runs = [load_run(finished(tmp_path, name, limit)) for name, limit in (("a", 30), ("b", 20))]
    first, second = rows_of(runs, "b")
    assert first["difference"] == pytest.approx(0.25)
    assert "p" not in second


def test_tables_come_in_three_formats_and_pictures_where_a_setting_varies(tmp_path: Path) -> None:
    folders = [finished(tmp_path, f"r{r}", 10 * r, rounds=r) for r in (1, 2, 3)]
    files = report(folders, tmp_path / "out")
    names = {file.name for file in files}
    assert {"sums.md", "sums.csv", "sums.tex", "sums_accuracy_by_rounds.png"} <= names
    assert not any("latent_steps.png" in name for name in names)
    assert all(file.stat().st_size > 0 for file in files)
    with (tmp_path / "out" / "sums.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["accuracy"]) for row in rows] == [0.25, 0.5, 0.75]
    assert "Holm" in (tmp_path / "out" / "sums.md").read_text()


def test_runs_of_several_tasks_have_a_table_each(tmp_path: Path) -> None:
    first = finished(tmp_path, "a", 30)
    other = tmp_path / "b"
    other.mkdir()
    second = Task(**{**vars(TASK), "name": "other sums"})
    evaluate_into(other, Knows(3), second, EvalConfig(task="other sums"), samples=SUMS, facts={})
    names = [file.name for file in report([first, other], tmp_path / "out")]
    assert names == ["sums.md", "sums.csv", "sums.tex", "other_sums.md", "other_sums.csv", "other_sums.tex"]


def test_runs_of_unequal_questions_are_refused(tmp_path: Path) -> None:
    folders = [finished(tmp_path, "a", 30), finished(tmp_path, "b", 30, samples=SUMS[:20])]
    with pytest.raises(ConfigError, match="unequal questions: b lacks"):
        report(folders, tmp_path / "out")


def test_a_folder_that_holds_no_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no summary.json, so no finished run\. Finish it with rmas eval"):
        report([tmp_path], tmp_path / "out")


def test_an_unknown_reference_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown reference run 'aa' .*Did you mean 'a'"):
        report([finished(tmp_path, "a", 30)], tmp_path / "out", reference="aa")


def test_two_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    folder = finished(tmp_path, "a", 30)
    with pytest.raises(ConfigError, match="two runs have this name"):
        report([folder, folder], tmp_path / "out")
