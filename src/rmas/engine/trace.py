"""What happened, turn by turn: the only source of efficiency figures. Never written by hand."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verb = Literal["think", "speak"]
Limit = Literal["calls", "seconds", "tokens"]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a tool.

    sample         whose: a number from 0, where an answer has several samples
    call_chars     what the tool was given, in characters
    result_chars   `result`, in characters: what was read for it, tags included
    result_tokens  the same in tokens; they count as read, not as written
    seconds        of the tool
    is_cut         the result was longer
    limit          where one was reached: the call was not run, and the result says so
    """

    sample: int = 0
    tool: str
    call_chars: int
    result_chars: int
    result_tokens: int
    seconds: float
    is_cut: bool
    limit: Limit | None = None
    result: str


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One agent's turn for one question.

    tokens_in     positions read and not written: prompt tokens, received messages, results of calls
    latent_steps  latent thoughts rolled out
    tokens_out    tokens written, the end token included; over all samples
    seconds       wall time of the turn; questions of one batch share their turns, and so this figure
    calls         of tools, sample by sample, each sample's in order
    """

    round: int
    role: str
    verb: Verb
    tokens_in: int
    latent_steps: int
    tokens_out: int
    seconds: float
    calls: tuple[Call, ...] = ()


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

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call of a tool, in order."""
        return tuple(call for turn in self.turns for call in turn.calls)

    def to_json(self) -> list[dict[str, Any]]:
        """The turns as tables; `calls` stands with those that made some."""
        tables = [asdict(turn) for turn in self.turns]
        return [{key: value for key, value in table.items() if key != "calls" or value} for table in tables]
