"""Keep what evaluation runs found in results/eval, without the words: questions and tests are not ours to ship.

    python -m benchmarks.eval.keep RUN [RUN ...]

Verdicts, tokens and turns stay, so `rmas report benchmarks/results/eval/…` makes the same tables; texts, answers and
what a test said go.
"""

import argparse
import json
from pathlib import Path

from rmas.eval.record import SAMPLES, SUMMARY
from rmas.wholefile import write_whole

RESULTS = Path(__file__).parent.parent / "results" / "eval"
WORDS = {"text": "", "extracted": None, "ballot": None, "detail": ""}


def main() -> None:
    parser = argparse.ArgumentParser(description="copy finished runs into benchmarks/results/eval, without texts")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    for run in parser.parse_args().runs:
        folder = RESULTS / run.name
        folder.mkdir(parents=True, exist_ok=True)
        lines = (run / SAMPLES).read_text(encoding="utf-8").splitlines()
        rows = (json.dumps(json.loads(line) | WORDS) for line in lines)
        write_whole(folder / SAMPLES, "".join(f"{row}\n" for row in rows))
        write_whole(folder / SUMMARY, (run / SUMMARY).read_text(encoding="utf-8"))
        print(folder)


if __name__ == "__main__":
    main()
