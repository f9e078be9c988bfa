"""What a round costs when the state of each prompt's head is shared between rounds, and when it is not.

Each round's seconds are the sum of its turns in the trace. The answerer writes as many tokens in the last round as
the others think latents, so that the rounds are alike.
"""

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.measure import finish, load_config, spread
from rmas.engine import LastTurn, LatentChannel, Sampling, Trace, run
from rmas.prompt import Question
from rmas.solvers.recursive import finish_turn
from rmas.system import System, load_system

WORDS = "A train with {n} wagons leaves at noon; each wagon holds {n} crates of tools, seeds, paper and lamps. "


def main() -> None:
    config = load_config(__file__)
    system = load_system(config["system"], dtype=config["dtype"])
    questions = [_question(system, config["prompt_tokens"], number) for number in range(config["batch"])]
    figures: dict[str, Any] = {}
    seconds: dict[bool, list[list[float]]] = {True: [], False: []}
    for _ in range(config["repeats"]):
        for shared in (True, False):  # in turn, so that drift of the machine hits both
            seconds[shared].append(_rounds(system, questions, config, share_heads=shared))
    for shared, runs in seconds.items():
        rounds = [spread(list(column)) for column in zip(*runs, strict=True)]
        ratios = [spread([run[i] / run[0] for run in runs]) for i in range(1, config["rounds"])]
        figures["shared" if shared else "whole"] = {
            "round_s": [r._asdict() for r in rounds],
            "round_over_first": [r._asdict() for r in ratios],
        }
        print(
            f"heads {'shared' if shared else 'read again'}: "
            + ", ".join(f"round {i + 1} {r.median:.2f} s" for i, r in enumerate(rounds))
            + "; later rounds over the first: "
            + ", ".join(f"{r.median:.2f}" for r in ratios)
        )
    figures["prompt_tokens_read"] = _prompt_tokens(system, questions)
    finish("rounds", {**config, **figures})


def _question(system: System, tokens: int, number: int) -> Question:
    """A question that makes the planner's prompt about `tokens` long."""
    text = f"Case {number}. How many crates are there in all? "
    sentence = WORDS.format(n=number + 2)
    while system.render("planner", Question(text=text + sentence), frozenset()).num_tokens <= tokens:
        text += sentence
    return Question(text=text)


def _prompt_tokens(system: System, questions: Sequence[Question]) -> dict[str, list[int]]:
    """Per role, the tokens of each question's first prompt."""
    return {role: [system.render(role, q, frozenset()).num_tokens for q in questions] for role in system.pattern.roles}


@torch.inference_mode()
def _rounds(system: System, questions: Sequence[Question], config: dict[str, Any], *, share_heads: bool) -> list[float]:
    """Seconds of each round."""
    sampling = Sampling(max_new_tokens=config["latent_steps"])
    trace = run(
        system,
        questions,
        rounds=config["rounds"],
        channel=LatentChannel(latent_steps=config["latent_steps"]),
        speak=lambda last: _trace(last, sampling),
        share_heads=share_heads,
    )
    return [sum(t.seconds for t in trace.turns if t.round == r) for r in range(1, config["rounds"] + 1)]


def _trace(last: LastTurn, sampling: Sampling) -> Trace:
    """Speak to the end; the batch shares its turns, so the first question's trace has them all."""
    *_, (_, answers) = finish_turn(last, sampling, ())
    assert answers is not None
    return answers[0].trace


if __name__ == "__main__":
    main()
