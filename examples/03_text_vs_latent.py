"""The same run through both channels: python examples/03_text_vs_latent.py [SYSTEM]

Same agents, same turns, same slots; only what a message is made of differs. Compare the steps that had to wait
for one another. This says what a channel costs, not which answers better: the links are not trained.
"""

import sys

from rmas import Question, RecursiveSolver, RunConfig, load_system


def main(name: str = "tiny") -> None:
    system = load_system(name)
    question = Question(text="Which is larger, 17 or 71?", kind="math")
    for config in (
        RunConfig(rounds=3, channel="latent", latent_steps=4),
        RunConfig(rounds=3, channel="text", message_tokens=16),
    ):
        answer = RecursiveSolver(system, config).solve([question])[0]
        usage = answer.trace.usage
        print(
            f"{config.channel:6}  {answer.trace.sequential_steps:3} steps in a row ({usage.latent_steps} latent, "
            f"{usage.completion_tokens} tokens), {usage.prompt_tokens} positions read, {usage.seconds:.2f} s"
        )
        print(f"        {answer.text!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
