"""What happened, turn by turn: the only source of efficiency figures. Never written by hand."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verb = Literal["think", "speak"]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One agent's turn for one question.

    tokens_in     positions read before the first step: prompt tokens and received message positions
    latent_steps  latent thoughts rolled out
    tokens_out    tokens written, the end token included; over all samples
    seconds       wall time of the turn; questions of one batch share their turns, and so this figure
    """

    round: int
    role: str
    verb: Verb
    tokens_in: int
    latent_steps: int
    tokens_out: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Usage:
    """A run's totals over its turns."""

    prompt_tokens: int
    latent_steps: int
    completion_tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The turns of one question, in order; `notes` holds what the caller should know about how they ran.

    `sample_tokens`: what each sample wrote of the last turn's tokens; may be left out where there is one.
    """

    turns: tuple[Turn, ...] = ()
    notes: tuple[str, ...] = ()
    sample_tokens: tuple[int, ...] = ()

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=sum(turn.tokens_in for turn in self.turns),
            latent_steps=sum(turn.latent_steps for turn in self.turns),
            completion_tokens=sum(turn.tokens_out for turn in self.turns),
            seconds=sum(turn.seconds for turn in self.turns),
        )

    @property
    def sequential_steps(self) -> int:
        """Model steps that had to wait for the one before: latent steps and written tokens.

        Samples are written side by side, so of these the longest counts.
        """
        beside = sum(self.sample_tokens) - max(self.sample_tokens, default=0)
        return self.usage.latent_steps + self.usage.completion_tokens - beside

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(turn) for turn in self.turns]
