"""What runs on the questions of build.py came to: right answers and calls, in all and by form of question, and pairs.

    python -m benchmarks.search.count runs/search/questions.jsonl runs/search/tools runs/search/none

The first run is the one that the others are compared with. Written to benchmarks/search/results/smol-deliberation.json.
"""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rmas.eval.paired import mcnemar
from rmas.eval.record import SAMPLES, SUMMARY
from rmas.eval.task import find_task, load_samples
from rmas.wholefile import write_whole

OUT = Path(__file__).parent / "results" / "smol-deliberation.json"
FORMS: Mapping[str, str] = {
    "In which year was the person": "two facts: a year",
    "In which year": "one fact: a year",
    "In which town": "two facts: a town",
    "Who": "one fact: a name",
    "Which": "two facts compared",
}  # how a question begins, the longer beginning first -> its form


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("questions", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    args = parser.parse_args()
    samples = load_samples(find_task("hotpotqa"), data=str(args.questions))
    forms = {sample.id: form_of(sample.question.text) for sample in samples}
    rows = {run.name: rows_of(run) for run in args.runs}
    reference = rows[args.runs[0].name]
    found = {
        run.name: counted(rows[run.name], forms)
        | {"result": json.loads((run / SUMMARY).read_text(encoding="utf-8"))["result"]}
        | ({"against the first": against(rows[run.name], reference)} if run.name != args.runs[0].name else {})
        for run in args.runs
    }
    OUT.parent.mkdir(exist_ok=True)
    write_whole(OUT, json.dumps(found, indent=2) + "\n")


def form_of(question: str) -> str:
    return next(form for beginning, form in FORMS.items() if question.startswith(beginning))


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / SAMPLES).read_text(encoding="utf-8").splitlines()]


def counted(rows: Sequence[Mapping[str, Any]], forms: Mapping[str, str]) -> dict[str, Any]:
    """How many questions were asked and answered right, by form, and how many called each tool; of all, the calls."""
    calls = {row["id"]: [call["tool"] for turn in row["turns"] for call in turn.get("calls", [])] for row in rows}
    return {
        "questions": dict(Counter(forms[row["id"]] for row in rows)),
        "right": dict(Counter(forms[row["id"]] for row in rows if row["verdict"] == "correct")),
        "questions with a call": dict(Counter(tool for tools in calls.values() for tool in set(tools))),
        "calls": dict(Counter(tool for tools in calls.values() for tool in tools)),
    }


def against(rows: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Questions that one of two runs alone answers right, and McNemar's exact p."""
    right, other = ({row["id"] for row in each if row["verdict"] == "correct"} for each in (rows, reference))
    alone, others = len(right - other), len(other - right)
    return {"right here alone": alone, "right there alone": others, "p": mcnemar(alone, others)}


if __name__ == "__main__":
    main()
