"""What trained links are worth: exact-match accuracy on held-out questions, with the controls that could explain it.

    python -m benchmarks.trained.run benchmarks/trained/CONFIG.toml [--limit N] [--task NAME] [--part I/N]

Every condition answers the same questions, greedily. Each answer is a line in results/CONFIG/TASK.jsonl; an interrupted
run goes on where it stopped, and several processes may each take a part of the batches. The summary has accuracies with
standard errors and exact McNemar tests against `trained`.
"""

import argparse
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import finish
from benchmarks.trained.conditions import Condition, open_conditions, shared_heads
from rmas.engine import Heads
from rmas.eval.paired import mcnemar
from rmas.eval.statistics import standard_error
from rmas.train.config import DataConfig
from rmas.train.data import Example, batches_of, load_examples
from rmas.train.dev import replies

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("config", type=Path)
    parser.add_argument("--limit", type=int, help="questions a task; default: the config's")
    parser.add_argument("--part", default="1/1", help="which batches: 2/3 is every third from the second on")
    parser.add_argument("--task", help="one task alone; the summary then covers the tasks that are done")
    arguments = parser.parse_args()
    config = tomllib.loads(arguments.config.read_text(encoding="utf-8"))
    name = arguments.config.stem
    folder = HERE.parent / "results" / f"trained_{name}"
    folder.mkdir(parents=True, exist_ok=True)
    conditions = open_conditions(config, ROOT)
    for task, row in config["tasks"].items():
        if arguments.task in (None, task):
            _answer(
                task,
                row,
                conditions,
                config,
                folder / f"{task}.jsonl",
                limit=arguments.limit or config["questions"],
                part=arguments.part,
            )
    baseline = config.get("compared_with", conditions[0].columns()[-1])
    tables = {path.stem: summarise(_lines(path), baseline) for path in sorted(folder.glob("*.jsonl"))}
    digests = {condition.name: condition.system.digest() for condition in conditions}
    print("\n\n".join(markdown(task, table) for task, table in tables.items()))
    finish(f"trained_{name}", {"config": config, "digests": digests, "compared_with": baseline, "tasks": tables})


def _answer(
    task: str,
    row: Mapping[str, Any],
    conditions: Sequence[Condition],
    config: Mapping[str, Any],
    file: Path,
    *,
    limit: int,
    part: str,
) -> None:
    """Append the missing lines of a task, of the batches of `part`."""
    mine, parts = map(int, part.split("/"))
    forms = {
        form: held_out(row, config, roles=conditions[0].system.pattern.roles, form=form, limit=limit)
        for form in {condition.form for condition in conditions}
    }
    twins = {example.key: example for example in forms.get("whole", ())}
    examples = forms["split"]
    done = {line["key"] for line in _lines(file)}
    room = max(
        config["max_new_tokens"], config.get("message_tokens", 0), *(c.channel.message_length for c in conditions)
    )
    batches = list(batches_of(examples, config["batch_size"]))
    for number, batch in enumerate(batches, start=1):
        if number % parts != mine % parts or all(example.key in done for example in batch):
            continue
        heads = {form: Heads(room=room) if shared_heads(conditions) else None for form in forms}
        said: dict[str, dict[str, Any]] = {example.key: {} for example in batch}
        for condition in conditions:
            if (number - 1) % round(1 / condition.share):
                continue
            asked = batch if condition.form == "split" else [twins[example.key] for example in batch]
            found = replies(
                condition.system,
                asked,
                rounds=condition.rounds,
                channel=condition.channel,
                max_new_tokens=config["max_new_tokens"],
                every_round=condition.every_round,
                heads=heads[condition.form],
                losses=False,
            )
            for example, rows in zip(batch, found, strict=True):
                for reply in rows:
                    said[example.key][f"{condition.name} R={reply.round}"] = [int(reply.is_right), reply.text]
        lines = [
            json.dumps({"key": e.key, "question": e.question.text, "answer": e.answer, "said": said[e.key]})
            for e in batch
        ]
        with file.open("a", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")
        print(f"{task}: batch {number} of {len(batches)}", flush=True)


def held_out(
    row: Mapping[str, Any], config: Mapping[str, Any], *, roles: Sequence[str], form: str, limit: int
) -> list[Example]:
    """`limit` questions of the task whose keys stand nowhere in the training data, train or dev."""
    options = {key: row[key] for key in ("kind", "answer_after") if key in row}
    seen = {
        example.key
        for source in config.get("trained_on", {}).get(row.get("family", ""), [])
        for example in load_examples(DataConfig(data=source, **options), roles=roles)
    }
    data = row["data"] + ("&form=whole" if form == "whole" else "")
    fresh: dict[str, Example] = {}
    for example in load_examples(DataConfig(data=data, **options), roles=roles):
        if example.key not in seen:
            fresh.setdefault(example.key, example)
    if len(fresh) < limit:
        raise SystemExit(f"{row['data']}: {len(fresh)} fresh questions, {limit} wanted. Raise its size.")
    return list(fresh.values())[:limit]


def summarise(lines: Sequence[Mapping[str, Any]], baseline: str) -> dict[str, Any]:
    """By condition: n, accuracy and its standard error, how often the answer is mentioned, the test against trained."""
    table: dict[str, Any] = {}
    names = dict.fromkeys(name for line in lines for name in line["said"])
    for name in names:
        asked = [line for line in lines if name in line["said"]]
        first = [line["said"][baseline][0] for line in asked]
        right = [line["said"][name][0] for line in asked]
        accuracy = sum(right) / len(right)
        mentions = sum(mentioned(line["answer"], line["said"][name][1]) for line in asked) / len(asked)
        better = sum(a > b for a, b in zip(first, right, strict=True))
        worse = sum(a < b for a, b in zip(first, right, strict=True))
        table[name] = {
            "n": len(right),
            "accuracy": accuracy,
            "standard_error": standard_error([[result] for result in right]),
            "mentioned": mentions,
            "trained_right_alone": better,
            "this_right_alone": worse,
            "p": mcnemar(better, worse),
        }
    return table


def mentioned(answer: str, text: str) -> bool:
    """Whether the answer stands in the text as a word of its own: a lenient reading, never the headline."""
    return re.search(rf"(?<![\w.-]){re.escape(answer)}(?![\w])", text) is not None


def markdown(task: str, table: Mapping[str, Any]) -> str:
    rows = [
        f"**{task}**",
        "",
        "| condition | n | accuracy | mentioned | right alone: trained, this | p |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in table.items():
        rows.append(
            f"| {name} | {row['n']} | {row['accuracy']:.3f} ± {row['standard_error']:.3f} | {row['mentioned']:.3f} | "
            f"{row['trained_right_alone']}, {row['this_right_alone']} | {row['p']:.1g} |"
        )
    return "\n".join(rows)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines, one a question; the rest of a line that was cut off by a kill is dropped."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
    by_key: dict[str, dict[str, Any]] = {}
    for line in _whole(text):
        by_key.setdefault(line["key"], line)
    return list(by_key.values())


def _whole(text: str) -> Iterator[dict[str, Any]]:
    for line in text[: text.rfind("\n") + 1].splitlines():
        yield json.loads(line)


if __name__ == "__main__":
    main()
