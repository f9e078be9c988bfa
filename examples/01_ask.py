"""Ask a system one question: python examples/01_ask.py [SYSTEM] [QUESTION]

`echo` has no weights, `tiny` (the default) has random ones and babbles, `smol` fetches three real models first.
"""

import sys

from rmas import Question, RunConfig
from rmas.solvers import open_solver


def main(system: str = "tiny", question: str = "How many minutes are in two hours?") -> None:
    solver = open_solver(system, RunConfig(rounds=2))
    answer = solver.solve([Question(text=question)])[0]
    print(f"answer: {answer.text!r}")
    for turn in answer.trace.turns:
        print(
            f"round {turn.round}  {turn.role:8} {turn.verb:6} read {turn.tokens_in:4}  latent steps "
            f"{turn.latent_steps:2}  wrote {turn.tokens_out:3}  {turn.seconds:.3f} s"
        )
    print(answer.trace.usage)


if __name__ == "__main__":
    main(*sys.argv[1:])
