"""Programs a second in the sandbox, and what isolation costs over starting the same interpreter without it.

bare      a program that prints, started by subprocess with the same interpreter and flags: the floor
sandbox   the same program in the sandbox
script    a function and three asserts, graded: two sandboxes that talk over a wire
"""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from benchmarks.measure import finish, load_config, spread, timed
from rmas.eval.code import grade_code
from rmas.eval.task import CodeTests, Target
from rmas.tools.bubblewrap import PYTHON_FLAGS
from rmas.tools.sandbox import Sandbox, find_sandbox

PROGRAM = "print(sum(n * n for n in range(1000)))"
FUNCTION = "```python\ndef tail(xs, n):\n    return list(xs[-n:])\n```"
TESTS = CodeTests(
    kind="script",
    script="assert tail([1, 2, 3], 2) == [2, 3]\nassert set(tail((5, 6), 1)) == {6}\nassert tail([], 1) == []\n",
    seconds=5,
)


def main() -> None:
    figures = measure(load_config(__file__))
    rates = {way: figures[f"{way}_per_s"] for way in ("bare", "sandbox", "script")}
    told = [f"{way} {rate['median']:.1f} ({rate['least']:.1f} to {rate['most']:.1f})" for way, rate in rates.items()]
    print(f"{figures['jobs']} at a time, programs a second: {', '.join(told)}")
    finish("sandbox", figures)


def measure(config: dict[str, Any]) -> dict[str, Any]:
    """Every repeat, the ways in turn -> config and figures."""
    sandbox, number, jobs = find_sandbox(), config["programs"], config["jobs"]
    ways: dict[str, Callable[[], None]] = {
        "bare": partial(_each, _bare, number, jobs),
        "sandbox": partial(_each, partial(_isolated, sandbox), number, jobs),
        "script": partial(_graded, sandbox, number, jobs),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(config["repeats"]):
        for way, work in ways.items():
            rates[way].append(number / timed(work)[1])
    over = [bare / held for bare, held in zip(rates["bare"], rates["sandbox"], strict=True)]
    return {
        **config,
        "command": "make bench NAME=sandbox",
        "sandbox": sandbox.name,
        **{f"{way}_per_s": spread(values)._asdict() for way, values in rates.items()},
        "sandbox_over_bare_time": spread(over)._asdict(),
    }


def _each(work: Callable[[], str], number: int, jobs: int) -> None:
    with ThreadPoolExecutor(jobs) as pool:
        said = list(pool.map(lambda _: work(), range(number)))
    assert set(said) == {"332833500\n"}, "every program ran"


def _bare() -> str:
    command = [sys.executable, *PYTHON_FLAGS, "-c", PROGRAM]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _isolated(sandbox: Sandbox) -> str:
    return sandbox.run(PROGRAM).stdout


def _graded(sandbox: Sandbox, number: int, jobs: int) -> None:
    target = Target(answers=(), tests=TESTS)
    grades = grade_code([FUNCTION] * number, [target] * number, sandbox=sandbox, jobs=jobs)
    assert all(found.verdict == "correct" for found in grades), "every function passes"


if __name__ == "__main__":
    main()
