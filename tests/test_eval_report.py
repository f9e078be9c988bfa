"""Reports: what the tables say is what the records say, and runs are compared on the same questions only."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_runner import refusal
from eval_zoo import SUM_TASK as TASK
from rmas.engine import Trace, Turn
from rmas.errors import ConfigError
from rmas.eval.config import EvalConfig
from rmas.eval.finished import load_run, rows_of
from rmas.eval.paired import mcnemar
from rmas.eval.power import smallest_note
from rmas.eval.record import check_origin, read_sessions
from rmas.eval.report import report
from rmas.eval.run import evaluate_into
from rmas.eval.space import Vectors
from rmas.eval.statistics import wilson
from rmas.eval.task import Sample, Target, Task, find_task, load_samples
from rmas.prompt import Question
from rmas.solver import Answer
from rmas.solvers import SOLVERS

SUMS = [Sample(id=f"s{n}", question=Question(text=f"{n}"), target=Target(answers=(str(n),))) for n in range(40)]


class Knows:
    """Right on the first numbers only, and there in all samples but the last of several."""

    def __init__(self, known: int, samples: int) -> None:
        self.known, self.samples = known, samples

    def solve(self, questions: Sequence[Question]) -> list[Answer]:
        return [self.answer(question.text) for question in questions]

    def answer(self, text: str) -> Answer:
        turn = Turn(round=1, role="solver", verb="speak", tokens_in=5, latent_steps=2, tokens_out=3, seconds=0.1)
        num_right = max(1, self.samples - 1) if int(text) < self.known else 0
        said = (text,) * num_right + ("-1",) * (self.samples - num_right)
        return Answer(samples=said, trace=Trace(turns=(turn,)), finishes=("eos",) * self.samples)


def finished(
    folder: Path,
    name: str,
    known: int,
    *,
    samples: Sequence[Sample] = SUMS,
    task: Task = TASK,
    times: int = 1,
    **changes: Any,
) -> Path:
    out = folder / name
    out.mkdir()
    settings = {"task": task.name, "rounds": 3, "latent_steps": 4, "temperature": 0.5 if times > 1 else 0.0, **changes}
    config = EvalConfig(samples=times, **settings)
    facts = {"lacks": SOLVERS[config.solver].lacks}
    evaluate_into(out, Knows(known, times), task, config, samples=samples, facts=facts)
    return out


def csv_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_what_a_suite_trained_is_found_around_its_run_from_anywhere(tmp_path: Path) -> None:
    bundle = tmp_path / "trained" / "ours"
    (tmp_path / "runs" / "sums").mkdir(parents=True)
    folder = finished(tmp_path / "runs" / "sums", "ours", 3, system="trained/ours")
    assert load_run(folder).system == "trained/ours"  # not there: as it was named
    bundle.mkdir(parents=True)
    (bundle / "system.toml").touch()
    assert load_run(folder).system == str(bundle)
    (tmp_path / "runs" / "system.toml").touch()
    assert load_run(finished(tmp_path, "other", 3, system="runs")).system == "runs"  # a name, no path


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


def test_more_lines_than_can_be_told_apart_are_not_drawn(tmp_path: Path) -> None:
    folders = [finished(tmp_path, f"t{i}", 10, rounds=1 + i % 2, temperature=0.1 * i) for i in range(13)]
    kept = {file.name for file in report(folders[:12], tmp_path / "twelve")}
    assert "sums_accuracy_by_rounds.png" in kept
    assert kept - {file.name for file in report(folders, tmp_path / "out")} == {
        name for name in kept if name.endswith(".png")
    }


def test_tables_come_in_three_formats_and_pictures_where_a_setting_varies(tmp_path: Path) -> None:
    folders = [finished(tmp_path, f"r{r}", 10 * r, rounds=r) for r in (1, 2, 3)]
    files = report(folders, tmp_path / "out")
    names = {file.name for file in files}
    assert {"sums.md", "sums.csv", "sums.tex", "sums_accuracy_by_rounds.png"} <= names
    assert not any("latent_steps.png" in name for name in names)
    assert all(file.stat().st_size > 0 for file in files)
    rows = csv_of(tmp_path / "out" / "sums.csv")
    assert [float(row["accuracy"]) for row in rows] == [0.25, 0.5, 0.75]
    assert "Holm" in (tmp_path / "out" / "sums.md").read_text()


def test_runs_of_several_tasks_have_a_table_each(tmp_path: Path) -> None:
    first = finished(tmp_path, "a", 30)
    other = tmp_path / "b"
    other.mkdir()
    second = Task(**{**vars(TASK), "name": "other sums"})
    evaluate_into(other, Knows(3, 1), second, EvalConfig(task="other sums"), samples=SUMS, facts={})
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


def test_latent_steps_of_a_row_are_the_setting_not_what_was_rolled_out(tmp_path: Path) -> None:
    (row,) = rows_of([load_run(finished(tmp_path, "a", 30))])
    assert (row["latent_steps"], row["latent_thoughts"]) == (4, 2)


def test_csv_holds_intervals_and_what_could_have_been_seen(tmp_path: Path) -> None:
    report([finished(tmp_path, name, limit) for name, limit in (("a", 30), ("b", 20))], tmp_path / "out")
    first, second = csv_of(tmp_path / "out" / "sums.csv")
    assert (float(first["accuracy_low"]), float(first["accuracy_high"])) == pytest.approx(wilson(30, 40))
    assert float(first["bootstrap_low"]) < 0.75 < float(first["bootstrap_high"])
    assert float(second["difference_low"]) < -0.25 < float(second["difference_high"])
    assert first["difference_low"] == first["smallest_difference"] == ""
    assert float(second["p_unadjusted"]) == mcnemar(0, 10)
    assert second["test"] == "McNemar's exact test"
    text = (tmp_path / "out" / "sums.md").read_text(encoding="utf-8")
    assert f"Against a differences of {100 * float(second['smallest_difference']):.1f} points would be seen" in text
    assert "| 95 % interval |" in text
    assert "bootstrap" not in text


def test_below_one_run_alone_stands_what_it_could_tell_from_other_questions(tmp_path: Path) -> None:
    report([finished(tmp_path, "a", 30)], tmp_path / "out")
    (row,) = csv_of(tmp_path / "out" / "sums.csv")
    expected = f"a run on other questions differences of {100 * float(row['smallest_unpaired']):.1f} points"
    assert expected in (tmp_path / "out" / "sums.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("smallest", "told"),
    [([0.1], "of 10.0 points"), ([0.2, math.nan, 0.1], "of 10.0 to 20.0 points"), ([math.nan, None], "too few")],
)
def test_what_could_have_been_seen_is_one_line(smallest: list[float | None], told: str) -> None:
    line = smallest_note(smallest, "a")
    assert told in line
    assert line.startswith("Against a ")


def test_settings_are_columns_where_runs_differ_and_a_note_where_they_do_not(tmp_path: Path) -> None:
    folders = [finished(tmp_path, f"b{size}", 30, batch_size=size) for size in (8, 16)]
    report([*folders, finished(tmp_path, "s", 30, solver="single")], tmp_path / "out")
    text = (tmp_path / "out" / "sums.md").read_text(encoding="utf-8")
    header = [cell.strip() for cell in text.splitlines()[0].split("|")]
    assert header[1:5] == ["run", "solver", "batch size", "accuracy, %"]
    assert "R 3, M 4." in text
    assert [row["rounds"] for row in csv_of(tmp_path / "out" / "sums.csv")] == ["3", "3", ""]


@pytest.mark.parametrize(
    ("solver", "control", "lacks"),
    [
        ("recursive", "none", {"message_tokens"}),
        ("recursive", "alone", {"message_tokens", "rounds", "latent_steps"}),
        ("text", "none", {"latent_steps"}),
        ("single", "none", {"message_tokens", "rounds", "latent_steps"}),
    ],
)
def test_a_setting_that_a_solver_cannot_heed_is_none_of_its_row(
    tmp_path: Path, solver: str, control: str, lacks: set[str]
) -> None:
    (row,) = rows_of([load_run(finished(tmp_path, "a", 30, solver=solver, control=control, message_tokens=8))])
    assert {key for key in ("rounds", "latent_steps", "message_tokens") if row[key] is None} == lacks
    assert row["top_p"] is None  # greedy
    assert row["samples"] == 1


def test_the_majority_of_samples_is_a_row_that_is_compared_like_a_run(tmp_path: Path) -> None:
    runs = [load_run(finished(tmp_path, name, limit, times=3)) for name, limit in (("a", 30), ("b", 20))]
    first, vote, second, other = rows_of(runs)
    assert [row["name"] for row in (first, vote, second, other)] == ["a", "a, majority of 3", "b", "b, majority of 3"]
    assert (first["accuracy"], vote["accuracy"]) == pytest.approx((0.75 * 2 / 3, 0.75))
    assert "p" not in first
    assert vote["difference"] == pytest.approx(0.25)
    assert other["difference"] == pytest.approx(0)
    assert vote["test"] == "permutation test"
    assert (vote["unparsed"], vote["truncated"]) == (0, 0)
    single = load_run(finished(tmp_path, "c", 20))
    *_, vote = rows_of([single, runs[0]])
    assert vote["test"] == "McNemar's exact test"
    assert vote["p_unadjusted"] == mcnemar(10, 0)


def test_pass_at_the_largest_common_k_is_printed_and_csv_has_all(tmp_path: Path) -> None:
    folders = [finished(tmp_path, "a", 30, times=2), finished(tmp_path, "b", 30, times=5)]
    report([*folders, finished(tmp_path, "c", 30)], tmp_path / "out")
    header, *_ = (tmp_path / "out" / "sums.md").read_text(encoding="utf-8").splitlines()
    assert "pass@2, %" in header
    assert "pass@5" not in header
    rows = {row["name"]: row for row in csv_of(tmp_path / "out" / "sums.csv")}
    assert float(rows["b"]["pass@5"]) == 0.75
    assert rows["a"]["pass@5"] == rows["c"]["pass@2"] == rows["a, majority of 2"]["pass@2"] == ""
    assert float(rows["a"]["pass@2_low"]) < float(rows["a"]["pass@2"]) < float(rows["a"]["pass@2_high"])


def test_f1_is_a_column_of_short_answers_only(tmp_path: Path) -> None:
    task = replace(TASK, name="short sums", format="short")
    report([finished(tmp_path, "a", 30), finished(tmp_path, "b", 30, task=task)], tmp_path / "out")
    assert "F1, %" in (tmp_path / "out" / "short_sums.md").read_text(encoding="utf-8")
    assert "F1" not in (tmp_path / "out" / "sums.md").read_text(encoding="utf-8")
    (row,) = csv_of(tmp_path / "out" / "short_sums.csv")
    assert {"f1", "f1_error", "f1_low", "f1_high"} <= row.keys()


def test_runs_that_differ_in_anything_have_pictures(tmp_path: Path) -> None:
    folders = [
        finished(tmp_path, f"{solver}{n}r{rounds}", 10 * rounds + n, solver=solver, rounds=rounds, system=f"runs/{n}")
        for solver in ("recursive", "text")
        for n in (1, 2)
        for rounds in (1, 2)
    ]
    folders += [
        finished(tmp_path, "single", 9, solver="single"),
        finished(tmp_path, "ten", 9, solver="single", times=9),
    ]
    folders += [finished(tmp_path, "repeated", 9, solver="single")]
    names = {file.name for file in report(folders, tmp_path / "out")}
    assert "sums_accuracy_by_rounds.png" in names


def test_runs_with_other_questions_of_the_same_names_are_refused(tmp_path: Path) -> None:
    others = [replace(sample, target=Target(answers=("7",))) for sample in SUMS]
    folders = [finished(tmp_path, "a", 30), finished(tmp_path, "b", 30, samples=others)]
    with pytest.raises(ConfigError, match="is another one, or has another answer, in b than in a"):
        report(folders, tmp_path / "out")


@pytest.mark.parametrize("text", ["{}", "[]", "null", "7", '{"task": {"name": "x"}, "result": []}', "{", "\ud800"])
def test_a_summary_that_is_none_is_one_line(tmp_path: Path, text: str) -> None:
    folder = finished(tmp_path, "a", 30)
    (folder / "summary.json").write_bytes(text.encode(errors="surrogatepass"))
    line = refusal("report", str(folder), "--out", str(tmp_path / "out"))
    assert "summary.json: " in line
    assert line.endswith("Run rmas eval … --resume to write it anew.")


@pytest.mark.parametrize("key", ["result", "config", "task", "system", "sessions"])
def test_a_summary_that_lacks_a_part_says_which(tmp_path: Path, key: str) -> None:
    folder = finished(tmp_path, "a", 30)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    del summary[key]
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert f"'{key}'" in refusal("report", str(folder), "--out", str(tmp_path / "out"))


@pytest.mark.parametrize("line", ["[]", "null", "7", "{}"])
def test_a_line_that_is_no_record_is_one_line(tmp_path: Path, line: str) -> None:
    folder = finished(tmp_path, "a", 30)
    with (folder / "samples.jsonl").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    assert "samples.jsonl:41: no record" in refusal("report", str(folder), "--out", str(tmp_path / "out"))


def test_samples_that_are_not_those_of_the_summary_are_refused(tmp_path: Path) -> None:
    folder = finished(tmp_path, "a", 30)
    lines = (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "samples.jsonl").write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"samples.jsonl has 39 samples, summary.json is of 40\. Finish the run"):
        load_run(folder)
    turned = [line.replace('"verdict": "correct"', '"verdict": "wrong"') for line in lines]
    (folder / "samples.jsonl").write_text("".join(turned), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"samples.jsonl has other verdicts than summary.json is of"):
        load_run(folder)


@pytest.mark.parametrize("line", ["garbage", "[1]", "7"])
def test_a_session_that_is_none_is_one_line(tmp_path: Path, line: str) -> None:
    folder = finished(tmp_path, "a", 30)
    sessions = folder / "sessions.jsonl"
    sessions.write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"sessions.jsonl:1: no session \(.*\)\. Delete the line"):
        read_sessions(folder)
    (folder / "origin.json").write_text(line, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"origin.json: cannot be read"):
        check_origin(folder, {"links": "x"})


def test_of_many_answers_a_fixed_draw_is_embedded(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    rows = [{"id": f"q{n}", "question": str(n), "answer": f"#### {n}"} for n in range(505)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = find_task("gsm8k")
    samples = load_samples(task, data=str(data), limit=503)
    folder = finished(tmp_path, "a", 400, samples=samples, task=task, data=str(data), limit=503)
    seen: list[Sequence[str]] = []

    def embed(texts: Sequence[str]) -> Vectors:
        seen.append(texts)
        return np.array([[float(text), 1.0] for text in texts])

    report([folder], tmp_path / "out", embedder=lambda run: embed)
    golds = [int(text) for text in seen[2]]
    assert len(golds) == len(set(golds)) == 500
    assert max(golds) < 503
    assert seen[0] == seen[1] == [str(n) if n < 400 else "-1" for n in golds]  # the same questions, in one order
    assert "500 of 503 answers, drawn at random." in (tmp_path / "out" / "gsm8k_space.md").read_text(encoding="utf-8")
