"""A solver without weights, for trying the tools around it: it answers with the question."""

from collections.abc import Sequence
from typing import final

from rmas.engine import Trace, Turn
from rmas.prompt import Question
from rmas.settings import RunConfig, Sampling
from rmas.solver import Answer
from rmas.solvers.kind import Kind, Load
from rmas.spec import SystemSpec


@final
class EchoSolver:
    """Says what it was asked. Its one turn reads and writes the question's words."""

    def solve(self, questions: Sequence[Question]) -> list[Answer]:
        return [_echo(question) for question in questions]


def _echo(question: Question) -> Answer:
    words = len(question.text.split())
    turn = Turn(round=1, role="echo", verb="speak", tokens_in=words, latent_steps=0, tokens_out=words, seconds=0.0)
    return Answer(samples=(question.text,), trace=Trace(turns=(turn,)))


def _open(spec: SystemSpec, config: RunConfig, sampling: Sampling | None, load: Load) -> EchoSolver:
    return EchoSolver()


KIND = Kind(
    about="no weights: it says what it was asked",
    open=_open,
    needs_agents=False,
    has_messages=False,
    lacks=(
        *("system", "control", "rounds", "latent_steps", "message_tokens", "max_new_tokens", "batch_size"),
        *("temperature", "top_p", "top_k", "seed", "prompts", "links", "dtype", "tools"),
    ),
)
