"""Train a system's outer links, and ask the bundle that comes out. Random models: watch the loss, not the answers.

For real models write `load_system("smol")` and a larger `size`; docs/training.md has the command for it.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from rmas import OuterConfig, Question, RecursiveSolver, load_system, train_outer

CONFIG = OuterConfig(
    data="reasoning_gym:chain_sum?size=80&seed=1&max_terms=2&max_digits=1",
    dev=8,
    steps=6,
    batch_size=4,
    rounds=2,
    latent_steps=2,
    max_new_tokens=4,
)


def watch(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
    print(f"{stage} {done} of {total}: loss {figures['loss']:.3f}")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "trained"
        result = train_outer(load_system("tiny"), CONFIG, out, resume=False, report=watch)
        print(f"{result.steps} steps, dev loss {result.figures['dev_loss']:.3f}")
        print(sorted(path.name for path in out.iterdir()))
        solver = RecursiveSolver(load_system(str(out)))
        print(repr(solver.solve([Question(text="2 + 2 =")])[0].text))


if __name__ == "__main__":
    main()
