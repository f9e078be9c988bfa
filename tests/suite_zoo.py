"""A small suite: two tasks, two solvers that cost nothing, and how to run one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rmas.suite.compare import Machine, Outcome, compare
from rmas.suite.config import Suite, load_suite

GYM = "reasoning_gym:chain_sum?min_terms=2&max_terms=2&max_digits=1"
LESSONS = "reasoning_gym:chain_sum?min_terms=2&max_terms=2&min_digits=2&max_digits=2&size=12"  # none of them is asked
SOLVER = '''
"""Adds up what is asked; `half` where the sum is even, else it says nothing."""
import re
from rmas.engine import Trace, Turn
from rmas.solver import Answer
from rmas.solvers import Kind

class Adder:
    def __init__(self, is_half):
        self.is_half = is_half

    def solve(self, questions):
        turn = Turn(round=1, role="adder", verb="speak", tokens_in=3, latent_steps=0, tokens_out=1, seconds=0.0)
        return [Answer(samples=(self.answer(q.text),), trace=Trace(turns=(turn,))) for q in questions]

    def answer(self, text):
        found = eval(re.search(r"[-0-9+ ]+(?= =)", text)[0].strip())
        return str(found) if found % 2 == 0 or not self.is_half else "no idea"

KIND = Kind(about="adds", open=lambda *_: Adder(False), needs_agents=False)
HALF = Kind(about="adds", open=lambda *_: Adder(True), needs_agents=False)
'''
TASKS = f"""
[tasks.sums]
task = "{GYM}&size=12&seed=3"
max_new_tokens = 4
[tasks.more]
task = "{GYM}&size=8&seed=90"
max_new_tokens = 4
"""


def quiet(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
    """Report nothing."""


def suite_of(folder: Path, text: str) -> Suite:
    path = folder / "suite.toml"
    path.write_text(text, encoding="utf-8")
    return load_suite(path)


def run(suite: Suite, folder: Path, *, only: Sequence[str] = ()) -> Outcome:
    return compare(suite, folder / "out", Machine(folder / "cache", "cpu", "float32"), report=quiet, only=only)


def adders(folder: Path) -> Suite:
    (folder / "adder.py").write_text(SOLVER, encoding="utf-8")
    (folder / "half.py").write_text(SOLVER.replace("KIND", "_").replace("HALF", "KIND"), encoding="utf-8")
    methods = "".join(f'[methods.{name}]\nsolver = "{folder / name}.py"\n' for name in ("adder", "half"))
    return suite_of(folder, f'reference = "half"\n{TASKS}{methods}')
