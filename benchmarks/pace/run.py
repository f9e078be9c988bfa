"""How long a team takes with latents and with text, round by round, at the text length that dev questions prefer.

    make bench NAME=pace ARGS="gsm8k_train.jsonl --system smol-qwen"

The same models, prompts, rounds and room for the answer; latent steps count as tokens do. The length is chosen by the
accuracy of text in one round, of equal ones the shorter. Then one batch of other questions is answered in turn by both,
so that drift of the machine hits both.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.measure import finish, load_config, spread, timed
from rmas import RunConfig, Sampling
from rmas.eval.config import EvalConfig
from rmas.eval.run import evaluate
from rmas.eval.task import Sample, find_task, load_samples
from rmas.solvers import RecursiveSolver
from rmas.system import System, load_system


class Pace(NamedTuple):
    """One batch, answered once: seconds of the batch; steps and tokens of a question."""

    seconds: float
    sequential_steps: float
    latent_steps: float
    written: float
    read: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    config = load_config(__file__)
    parser.add_argument("data", type=Path, help="a copy of the task's training questions")
    parser.add_argument("--system", choices=[*config["systems"]], default=next(iter(config["systems"])))
    data, name = (arguments := parser.parse_args()).data, arguments.system
    config = {"system": name} | config | config.pop("systems")[name]
    system, task = load_system(name, dtype=config["dtype"]), find_task(config["task"])
    samples = load_samples(task, data=str(data), limit=config["dev"] + config["questions"])
    dev, timed_ones = samples[: config["dev"]], samples[config["dev"] :]

    def accuracy(solver: RecursiveSolver) -> float:
        settings = EvalConfig(task=task.name, batch_size=config["batch_size"])
        return float(evaluate(solver, task, settings, samples=dev)["accuracy"]["mean"])

    by_length = {length: accuracy(_text(system, config, 1, length)) for length in config["lengths"]}
    latent = accuracy(_latent(system, config, 1))
    print(f"dev accuracy in one round: latents {latent:.3f}; text " + str(by_length))
    best = max(sorted(by_length), key=by_length.__getitem__)
    rows = []
    for rounds in config["rounds"]:
        pairs = [
            (_pace(_latent(system, config, rounds), timed_ones), _pace(_text(system, config, rounds, best), timed_ones))
            for _ in range(config["repeats"])
        ]
        rows.append(_row(rounds, pairs))
        print(f"{rounds} rounds: text over latents {rows[-1]['text_over_latent']['median']:.2f} in seconds")
    dev_figures = {"latent": latent, "text": {str(length): found for length, found in by_length.items()}}
    finish(f"pace-{name}", {**config, "dev_accuracy": dev_figures, "message_tokens": best, "by_rounds": rows})


def _latent(system: System, config: dict[str, Any], rounds: int) -> RecursiveSolver:
    return _solver(system, config, RunConfig(rounds=rounds, latent_steps=config["latent_steps"]))


def _text(system: System, config: dict[str, Any], rounds: int, length: int) -> RecursiveSolver:
    return _solver(system, config, RunConfig(rounds=rounds, channel="text", message_tokens=length))


def _solver(system: System, config: dict[str, Any], run: RunConfig) -> RecursiveSolver:
    run = replace(run, batch_size=config["batch_size"])
    return RecursiveSolver(system, run, Sampling(max_new_tokens=config["max_new_tokens"]))


def _pace(solver: RecursiveSolver, samples: Sequence[Sample]) -> Pace:
    answers, seconds = timed(lambda: solver.solve([sample.question for sample in samples]))
    traces = [answer.trace for answer in answers]
    return Pace(
        seconds=seconds,
        sequential_steps=mean(trace.sequential_steps for trace in traces),
        latent_steps=mean(trace.usage.latent_steps for trace in traces),
        written=mean(trace.usage.completion_tokens for trace in traces),
        read=mean(trace.usage.prompt_tokens for trace in traces),
    )


def _row(rounds: int, pairs: Sequence[tuple[Pace, Pace]]) -> dict[str, Any]:
    """What one number of rounds came to; of steps and tokens every repeat has the same."""
    latent, text = pairs[0]
    return {
        "rounds": rounds,
        "latent_s": spread([pair[0].seconds for pair in pairs])._asdict(),
        "text_s": spread([pair[1].seconds for pair in pairs])._asdict(),
        "text_over_latent": spread([pair[1].seconds / pair[0].seconds for pair in pairs])._asdict(),
        "latent": {name: value for name, value in latent._asdict().items() if name != "seconds"},
        "text": {name: value for name, value in text._asdict().items() if name != "seconds"},
        "steps_over": text.sequential_steps / latent.sequential_steps,
    }


if __name__ == "__main__":
    main()
