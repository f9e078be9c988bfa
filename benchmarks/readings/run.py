"""Would a lenient grader rank methods otherwise? Every pair of committed runs of one task, strictly and leniently read.

    make bench NAME=readings

A pair is swapped where one run is ahead by one reading and behind by the other; it is tied by one where only one
reading tells the two apart. Nothing is run: the counts stand in the runs' summaries.
"""

import json
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import finish, load_config

ROOT = Path(__file__).parents[2]


class Run(NamedTuple):
    """One run's shares of right answers."""

    name: str
    strict: float
    lenient: float


def main() -> None:
    config = load_config(__file__)
    by_task: dict[str, list[Run]] = defaultdict(list)
    for pattern in config["runs"]:
        for file in sorted(ROOT.glob(f"{pattern}/summary.json")):
            summary = json.loads(file.read_text(encoding="utf-8"))
            result = summary["result"]
            if result["questions"] >= config["least"]:
                name = str(file.parent.relative_to(ROOT / "benchmarks"))
                run = Run(name, result["accuracy"]["mean"], result["lenient"]["mean"])
                by_task[f"{summary['task']['name']}, {result['questions']} questions"].append(run)
    tasks = {task: compared(runs) for task, runs in sorted(by_task.items()) if len(runs) > 1}
    for task, row in tasks.items():
        print(f"{task}: {row['pairs']} pairs, {len(row['swapped'])} swapped, {row['tied_by_one']} tied by one reading")
    finish("readings", {**config, "command": "make bench NAME=readings", "tasks": tasks})


def compared(runs: list[Run]) -> dict[str, Any]:
    """How the two readings order all pairs of `runs`."""
    swapped, tied = [], 0
    for a, b in combinations(runs, 2):
        strictly, leniently = a.strict - b.strict, a.lenient - b.lenient
        if strictly * leniently < 0:
            swapped.append([a._asdict(), b._asdict()])
        tied += (strictly == 0) != (leniently == 0)
    return {"runs": len(runs), "pairs": len(runs) * (len(runs) - 1) // 2, "swapped": swapped, "tied_by_one": tied}


if __name__ == "__main__":
    main()
