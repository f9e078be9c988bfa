"""Finished runs side by side: one table a task, paired tests against a reference, and the pictures of the paper.

A run is a folder that `rmas eval` filled. Runs of one task are compared question by question; questions that not all
of them answered are a mistake and are refused. The surprising thing: a setting is a column only where runs differ in
it. What all have alike stands below the table, and CSV has every setting and every figure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rmas.errors import ConfigError, unknown
from rmas.eval.finished import Run, load_run, reference_of, rows_of
from rmas.eval.paired import comparisons_note
from rmas.eval.panels import draw_clouds
from rmas.eval.plots import draw_measure
from rmas.eval.power import smallest_note
from rmas.eval.series import MEASURES, SETTINGS, TRAITS, lines_of
from rmas.eval.space import Vectors, clouds
from rmas.eval.summary import PASSES
from rmas.eval.tables import Column, make_table, write_table
from rmas.eval.task import find_task, load_samples

_MOST_LINES = 12  # of a picture: two of each colour
_MOST_EMBEDDED = 500  # questions; the dots of more cover each other
_TITLES = {key: trait.title for key, trait in TRAITS.items()} | {key: symbol for key, (_, symbol) in SETTINGS.items()}


def _share(key: str, title: str = "") -> tuple[Column, Column]:
    """A share with its standard error, and for CSV its interval."""
    return (
        Column(key=key, title=title, kind="percent", error=f"{key}_error"),
        Column(key=f"{key}_low", until=f"{key}_high"),
    )


COLUMNS = (
    Column(key="name", title="run", kind="text"),
    *(Column(key=key, title=title, kind="count" if key in SETTINGS else "text") for key, title in _TITLES.items()),
    Column(key="questions"),
    Column(key="accuracy", title="accuracy, %", kind="percent", error="accuracy_error"),
    Column(key="accuracy_low", title="95 % interval", kind="percent", until="accuracy_high"),
    Column(key="bootstrap_low", until="bootstrap_high"),
    *(column for k in PASSES for column in _share(f"pass@{k}", f"pass@{k}, %")),
    *_share("f1", "F1, %"),
    *_share("judged", "judge, %"),
    *_share("lenient", "release's reading, %"),
    Column(key="unparsed", title="unparsed, %", kind="percent"),
    Column(key="truncated", title="cut off, %", kind="percent"),
    Column(
        key="difference",
        title="difference, points",
        kind="percent",
        error="difference_error",
        is_signed=True,
    ),
    Column(key="difference_low", until="difference_high"),
    Column(key="p", title="p", kind="p"),
    Column(key="p_unadjusted"),
    Column(key="test", kind="text"),
    Column(key="smallest_difference"),
    Column(key="smallest_unpaired"),
    Column(key="prompt_tokens", title="prompt tokens"),
    Column(key="latent_thoughts"),
    Column(key="completion_tokens"),
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
Embedder = Callable[[Run], Embed]


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
            files += _report_space(chosen, out, embedder(reference_of(chosen, reference)))
    return files


def _report_task(task: str, runs: Sequence[Run], out: Path, reference: str | None) -> list[Path]:
    rows, stem = rows_of(runs, reference), _stem(task)
    table = make_table(rows, _columns(rows), notes=_notes(rows, reference_of(runs, reference).name))
    files = [out / f"{stem}{suffix}" for suffix in (".md", ".csv", ".tex")]
    for file in files:
        write_table(table, file)
    lines = lines_of([row for row in rows if "votes" not in row])
    for against in SETTINGS:
        if len({line[against] for line in lines} - {None}) > 1:
            files += _pictures(stem, lines, out, against)
    return files


def _report_space(runs: Sequence[Run], out: Path, embed: Embed) -> list[Path]:
    """Table and picture of answers among gold answers: what was read as an answer; in the table whole texts too."""
    config = runs[0].summary["config"]
    task = find_task(config["task"])
    golds = {
        sample.id: sample.target.answers[0]
        for sample in load_samples(
            task, data=config.get("data"), limit=config.get("limit"), without=config.get("without")
        )
        if sample.target.answers and sample.id in runs[0].groups
    }
    if not golds:
        raise ConfigError(f"{task.name}: no gold answers in words (programs have tests). Leave --embeddings out.")
    order = np.random.default_rng(0).permutation(len(golds))[:_MOST_EMBEDDED]
    ids = [sorted(golds)[place] for place in sorted(order)]
    read, whole = {}, {}
    for run in runs:
        firsts = [run.groups[name][0] for name in ids]
        read[run.name] = embed([record.extracted or record.text for record in firsts])
        whole[f"{run.name}, whole text"] = embed([record.text for record in firsts])
    found = clouds(embed([golds[name] for name in ids]), read | whole)
    number = (
        f"{len(ids)} answers" if len(ids) == len(golds) else f"{len(ids)} of {len(golds):,} answers, drawn at random"
    )
    note = f"{number}. Chance: 95 % of swaps of answers with their gold lie below."
    table = make_table([cloud._asdict() for cloud in found], SPACE_COLUMNS, notes=[note])
    files = [out / f"{_stem(runs[0].task)}_space{suffix}" for suffix in (".md", ".csv", ".tex", ".png")]
    for file in files[:-1]:
        write_table(table, file)
    draw_clouds(files[-1], found[: len(read) + 1], note=f"Grey: gold answers. {note}")
    return files


def _stem(task: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in task)


def _pictures(stem: str, rows: Sequence[Mapping[str, Any]], out: Path, against: str) -> list[Path]:
    """None where there are more lines than anybody could tell apart."""
    if len({row["name"] for row in rows}) > _MOST_LINES:
        return []
    unparsed, truncated = (f"{100 * max(row[key] for row in rows):.1f} %" for key in ("unparsed", "truncated"))
    note = (
        f"n = {rows[0]['questions']:,}. Bars: 95 % intervals. Unparsed: up to {unparsed}. Cut off: up to {truncated}."
    )
    files = []
    for measure in MEASURES:
        if any(row.get(measure) is not None for row in rows):
            file = out / f"{stem}_{measure}_by_{against}.png"
            draw_measure(file, rows, measure=measure, against=against, note=note if measure == "accuracy" else "")
            files.append(file)
    return files


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Those that some row has. Settings that do not differ, and all k but the largest that all allow, are for CSV."""
    known = {key for row in rows for key in row}
    passes = [{k for k in PASSES if f"pass@{k}" in row} for row in rows if "pass@1" in row]
    printed = f"pass@{max(set.intersection(*passes))}" if passes else ""
    hidden = {f"pass@{k}" for k in PASSES} - {printed} | {key for key in _TITLES if len(_values(rows, key)) < 2}
    return [replace(column, title="") if column.key in hidden else column for column in COLUMNS if column.key in known]


def _values(rows: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    """What the rows that have it have, each once."""
    return list(dict.fromkeys(row[key] for row in rows if row[key] is not None))


def _notes(rows: Sequence[Mapping[str, Any]], reference: str) -> Iterator[str]:
    """What stands below the table: settings that do not differ, how rows were compared, what could have been seen."""
    first, compared = rows[0], [row for row in rows if "p" in row]
    alike = [f"{title} {values[0]}" for key, title in _TITLES.items() if len(values := _values(rows, key)) == 1]
    yield f"{first['questions']:,} questions. ±: standard error over questions. 95 % interval: Wilson's."
    yield f"Settings that do not differ: {', '.join(alike)}."
    if not compared:
        yield smallest_note([first["smallest_unpaired"]], "a run on other questions")
        return
    yield f"Compared with {reference}. p: {' or '.join(sorted({row['test'] for row in compared}))}."
    yield comparisons_note(len(compared))
    yield smallest_note([row["smallest_difference"] for row in compared], reference)
