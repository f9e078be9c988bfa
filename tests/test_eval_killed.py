"""Runs on a real (tiny) system: killed at random moments they end as if nothing had happened, in any company."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval_zoo import SUM_TASK
from processes import printed_by
from rmas.eval.config import EvalConfig
from rmas.eval.run import evaluate
from rmas.eval.task import Sample, Target
from rmas.prompt import Question
from rmas.settings import RunConfig, Sampling
from rmas.solvers import open_solver

TASK = replace(SUM_TASK, format="exact", max_new_tokens=6)
SUMS = [
    Sample(
        id=f"s{number}",
        question=Question(text=f"What is {number} + {number * number}?" + " Think." * (number % 4)),
        target=Target(answers=(str(number + number * number),)),
    )
    for number in range(24)
]

# One process imports and forks; its children evaluate and are killed.
KILLS = """
import json, multiprocessing, os, random, signal, sys, time
from pathlib import Path
from rmas.eval.run import evaluate_into
from test_eval_killed import SUMS, TASK, settings, solver

folder, draw = Path(sys.argv[1]), random.Random(int(sys.argv[2]))


def evaluate(name):
    (folder / name).mkdir(exist_ok=True)
    config = settings(batch_size=2)
    summary = evaluate_into(folder / name, solver(config), TASK, config, samples=SUMS, facts={})
    (folder / (name + ".json")).write_text(json.dumps(summary["result"]))


def lines():
    file = folder / "out" / "samples.jsonl"
    return file.read_bytes().count(b"\\n") if file.exists() else 0


fork, codes = multiprocessing.get_context("fork"), []
for least in sorted(draw.sample(range(2, 40), 3)):
    child = fork.Process(target=evaluate, args=("out",))
    child.start()
    while child.is_alive() and lines() < least:
        time.sleep(0.001)
    time.sleep(draw.random() * 0.03)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    codes.append(child.exitcode)
for name in ("out", "whole"):
    child = fork.Process(target=evaluate, args=(name,))
    child.start()
    child.join()
    codes.append(child.exitcode)
print(json.dumps(codes))
"""


def settings(**changes: Any) -> EvalConfig:
    return EvalConfig(**{"task": "sums", "samples": 2, "temperature": 1.0, "batch_size": 4, **changes})


def solver(config: EvalConfig) -> Any:
    how = RunConfig(rounds=2, latent_steps=2)
    sampling = Sampling(temperature=config.temperature, samples=config.samples, max_new_tokens=6, seed=config.seed)
    return open_solver("tiny", how, sampling, dtype="float32", device="cpu")


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_run_killed_three_times_ends_with_the_same_summary(tmp_path: Path) -> None:
    assert printed_by(KILLS, str(tmp_path), "0") == [-9, -9, -9, 0, 0]
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads((tmp_path / "whole.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert len({(row["id"], row["sample"]) for row in rows}) == len(rows) == 48


def texts(samples: Sequence[Sample], folder: Path, **changes: Any) -> dict[str, str]:
    config = settings(samples=1, temperature=0.0, **changes)
    folder.mkdir()
    evaluate(solver(config), TASK, config, samples=samples, out=folder)
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    return {row["id"]: row["text"] for row in rows}


def test_greedy_answers_do_not_depend_on_batch_size_or_order(tmp_path: Path) -> None:
    sums = SUMS[:8]
    alone = texts(sums, tmp_path / "alone", batch_size=1)
    assert alone == texts(sums[::-1], tmp_path / "three", batch_size=3)
    assert alone == texts(sums, tmp_path / "all", batch_size=8)
    assert len(set(alone.values())) > 2
