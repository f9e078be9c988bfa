"""Three agents that know one private function each pass a state on: links trained from nothing to carry it.

A very small relay of 25 states and one round, so that it takes seconds. `make bench NAME=relay` does 256 states, and
three rounds.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # for benchmarks, when run as a script

from benchmarks.relay.build import build
from benchmarks.relay.links import train_links
from benchmarks.relay.task import Relay

INNER = {"steps": 200, "batch_size": 16, "lr": 3e-3, "norm_weight": 0.1, "dev": 2, "dev_every": 100}
OUTER = {"steps": 60, "batch_size": 8, "lr": 1e-3, "train_inner": True, "max_new_tokens": 4, "dev": 3}


def main() -> None:
    relay = Relay(num_symbols=5, seen=0.6)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for role, grade in build(relay, folder, rounds=1, agent_steps=200, agent_batch=32).items():
            print(f"{role:8} knows its function on {grade.accuracy:.0%} of the states")
        result = train_links(folder, folder / "links", inner=INNER, outer=OUTER, rounds=1)
    for stage in ("before", "after_inner", "after_outer"):
        figures = result[stage]
        print(
            f"{stage:12} right on {figures['accuracy']:.0%} of {figures['n']} held-out start states, "
            f"with shuffled messages on {figures['accuracy_shuffled']:.0%}"
        )


if __name__ == "__main__":
    main()
