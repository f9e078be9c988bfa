"""Finished runs side by side: one table a task, paired tests against a reference, and the pictures of the paper.

A run is a folder that `rmas eval` filled. Runs of one task are compared question by question; questions that not all
of them answered are a mistake and are refused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmas.errors import ConfigError, unknown
from rmas.eval.paired import comparisons_note, holm, mcnemar_test, pair, paired_difference, permutation_test
from rmas.eval.plots import draw_measure
from rmas.eval.power import smallest_paired
from rmas.eval.record import SUMMARY, read_records
from rmas.eval.series import MEASURES, SETTINGS
from rmas.eval.summary import by_question
from rmas.eval.tables import Column, make_table, write_table

_BARS = "Bars are 95 % intervals."
COLUMNS = (
    Column(key="name", title="run", kind="text"),
    Column(key="solver", title="solver", kind="text"),
    Column(key="control", title="control", kind="text"),
    Column(key="rounds", title="R", kind="count"),
    Column(key="latent_steps", title="M", kind="count"),
    Column(key="questions", title="n", kind="count"),
    Column(key="accuracy", title="accuracy, %", kind="percent", error="accuracy_error"),
    Column(key="lenient", title="release's reading, %", kind="percent", error="lenient_error"),
    Column(key="unparsed", title="unparsed, %", kind="percent"),
    Column(key="truncated", title="cut off, %", kind="percent"),
    Column(key="difference", title="against the reference, points", kind="percent", error="difference_error"),
    Column(key="p", title="p", kind="p"),
    Column(key="prompt_tokens", title="prompt tokens"),
    Column(key="sequential_steps", title="sequential steps"),
    Column(key="seconds", title="s a question"),
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run: its folder's name, its summary, and its verdicts by question."""

    name: str
    summary: Mapping[str, Any]
    results: Mapping[str, Sequence[float]]

    @property
    def task(self) -> str:
        return str(self.summary["task"]["name"])


def load_run(folder: Path) -> Run:
    """Read a run's folder. Raises ConfigError where it is none, or not finished."""
    path = folder / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{folder}: no {SUMMARY}, so no finished run. Finish it with rmas eval … --resume.") from None
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{path}: cannot be read ({problem}). Run rmas eval … --resume to write it anew.") from None
    verdicts = {
        name: [float(record.verdict == "correct") for record in group]
        for name, group in sorted(by_question(list(read_records(folder).values())).items())
    }
    return Run(name=folder.name, summary=summary, results=verdicts)


def report(folders: Sequence[Path], out: Path, *, reference: str | None = None) -> list[Path]:
    """Write the tables (.md, .csv, .tex) and pictures of the runs in `folders` into `out`; -> the files.

    `reference`: the name of the run that the others of its task are compared with; default: the first of each task.
    """
    runs = [load_run(folder) for folder in folders]
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{name}: two runs have this name. Rename one of the folders.")
    if reference is not None and reference not in names:
        raise ConfigError(unknown("reference run", reference, names))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise ConfigError(f"{out}: cannot be written ({problem.strerror}). Choose another folder.") from None
    files: list[Path] = []
    for task in dict.fromkeys(run.task for run in runs):
        files += _report_task(task, [run for run in runs if run.task == task], out, reference)
    return files


def rows_of(runs: Sequence[Run], reference: str | None = None) -> list[dict[str, Any]]:
    """One row a run of the same task: its figures, and how it compares with the reference (p Holm-adjusted)."""
    chosen = next((run for run in runs if run.name == reference), runs[0])
    rows = [_row(run) for run in runs]
    others = [(row, run) for row, run in zip(rows, runs, strict=True) if run is not chosen]
    for row, run in others:
        row |= _compared(run, chosen)
    for (row, _), p in zip(others, holm([row["p"] for row, _ in others]), strict=True):
        row["p"] = p
    return rows


def _report_task(task: str, runs: Sequence[Run], out: Path, reference: str | None) -> list[Path]:
    rows = rows_of(runs, reference)
    chosen = next((run for run in runs if run.name == reference), runs[0])
    notes = [f"Compared with {chosen.name}.", comparisons_note(len(rows) - 1)] if len(rows) > 1 else []
    known = {key for row in rows for key in row}
    table = make_table(rows, [column for column in COLUMNS if column.key in known], notes=notes)
    stem = "".join(letter if letter.isalnum() else "_" for letter in task)
    files = [out / f"{stem}{suffix}" for suffix in (".md", ".csv", ".tex")]
    for file in files:
        write_table(table, file)
    lines = _lines(rows)
    for against in SETTINGS:
        if len({line[against] for line in lines if line.get(against)}) > 1:
            files += _pictures(stem, lines, out, against)
    return files


def _pictures(stem: str, rows: Sequence[Mapping[str, Any]], out: Path, against: str) -> list[Path]:
    files = []
    for measure in MEASURES:
        if any(row.get(measure) is not None for row in rows):
            file = out / f"{stem}_{measure}_by_{against}.png"
            draw_measure(file, rows, measure=measure, against=against, note=_BARS if measure == "accuracy" else "")
            files.append(file)
    return files


def _lines(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows for pictures: a line is a solver on a system under a control; a single agent has no rounds and no steps."""
    lines = []
    for row in rows:
        name = row["solver"] if row["control"] == "none" else f"{row['solver']}, {row['control']}"
        settings = {} if row["solver"] in ("single", "echo") else {key: row[key] for key in SETTINGS}
        lines.append({key: value for key, value in row.items() if key not in SETTINGS} | {"name": name} | settings)
    return lines


def _row(run: Run) -> dict[str, Any]:
    result, config = run.summary["result"], run.summary["config"]
    seconds = [session["seconds"] for session in run.summary["sessions"]]
    accuracy, lenient = result["accuracy"], result["lenient"]
    return {
        "name": run.name,
        "solver": config["solver"],
        "control": config["control"],
        "rounds": config.get("rounds"),
        "latent_steps": config.get("latent_steps"),
        "questions": result["questions"],
        "accuracy": accuracy["mean"],
        "accuracy_error": accuracy["error"],
        "accuracy_low": accuracy["low"],
        "accuracy_high": accuracy["high"],
        "lenient": lenient["mean"],
        "lenient_error": lenient["error"],
        "unparsed": result["unparsed"],
        "truncated": result["truncated"],
        "seconds": sum(seconds) / result["questions"],
        **result["tokens"],
    }


def _compared(run: Run, reference: Run) -> dict[str, Any]:
    """The run less the reference, with the exact McNemar test, or with several samples the permutation test."""
    pairs = pair(run.results, reference.results, names=(run.name, reference.name))
    difference = paired_difference(pairs)
    is_single = all(len(samples) == 1 for results in pairs for samples in results)
    p = mcnemar_test(pairs).p if is_single else permutation_test(pairs, generator=np.random.default_rng(0)).p
    return {
        "difference": difference.mean,
        "difference_error": difference.error,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "p": p,
        "smallest_difference": smallest_paired(pairs),
    }
