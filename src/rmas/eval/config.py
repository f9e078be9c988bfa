"""What an evaluation may be told. No torch."""

from dataclasses import dataclass, field

from rmas.errors import ConfigError, unknown
from rmas.eval.judge import JudgeConfig
from rmas.settings import CONDITIONS, Condition, ToolFormat, check_tool_format, require, require_latent_steps


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """One run: a solver on a task. None: what the system's or the task's own file says."""

    task: str = field(metadata={"expected": "a task's name"})
    solver: str = "recursive"
    system: str = "smol"
    rounds: int | None = None
    latent_steps: int | None = None
    message_tokens: int | None = None  # of a text message
    control: Condition = "none"
    answerer: str | None = None  # a system whose answerer takes the place of this one's
    tools: tuple[str, ...] | None = None  # of the answerer; an empty list: none
    search: str | None = None  # who searches
    corpus: str | None = None  # a folder of texts to search
    tool_format: ToolFormat | None = None  # of calls: tags, or native to each model's family
    tool_calls: int | None = None  # of an answer
    tool_tokens: int | None = None  # of results that it may read
    tool_seconds: float | None = None  # for its calls together
    samples: int = 1  # a question
    seed: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int | None = None
    batch_size: int = 16
    limit: int | None = None
    data: str | None = None
    without: str | None = None  # sources whose questions are left out: what a system was trained on
    jobs: int = 2  # programs of a code task, or requests to the judge, at a time
    judge_url: str | None = None  # of short answers; its key is never a setting
    judge_model: str | None = None
    unsafe_run_code_without_sandbox: bool = False

    def __post_init__(self) -> None:
        if self.control not in CONDITIONS:
            raise ConfigError(unknown("control", self.control, CONDITIONS))
        if self.tool_format is not None:
            check_tool_format(self.tool_format)
        for name in ("samples", "batch_size", "jobs"):
            require(vars(self)[name] >= 1, name, vars(self)[name], "1 or more")
        for name in ("rounds", "message_tokens", "max_new_tokens", "limit", "tool_calls", "tool_tokens"):
            value = vars(self)[name]
            require(value is None or value >= 1, name, value, "1 or more")
        require_latent_steps(self.latent_steps)
        if (self.judge_url is None) != (self.judge_model is None):
            lacking = "judge_url" if self.judge_url is None else "judge_model"
            raise ConfigError(f"{lacking} is not set: a judge needs judge_url and judge_model. Set both or neither.")
        if self.judge_url is not None and self.judge_model is not None:
            JudgeConfig(url=self.judge_url, model=self.judge_model)  # refuses what cannot be one
        if self.samples > 1 and self.temperature == 0:
            raise ConfigError(
                f"samples is {self.samples} and temperature 0, so all would be alike. Set temperature, such as 0.6."
            )

    @property
    def is_batch_free(self) -> bool:
        """No answer depends on the batch that its question is in: it would on draws, and on another's messages."""
        return self.temperature == 0 and self.control == "none"

    @property
    def free(self) -> tuple[str, ...]:
        """What may differ when a run goes on, since no answer depends on it: a run may grow, and in other batches."""
        return ("jobs", "limit", *(("batch_size",) if self.is_batch_free else ()))
