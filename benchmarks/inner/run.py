"""Inner stage: states extracted once, then many passes over them, against reading every text again in each pass.

Both ways train the same design from the same start on the same batches in the same order with the same loss and
optimiser: a batch is what one forward reads. Reading again is given our own batched forward, which builds no
vocabulary logits; the release's does. After the passes that both ways ran, the two links are compared.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.measure import finish, load_config, spread, timed
from rmas.backbone import HFBackbone
from rmas.link import Link
from rmas.prompt import Question
from rmas.system import System, load_system
from rmas.train.data import Example
from rmas.train.inner import inner_loss
from rmas.train.shards import StatePairs, States
from rmas.train.states import Extraction, Reading, batches_of, extract_states, read_pairs, role_readings

WORDS = "A train with {n} wagons leaves at noon; each wagon holds {n} crates of tools, seeds, paper and lamps. "
STEPS = "First count the crates of one wagon, then multiply by the number of wagons, and write the product down. "


class Run(NamedTuple):
    """Seconds of one repeat, and how far the two links lie apart after the same passes."""

    extract_s: float
    stored_s: list[float]
    again_s: list[float]
    difference: float


def main() -> None:
    parser = argparse.ArgumentParser(description="time the inner stage on stored and on recomputed states")
    parser.add_argument("--system", help="another system, by name or path; its result file carries the name")
    config = load_config(__file__)
    given = parser.parse_args().system
    figures = measure(config | ({"system": given} if given else {}))
    print(
        f"{config['passes']} passes over {figures['pairs']} states: "
        f"extracted once {figures['ours_s']['median']:.1f} s, "
        f"read again {figures['again_s']['median']:.1f} s (from {config['recomputed_passes']} passes): "
        f"{figures['ratio']['median']:.1f}x ({figures['ratio']['least']:.1f} to {figures['ratio']['most']:.1f}); "
        f"the links differ by at most {figures['largest_difference']:.1e}"
    )
    finish("inner" if given is None else f"inner_{Path(given).stem}", figures)


def measure(config: dict[str, Any]) -> dict[str, Any]:
    """Run every repeat, the two ways in turn -> config and figures."""
    system = load_system(config["system"], dtype=config["dtype"])
    backbone = system.backbones[config["role"]]
    readings = _readings(system, config)
    batches = batches_of(readings)
    read_pairs(backbone, batches[0][:1], Extraction())  # warm up
    runs = [_run(backbone, readings, batches, config) for _ in range(config["repeats"])]
    scale = config["passes"] / config["recomputed_passes"]
    ours = [run.extract_s + sum(run.stored_s) for run in runs]
    again = [sum(run.again_s) * scale for run in runs]
    return {
        **config,
        "backbone": backbone.name,
        "tokens": sum(len(reading.ids) for reading in readings),
        "pairs": sum(reading.num_pairs for reading in readings),
        "batches": len(batches),
        "extract_s": spread([run.extract_s for run in runs])._asdict(),
        "stored_pass_s": spread([seconds for run in runs for seconds in run.stored_s])._asdict(),
        "recomputed_pass_s": spread([seconds for run in runs for seconds in run.again_s])._asdict(),
        "ours_s": spread(ours)._asdict(),
        "again_s": spread(again)._asdict(),
        "ratio": spread([b / a for a, b in zip(ours, again, strict=True)])._asdict(),
        "largest_difference": max(run.difference for run in runs),
    }


def _readings(system: System, config: dict[str, Any]) -> list[Reading]:
    """Texts of unequal lengths: each prompt at least as long as asked for, each target cut to its length."""
    role, readings = config["role"], []
    backbone = system.backbones[role]
    target = backbone.decode(backbone.encode(STEPS * config["target_tokens"])[: config["target_tokens"]])
    for number in range(config["texts"]):
        text = f"Case {number}. How many crates are there in all? "
        while True:
            example = Example(question=Question(text=text), answer=target)
            [reading] = role_readings(system, role, [example], positions="target", max_length=backbone.context)
            if reading.first >= config["prompt_tokens"] + number % 5 * 20:
                break
            text += WORDS.format(n=number + 2)
        readings.append(reading)
    return readings


def _run(
    backbone: HFBackbone, readings: Sequence[Reading], batches: Sequence[Sequence[Reading]], config: dict[str, Any]
) -> Run:
    sizes = [sum(reading.num_pairs for reading in batch) for batch in batches]
    with tempfile.TemporaryDirectory() as folder:
        states, extract_s = timed(
            lambda: extract_states(backbone, readings, Path(folder), Extraction(), report=lambda *_: None)
        )
        stored, stored_s = _Trainee(backbone, config), []
        for number in range(config["passes"]):
            stored_s.append(timed(lambda: stored.learn(_stored(states, sizes)))[1])
            if number + 1 == config["recomputed_passes"]:
                halfway = [parameter.detach().clone() for parameter in stored.link.parameters()]
    again = _Trainee(backbone, config)
    again_s = [
        timed(lambda: again.learn(read_pairs(backbone, batch, Extraction()) for batch in batches))[1]
        for _ in range(config["recomputed_passes"])
    ]
    pairs = zip(halfway, again.link.parameters(), strict=True)
    return Run(extract_s, stored_s, again_s, max(float((a - b.detach()).abs().max()) for a, b in pairs))


class _Trainee:
    """A link and its optimiser, from the same start every time."""

    def __init__(self, backbone: HFBackbone, config: dict[str, Any]) -> None:
        torch.manual_seed(0)
        self._backbone = backbone
        self.link = Link(config["design"], "inner", backbone.dim, backbone.dim).to(backbone.device)
        self._optimizer = torch.optim.AdamW(self.link.parameters(), lr=config["lr"], betas=(0.9, 0.95))

    def learn(self, blocks: Iterator[StatePairs]) -> None:
        """One pass: a step a block."""
        for pairs in blocks:
            self._optimizer.zero_grad()
            h_ND = pairs.h_ND.to(self._backbone.device)
            inner_loss(self.link, h_ND, pairs.targets(self._backbone)).backward()
            self._optimizer.step()


def _stored(states: States, sizes: Sequence[int]) -> Iterator[StatePairs]:
    """The pairs of the shards, from disk, in the batches in which they were read. One shard at a time."""
    assert len(states.counts) == 1, "few texts: one shard"
    pairs = states.shard(0)
    first = 0
    for size in sizes:
        yield pairs.rows(slice(first, first + size))
        first += size


if __name__ == "__main__":
    main()
