"""The relay: what trained links carry from agent to agent and from round to round, and what is left without messages.

Trains the agents, then the links: with loss on every round and on the last alone, and from another start. One system
serves R = 1, 2 and 3. Controls are run at every R.
"""

import tempfile
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.measure import finish, load_config, timed
from benchmarks.relay.build import build
from benchmarks.relay.links import train_links
from benchmarks.relay.task import Relay, chance, spell, told
from rmas import RecursiveSolver, RunConfig, load_system
from rmas.engine import Controlled
from rmas.settings import CONTROLS, Control
from rmas.system import System


def main() -> None:
    config = load_config(__file__)
    torch.manual_seed(config["seed"])  # for a start that draws
    relay = Relay(num_symbols=config["num_symbols"], seed=config["seed"], seen=config["seen"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grades, agents_s = timed(
            lambda: build(relay, folder, rounds=config["rounds"], agent_steps=config["agent_steps"])
        )
        for role, grade in grades.items():
            print(f"{role}: {grade.accuracy:.4f} of the states right, in text")
        figures: dict[str, Any] = {
            "agents": {role: grade._asdict() for role, grade in grades.items()},
            "agents_s": agents_s,
            "text": accuracies(load_system(str(folder / "relay.toml"), cache=folder / "cache"), relay, channel="text"),
            "chance": [chance(relay, relay.split()[1], r) for r in range(1, config["rounds"] + 1)],
            "trainings": [],
        }
        print(f"messages in text: {figures['text']}")
        for number, (start, weight) in enumerate(_trainings(config)):
            out = folder / f"links{number}"
            training = train_links(
                folder,
                out,
                inner=config["inner"],
                outer=config["outer"],
                rounds=config["rounds"],
                start=start,
                earlier_weight=weight,
            )
            system = load_system(str(out / "outer"))
            training["latent"] = accuracies(system, relay)
            training["controls"] = {control: accuracies(system, relay, control=control) for control in CONTROLS}
            figures["trainings"].append(training)
            print(
                f"start {start}, earlier rounds count {weight:g}: held out {training['latent']}, controls "
                f"{training['controls']}; inner {training['inner_s']:.0f} s, outer {training['outer_s']:.0f} s"
            )
    finish("relay", {**config, **figures})


def accuracies(
    system: System,
    relay: Relay,
    *,
    channel: Literal["latent", "text"] = "latent",
    control: Control | None = None,
    batch_size: int = 64,
) -> list[float]:
    """Exact match on the held-out start states, for a run of each number of rounds."""
    starts = relay.split()[1]
    found = []
    for rounds in range(1, system.spec.rounds + 1):
        solver = RecursiveSolver(system, RunConfig(rounds=rounds, channel=channel, batch_size=batch_size))
        if control is not None:
            solver.channel = Controlled(channel=solver.channel, control=control)
        answers = solver.solve([told(start) for start in starts])
        right = [a.text.strip() == spell(relay.after(s, rounds)) for a, s in zip(answers, starts, strict=True)]
        found.append(sum(right) / len(right))
    return found


def _trainings(config: dict[str, Any]) -> list[tuple[str, float]]:
    """(start, weight of earlier rounds), one a training."""
    first, *others = config["starts"]
    weights = config["earlier_weights"]
    return [(first, weight) for weight in weights] + [(start, weights[0]) for start in others]


if __name__ == "__main__":
    main()
