"""`rmas eval`, `rmas grade` and `rmas report` from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli_runner import refusal, rmas
from rmas.eval.judge import Response

ROWS = [
    {"question": "How many legs has a spider?", "answer": "Eight of them.\n#### 8"},
    {"question": "What is 20 + 22?", "answer": "#### 42"},
    {"question": "Say this: the answer is 42.", "answer": "#### 42"},
]


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return str(path)


def evaluated(data: str, out: Path, *more: str, solver: str = "echo") -> dict[str, Any]:
    result = rmas("eval", solver, "--task", "gsm8k", "--data", data, "--out", str(out), "--json", *more)
    assert result.exit_code == 0, result.stderr
    table: dict[str, Any] = json.loads(result.stdout)
    return table


def test_echo_is_right_where_the_question_ends_with_its_answer(tmp_path: Path, data: str) -> None:
    summary = evaluated(data, tmp_path / "out")
    assert summary["result"]["accuracy"]["mean"] == pytest.approx(1 / 3)
    assert summary["task"]["source"] == data
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config.toml",
        "origin.json",
        "samples.jsonl",
        "sessions.jsonl",
        "summary.json",
    }


def test_figures_are_printed_with_their_error(tmp_path: Path, data: str) -> None:
    result = rmas("eval", "echo", "--task", "gsm8k", "--data", data, "--out", str(tmp_path / "out"))
    assert result.exit_code == 0
    assert "33.3" in result.stdout
    assert "3 questions, 3 samples" in result.stdout
    assert "task=gsm8k" in result.stderr


@pytest.mark.parametrize("solver", ["recursive", "text", "single"])
def test_every_solver_runs_on_a_system(tmp_path: Path, data: str, solver: str) -> None:
    more = ("--system", "tiny", "--set", "max_new_tokens=4", "--rounds", "2", "--latent-steps", "2")
    summary = evaluated(data, tmp_path / "out", *more, solver=solver)
    assert summary["config"]["solver"] == solver
    assert len(summary["system"]["digest"]) == 64
    assert set(summary["system"]["device"].values()) == {"cpu"}
    assert set(summary["system"]["dtype"].values()) == {"torch.float64"}
    assert summary["sessions"][0]["device"].endswith(" CPU")
    turns = json.loads((tmp_path / "out" / "samples.jsonl").read_text().splitlines()[0])["turns"]
    assert len(turns) == (1 if solver == "single" else 2 * 3)


def test_a_judge_is_two_settings_and_a_key_that_stands_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    def post(url: str, headers: dict[str, str], body: bytes, seconds: float) -> Response:
        sent.append(headers["Authorization"])
        return Response(200, json.dumps({"choices": [{"message": {"content": "yes"}}]}).encode())

    path, out = tmp_path / "capitals.jsonl", tmp_path / "out"
    path.write_text(json.dumps({"question": "Which capital?", "answer": "Oslo"}) + "\n", encoding="utf-8")
    monkeypatch.setattr("rmas.eval.judge.post", post)
    monkeypatch.setenv("RMAS_JUDGE_KEY", "sk-very-secret")
    more = ("--set", "judge_url=https://judge.example/v1", "--set", "judge_model=some-model")
    result = rmas("eval", "echo", "--task", "bamboogle", "--data", str(path), "--out", str(out), *more)
    assert (result.exit_code, sent) == (0, ["Bearer sk-very-secret"])
    assert "judged" in result.stdout
    written = [file.read_text(encoding="utf-8") for file in out.iterdir()]
    assert not any("sk-very-secret" in text for text in (*written, result.stdout, result.stderr))
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["result"]["judged"]["mean"], summary["result"]["accuracy"]["mean"]) == (1.0, 0.0)
    assert summary["config"]["judge_model"] == "some-model"


def test_what_one_question_cannot_tell_is_said_so(tmp_path: Path, data: str) -> None:
    result = rmas("eval", "echo", "--task", "gsm8k", "--data", data, "--limit", "1", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0
    assert "nan" not in result.stdout
    assert "no difference would be seen" in result.stdout


@pytest.mark.parametrize("control", ["shuffled", "alone"])
def test_a_control_is_one_option(tmp_path: Path, data: str, control: str) -> None:
    more = ("--system", "tiny", "--set", "max_new_tokens=4", "--control", control)
    assert evaluated(data, tmp_path / "out", *more, solver="recursive")["config"]["control"] == control


def test_a_finished_run_is_read_again_with_resume(tmp_path: Path, data: str) -> None:
    first = evaluated(data, tmp_path / "out")
    again = evaluated(data, tmp_path / "out", "--resume")
    assert again["result"] == first["result"]
    assert again["sessions"] == first["sessions"]  # nobody was asked


def test_a_greedy_run_goes_on_in_other_batches_and_asks_only_what_is_missing(tmp_path: Path, data: str) -> None:
    evaluated(data, tmp_path / "out", "--limit", "1")
    grown = evaluated(data, tmp_path / "out", "--resume", "--set", "batch_size=2")
    assert grown["config"]["batch_size"] == 2
    assert grown["result"] == evaluated(data, tmp_path / "whole")["result"]
    control = ("--system", "tiny", "--set", "max_new_tokens=4", "--control", "shuffled")
    evaluated(data, tmp_path / "control", *control, solver="recursive")
    common = ("eval", "recursive", "--task", "gsm8k", "--data", data, "--out", str(tmp_path / "control"), *control)
    assert "batch_size was 16, now 2" in refusal(*common, "--set", "batch_size=2", "--resume")


def test_a_folder_in_use_and_another_config_are_refused(tmp_path: Path, data: str) -> None:
    evaluated(data, tmp_path / "out")
    common = ("eval", "echo", "--task", "gsm8k", "--data", data, "--out", str(tmp_path / "out"))
    assert "not empty. Pass --resume" in refusal(*common)
    assert "seed was 0, now 1" in refusal(*common, "--set", "seed=1", "--resume")
    assert "samples, 2 are asked for: a run may grow, not shrink" in refusal(*common, "--limit", "2", "--resume")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("echo", "--task", "gsm9k"), "unknown task 'gsm9k'"),
        (("echoo", "--task", "gsm8k"), "unknown solver 'echoo'"),
        (("echo",), "task: none given. Pass --task with a task's name"),
        (("recursive", "--task", "gsm8k", "--system", "smoll"), "unknown system 'smoll'"),
        (("single", "--task", "gsm8k", "--system", "echo"), "echo has no agents, which solver single needs"),
        (("echo", "--task", "gsm8k", "--set", "contrl=none"), "unknown key 'contrl'"),
        (("echo", "--task", "gsm8k", "--set", "samples=3"), "samples is 3 and temperature 0"),
        (("echo", "--task", "gsm8k", "--control", "zero"), "unknown control 'zero'"),
        (("echo", "--task", "bamboogle", "--set", "judge_model=m"), "judge_url is not set: a judge needs"),
        (
            ("echo", "--task", "gsm8k", "--set", "judge_model=m", "--set", "judge_url=http://j/v1"),
            "judge_model is m, but a judge is for short answers, and those of gsm8k are of format number",
        ),
        (("echo", "--task", "gsm8k", "--data", "nowhere.jsonl"), "nowhere.jsonl: no such file"),
    ],
)
def test_what_cannot_run_is_one_line(tmp_path: Path, arguments: tuple[str, ...], line: str) -> None:
    assert line in refusal("eval", *arguments, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, data: str) -> None:
    (tmp_path / "file").write_text("")
    line = refusal("eval", "echo", "--task", "gsm8k", "--data", data, "--out", str(tmp_path / "file" / "out"))
    assert "cannot be written" in line


def test_outputs_made_elsewhere_are_graded_under_both_readings(tmp_path: Path) -> None:
    file, out = tmp_path / "rows.jsonl", tmp_path / "graded.jsonl"
    rows = [
        {"output": "So \\boxed{42}.", "target": "42"},
        {"output": "\\boxed{3/5}", "target": "\\frac{3}{4}"},
        {"output": "", "target": "7"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = rmas("grade", "math500", str(file), "--out", str(out))
    table = json.loads(result.stdout)
    assert (table["n"], table["strict"]["correct"], table["strict"]["unparsed"]) == (3, 1, 1)
    assert table["release"]["correct"] == 2  # 3/5 for 3/4
    verdicts = [json.loads(line)["verdict"] for line in out.read_text().splitlines()]
    assert verdicts == ["correct", "wrong", "unparsed"]


def test_outputs_may_name_a_sample_instead_of_a_target(tmp_path: Path, data: str) -> None:
    evaluated(data, tmp_path / "run")
    names = [json.loads(line)["id"] for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"output": "#### 42", "id": name}) + "\n" for name in names))
    table = json.loads(rmas("grade", "gsm8k", str(file), "--data", data).stdout)
    assert table["strict"]["correct"] == 2


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"outptu": "1", "target": "1"}, "rows.jsonl:1: output: unknown field 'output'"),
        ({"output": 1, "target": "1"}, "output is 1, expected a text"),
        ({"output": "1", "target": []}, "expected an answer or a list of accepted ones"),
        ({"output": "1", "target": ["1", "2"]}, "target has 2 answers, but a task of math has one"),
    ],
)
def test_a_row_that_cannot_be_graded_is_one_line(tmp_path: Path, row: dict[str, Any], line: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    assert line in refusal("grade", "math500", str(file))


def test_a_report_of_two_runs_has_a_table_with_a_paired_test(tmp_path: Path, data: str) -> None:
    for name, solver in (("one", "echo"), ("two", "single")):
        more = () if solver == "echo" else ("--system", "tiny", "--set", "max_new_tokens=2")
        evaluated(data, tmp_path / name, *more, solver=solver)
    result = rmas("report", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "report"))
    assert result.exit_code == 0
    assert "| one" in result.stdout
    assert "Compared with one." in result.stdout
    assert (tmp_path / "report" / "gsm8k.tex").exists()


def test_answers_are_laid_among_the_gold_answers(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    rows = [{"question": f"What is {n} + {n}?", "answer": f"#### {2 * n}"} for n in range(9)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    more = ("--system", "tiny", "--set", "max_new_tokens=4", "--latent-steps", "2")
    for rounds in (1, 2):
        evaluated(str(path), tmp_path / f"r{rounds}", *more, "--rounds", str(rounds), solver="recursive")
    folders = [str(tmp_path / f"r{rounds}") for rounds in (1, 2)]
    result = rmas("report", *folders, "--embeddings", "--out", str(tmp_path / "report"))
    assert result.exit_code == 0, result.stderr
    assert "gold, half and half" in result.stdout
    assert "r2, whole text" in result.stdout
    assert (tmp_path / "report" / "gsm8k_space.png").stat().st_size > 0


def test_a_run_without_a_model_has_no_embeddings(tmp_path: Path, data: str) -> None:
    evaluated(data, tmp_path / "one")
    found = refusal("report", str(tmp_path / "one"), "--embeddings", "--out", str(tmp_path / "report"))
    assert found == "one: solver echo has no model, so no embeddings. Set --reference."
