"""Runs on a real (tiny) system: killed at random moments they end as if nothing had happened, in any company."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from eval_zoo import SUM_TASK
from processes import printed_by
from rmas.errors import QuestionError
from rmas.eval.config import EvalConfig
from rmas.eval.record import read_records
from rmas.eval.run import evaluate
from rmas.eval.summary import by_question
from rmas.eval.task import Sample, Target
from rmas.prompt import Question
from rmas.settings import RunConfig, Sampling
from rmas.solvers import open_solver

Channel = Literal["latent", "text"]
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


def solver(config: EvalConfig, **changes: Any) -> Any:
    how = RunConfig(rounds=2, latent_steps=2, **changes)
    sampling = Sampling(temperature=config.temperature, samples=config.samples, max_new_tokens=6, seed=config.seed)
    return open_solver("tiny", how, sampling, dtype="float32", device="cpu")


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_run_killed_three_times_ends_with_the_same_summary(tmp_path: Path) -> None:
    assert printed_by(KILLS, str(tmp_path), "0") == [-9, -9, -9, 0, 0]
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads((tmp_path / "whole.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert len({(row["id"], row["sample"]) for row in rows}) == len(rows) == 48


@pytest.mark.parametrize("channel", ["latent", "text"])
def test_the_tokens_of_a_question_are_those_of_its_turns(tmp_path: Path, channel: Channel) -> None:
    config = settings(samples=3)
    evaluate(solver(config, channel=channel, message_tokens=3), TASK, config, samples=SUMS[:2], out=tmp_path)
    for group in by_question(list(read_records(tmp_path).values())).values():
        *thinking, speaking = group[0].turns
        messages = sum(turn["tokens_out"] for turn in thinking)
        own = [group[0].completion_tokens - messages, *(record.completion_tokens for record in group[1:])]
        assert sum(own) == speaking["tokens_out"]
        assert all(1 <= tokens <= 6 for tokens in own)
        assert group[0].sequential_steps == group[0].latent_steps + messages + max(own)
        assert (messages > 0) == (channel == "text")


def test_a_question_longer_than_a_context_is_named_before_any_is_answered(tmp_path: Path) -> None:
    long = Sample(id="long", question=Question(text="x" * 5000), target=Target(answers=("1",)))
    with pytest.raises(QuestionError, match=r"^sample long: .* positions of prompt .* too many\."):
        texts([*SUMS[:4], long], tmp_path / "out", batch_size=2)
    assert not (tmp_path / "out" / "samples.jsonl").exists()


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
