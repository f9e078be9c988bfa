"""Measure a system beside its controls: python examples/08_evaluate.py

The tiny system has random weights and is right by luck alone; write `load_system("smol")` for three real models.
"""

from rmas import EvalConfig, RecursiveSolver, RunConfig, Sampling, evaluate, load_system
from rmas.settings import Condition

TASK = "reasoning_gym:chain_sum?size=12&seed=1"
CONTROLS: tuple[Condition, ...] = ("none", "shuffled", "alone")


def main() -> None:
    system = load_system("tiny")
    for control in CONTROLS:
        how = RunConfig(rounds=2, latent_steps=4, control=control)
        solver = RecursiveSolver(system, how, Sampling(max_new_tokens=8))
        result = evaluate(solver, TASK, EvalConfig(task=TASK, batch_size=12))
        accuracy = result["accuracy"]
        print(f"{control}: {accuracy['mean']:.2f} ± {accuracy['error']:.2f}, unparsed {result['unparsed']:.2f}")


if __name__ == "__main__":
    main()
