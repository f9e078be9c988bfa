"""A finished run, read from its folder, and runs of one task as rows of settings, figures and paired tests.

The surprising thing: a setting that a run's solver could not heed is None, whatever the configuration says. A single
agent has no rounds, text has no latent steps, greedy decoding has no top-p; so rows differ only where runs do.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rmas.errors import ConfigError
from rmas.eval.paired import holm, mcnemar_test, pair, paired_difference, permutation_test
from rmas.eval.power import smallest_paired
from rmas.eval.record import SAMPLES, SUMMARY, Record, read_records
from rmas.eval.series import SETTINGS, TRAITS, short_paths
from rmas.eval.statistics import estimate
from rmas.eval.summary import by_question, majority

_PATHS = ("system", "answerer")  # settings that may be paths
Results = Mapping[str, Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run: its folder and that one's name, its summary, that as a row, its records, verdicts by question."""

    folder: Path
    name: str
    task: str
    summary: Mapping[str, Any]
    row: Mapping[str, Any]
    groups: Mapping[str, Sequence[Record]]
    results: Results

    @property
    def system(self) -> str:
        """What it ran, as `load_spec` takes it. A suite names what it trained from its own folder, around the run's."""
        named = str(self.summary["config"]["system"])
        around = [parent / named for parent in self.folder.resolve().parents if "/" in named]
        return str(next((place for place in around if (place / "system.toml").is_file()), named))


def load_run(folder: Path) -> Run:
    """Read a run's folder. Raises ConfigError where it is none, or not finished."""
    path = folder / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        row = {"name": folder.resolve().name, **_row(summary)}
        task, num_samples = str(summary["task"]["name"]), summary["result"]["samples"]
    except FileNotFoundError:
        raise ConfigError(f"{folder}: no {SUMMARY}, so no finished run. Finish it with rmas eval … --resume.") from None
    except (OSError, ValueError) as problem:
        raise ConfigError(f"{path}: cannot be read ({problem}). Run rmas eval … --resume to write it anew.") from None
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as problem:
        raise ConfigError(
            f"{path}: no run's summary ({problem!r}). Run rmas eval … --resume to write it anew."
        ) from None
    records = list(read_records(folder).values())
    if len(records) != num_samples:
        raise ConfigError(
            f"{folder}: {SAMPLES} has {len(records)} samples, {SUMMARY} is of {num_samples}. Finish the run with rmas "
            "eval … --resume."
        )
    groups = dict(sorted(by_question(records).items()))
    right = sum(record.verdict == "correct" for record in records) / num_samples
    if len(groups) != row["questions"] or abs(right - row["accuracy"]) > 1e-9:
        raise ConfigError(
            f"{folder}: {SAMPLES} has other verdicts than {SUMMARY} is of. Run rmas eval … --resume to write it anew."
        )
    verdicts = {name: [float(record.verdict == "correct") for record in group] for name, group in groups.items()}
    return Run(folder=folder, name=row["name"], task=task, summary=summary, row=row, groups=groups, results=verdicts)


def rows_of(runs: Sequence[Run], reference: str | None = None) -> list[dict[str, Any]]:
    """A row a run of the same task: its settings, its figures, and how it compares with the reference (p by Holm).

    After a run with several samples a question comes the majority of them, in a row of its own, with `votes`.
    """
    chosen = reference_of(runs, reference)
    names = [run.row[key] for run in runs for key in _PATHS if run.row[key]]
    paths = short_paths(names)
    entries = [entry for run in runs for entry in _entries(run)]
    rows = [row | {key: paths.get(row[key]) for key in _PATHS} for row, _ in entries]
    others = [(row, results) for row, (_, results) in zip(rows, entries, strict=True) if results is not chosen.results]
    for run in runs:
        _check_questions(run, chosen)
    for row, results in others:
        row |= _compared(results, chosen.results, names=(row["name"], chosen.name))
    for (row, _), p in zip(others, holm([row["p_unadjusted"] for row, _ in others]), strict=True):
        row["p"] = p
    return rows


def reference_of(runs: Sequence[Run], name: str | None) -> Run:
    return next((run for run in runs if run.name == name), runs[0])


def _row(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Settings and figures of a summary; a share's error and interval are under its key with _error, _low and _high."""
    result, tokens = summary["result"], summary["result"]["tokens"]
    shares = {key: result[key] for key in ("accuracy", "lenient", "f1", "judged") if key in result}
    shares |= {f"pass@{k}": found for k, found in result.get("pass_at", {}).items()}
    return {
        **_settings(summary),
        **{name: value for key, found in shares.items() for name, value in _flat(key, found).items()},
        **{key: result[key] for key in ("questions", "unparsed", "truncated")},
        "bootstrap_low": result["bootstrap"]["low"],
        "bootstrap_high": result["bootstrap"]["high"],
        "smallest_unpaired": result["smallest_difference"],
        **{key: tokens[key] for key in ("prompt_tokens", "completion_tokens", "sequential_steps")},
        "latent_thoughts": tokens["latent_steps"],
        "seconds": sum(session["seconds"] for session in summary["sessions"]) / result["questions"],
    }


def _settings(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the run was told and ran on; None: left open, or nothing that its solver could heed."""
    config, facts = summary["config"], summary["system"]
    found = {key: config.get(key) for key in (*TRAITS, *SETTINGS)}
    names, form = (facts.get("tools", {}).get(key) for key in ("names", "format"))
    found["tools"] = ", ".join([*names, *([form] if form == "native" else [])]) if names else None
    found["prompts"] = facts.get("prompts")
    found["links"] = facts.get("digest", "")[:6] or None
    found["dtype"] = ", ".join(sorted(set(facts.get("dtype", {}).values()))).replace("torch.", "") or None
    found["device"] = ", ".join(sorted({session["device"] for session in summary["sessions"]}))
    lacked = {*facts.get("lacks", ())}
    if config["control"] == "alone":
        lacked |= {*SETTINGS, "message_tokens", "links"}
    if not config.get("temperature"):
        lacked |= {"top_p", "top_k"} | ({"seed"} if config["control"] in ("none", "alone") else set())
    return {key: None if key in lacked else value for key, value in found.items()}


def _flat(key: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found["mean"], **{f"{key}_{part}": found[part] for part in ("error", "low", "high")}}


def _entries(run: Run) -> list[tuple[dict[str, Any], Results]]:
    """Row and results of the run, and of the majority of its samples where they vote."""
    entries: list[tuple[dict[str, Any], Results]] = [(dict(run.row), run.results)]
    votes = {name: majority(group) for name, group in run.groups.items()}
    num_samples = max(map(len, run.groups.values()))
    if num_samples > 1 and None not in votes.values():
        results = {name: [float(bool(is_right))] for name, is_right in votes.items()}
        row = {key: run.row[key] for key in (*TRAITS, *SETTINGS, "questions", "truncated")}
        row |= {"name": f"{run.name}, majority of {num_samples}", "votes": num_samples}
        row |= _flat("accuracy", estimate(list(results.values()))._asdict())
        silent = [all(record.extracted is None for record in group) for group in run.groups.values()]
        entries.append((row | {"unparsed": sum(silent) / len(silent)}, results))
    return entries


def _check_questions(run: Run, reference: Run) -> None:
    """Raises ConfigError where a question of both runs is not the same one."""
    for name in run.groups.keys() & reference.groups.keys():
        if run.groups[name][0].question != reference.groups[name][0].question:
            raise ConfigError(
                f"unequal questions: {name} is another one, or has another answer, in {run.name} than in "
                f"{reference.name}. Compare runs on the same data."
            )


def _compared(results: Results, reference: Results, *, names: tuple[str, str]) -> dict[str, Any]:
    """The run less the reference, with the exact McNemar test, or with several samples the permutation test."""
    pairs = pair(results, reference, names=names)
    is_single = all(len(samples) == 1 for side in pairs for samples in side)
    p = mcnemar_test(pairs).p if is_single else permutation_test(pairs, generator=np.random.default_rng(0)).p
    return {
        **_flat("difference", paired_difference(pairs)._asdict()),
        "p_unadjusted": p,
        "test": "McNemar's exact test" if is_single else "permutation test",
        "smallest_difference": smallest_paired(pairs),
    }
