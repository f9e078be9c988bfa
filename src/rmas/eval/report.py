"""Finished runs side by side: one table a task, paired tests against a reference, and the pictures of the paper.

A run is a folder that `rmas eval` filled. Runs of one task are compared question by question; questions that not all
of them answered are a mistake and are refused.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmas.errors import ConfigError, unknown
from rmas.eval.paired import comparisons_note, holm, mcnemar_test, pair, paired_difference, permutation_test
from rmas.eval.plots import draw_clouds, draw_measure
from rmas.eval.power import smallest_paired
from rmas.eval.record import SUMMARY, Record, read_records
from rmas.eval.series import MEASURES, SETTINGS
from rmas.eval.space import Vectors, clouds
from rmas.eval.summary import by_question
from rmas.eval.tables import Column, make_table, write_table
from rmas.eval.task import find_task, load_samples

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
SPACE_COLUMNS = (
    Column(key="name", title="answers", kind="text"),
    Column(key="distance", title="distance to gold"),
    Column(key="chance", title="chance, up to"),
    Column(key="p", title="p", kind="p"),
    Column(key="own", title="cosine to own gold"),
    Column(key="other", title="to another's gold"),
)
Embed = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run: its folder's name, its summary, its records, and its verdicts by question."""

    name: str
    summary: Mapping[str, Any]
    records: Sequence[Record]
    results: Mapping[str, Sequence[float]]

    @property
    def task(self) -> str:
        return str(self.summary["task"]["name"])


Embedder = Callable[[Run], Embed]


def load_run(folder: Path) -> Run:
    """Read a run's folder. Raises ConfigError where it is none, or not finished."""
    path = folder / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{folder}: no {SUMMARY}, so no finished run. Finish it with rmas eval … --resume.") from None
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{path}: cannot be read ({problem}). Run rmas eval … --resume to write it anew.") from None
    records = list(read_records(folder).values())
    verdicts = {
        name: [float(record.verdict == "correct") for record in group]
        for name, group in sorted(by_question(records).items())
    }
    return Run(name=folder.name, summary=summary, records=records, results=verdicts)


def report(
    folders: Sequence[Path], out: Path, *, reference: str | None = None, embedder: Embedder | None = None
) -> list[Path]:
    """Write the tables (.md, .csv, .tex) and pictures of the runs in `folders` into `out`; -> the files.

    `reference`: the name of the run that the others of its task are compared with; default: the first of each task.
    `embedder`: the reference run -> texts to vectors; where given, answers are also laid among the gold answers.
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
        chosen = [run for run in runs if run.task == task]
        files += _report_task(task, chosen, out, reference)
        if embedder is not None:
            files += _report_space(chosen, out, embedder(_reference(chosen, reference)))
    return files


def rows_of(runs: Sequence[Run], reference: str | None = None) -> list[dict[str, Any]]:
    """One row a run of the same task: its figures, and how it compares with the reference (p Holm-adjusted)."""
    chosen = _reference(runs, reference)
    rows = [_row(run) for run in runs]
    others = [(row, run) for row, run in zip(rows, runs, strict=True) if run is not chosen]
    for row, run in others:
        row |= _compared(run, chosen)
    for (row, _), p in zip(others, holm([row["p"] for row, _ in others]), strict=True):
        row["p"] = p
    return rows


def _report_task(task: str, runs: Sequence[Run], out: Path, reference: str | None) -> list[Path]:
    rows, chosen = rows_of(runs, reference), _reference(runs, reference)
    notes = [f"Compared with {chosen.name}.", comparisons_note(len(rows) - 1)] if len(rows) > 1 else []
    known = {key for row in rows for key in row}
    table = make_table(rows, [column for column in COLUMNS if column.key in known], notes=notes)
    stem = _stem(task)
    files = [out / f"{stem}{suffix}" for suffix in (".md", ".csv", ".tex")]
    for file in files:
        write_table(table, file)
    lines = _lines(rows)
    for against in SETTINGS:
        if len({line[against] for line in lines if line.get(against)}) > 1:
            files += _pictures(stem, lines, out, against)
    return files


def _report_space(runs: Sequence[Run], out: Path, embed: Embed) -> list[Path]:
    """Table and picture of answers among gold answers: what was read as an answer; in the table whole texts too."""
    config = runs[0].summary["config"]
    task = find_task(config["task"])
    golds = {
        sample.id: sample.target.answers[0]
        for sample in load_samples(task, data=config.get("data"), limit=config.get("limit"))
        if sample.target.answers
    }
    ids = sorted(golds.keys() & runs[0].results.keys())
    if not ids:
        raise ConfigError(f"{task.name}: no gold answers in words (programs have tests). Leave --embeddings out.")
    read, whole = {}, {}
    for run in runs:
        firsts = {record.id: record for record in run.records if record.sample == 0}
        read[run.name] = embed([firsts[name].extracted or firsts[name].text for name in ids])
        whole[f"{run.name}, whole text"] = embed([firsts[name].text for name in ids])
    found = clouds(embed([golds[name] for name in ids]), read | whole)
    note = f"{len(ids)} answers. Chance: 95 % of swaps of answers with their gold lie below."
    table = make_table([cloud._asdict() for cloud in found], SPACE_COLUMNS, notes=[note])
    files = [out / f"{_stem(runs[0].task)}_space{suffix}" for suffix in (".md", ".csv", ".tex", ".png")]
    for file in files[:-1]:
        write_table(table, file)
    draw_clouds(files[-1], found[: len(read) + 1], note=f"Grey: gold answers. {note}")
    return files


def _reference(runs: Sequence[Run], name: str | None) -> Run:
    return next((run for run in runs if run.name == name), runs[0])


def _stem(task: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in task)


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
