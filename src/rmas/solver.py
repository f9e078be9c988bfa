"""Everything that answers questions is a Solver. A target never passes this seam."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rmas.engine import Trace
from rmas.prompt import Question


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a solver says: `samples` texts that share one run (the first is `text`), and how it came about.

    `finishes`: why each sample ended: eos, stop or length. `prompt`: a digest of what the answerer read, slots apart.
    """

    samples: tuple[str, ...]
    trace: Trace = field(default_factory=Trace)
    finishes: tuple[str, ...] = ()
    prompt: str = ""

    @property
    def text(self) -> str:
        return self.samples[0]

    def to_json(self) -> dict[str, Any]:
        """`answer` is the text without surrounding white space, `text` as written."""
        usage = self.trace.usage
        table: dict[str, Any] = {
            "answer": self.text.strip(),
            "text": self.text,
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "latent_steps": usage.latent_steps,
                "completion_tokens": usage.completion_tokens,
                "seconds": usage.seconds,
            },
            "trace": self.trace.to_json(),
        }
        if self.finishes:
            table["finish"] = self.finishes[0]
        if len(self.samples) > 1:
            table["samples"] = list(self.samples)
        if self.trace.notes:
            table["notes"] = list(self.trace.notes)
        return table


class Solver(Protocol):
    """Answers questions, in their order."""

    def solve(self, questions: Sequence[Question]) -> list[Answer]:
        """n questions -> n answers."""


@runtime_checkable
class CheckingSolver(Protocol):
    """A solver that tells beforehand which questions it could not answer. None has to."""

    def check(self, questions: Sequence[Question]) -> None:
        """Raises QuestionError with the first such question, and what is the matter with it."""


class Column(NamedTuple):
    """A moment of a streamed answer: the text so far, and the answer once it is complete."""

    text: str
    answer: Answer | None


@runtime_checkable
class StreamingSolver(Protocol):
    """A solver that can show an answer as it grows."""

    def stream(self, question: Question) -> Iterator[Column]:
        """One question, its text as it grows; the last column carries the answer."""


def solve_by_length(
    questions: Sequence[Question], batch_size: int, solve: Callable[[Sequence[Question]], Sequence[Answer]]
) -> list[Answer]:
    """n questions -> n answers, in order. Questions of like length share a batch, which `solve` answers."""
    answers: dict[int, Answer] = {}
    by_length = sorted(range(len(questions)), key=lambda i: len(questions[i].text))
    for first in range(0, len(by_length), batch_size):
        places = by_length[first : first + batch_size]
        answers.update(zip(places, solve([questions[place] for place in places]), strict=True))
    return [answers[place] for place in range(len(questions))]
