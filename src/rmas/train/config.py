"""What a training may be told: the data, the loop, the objective. One flat TOML table each. No torch."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, get_args

from rmas.designs import STARTS, known_designs
from rmas.errors import ConfigError, unknown
from rmas.prompt import KINDS, Kind
from rmas.settings import CONTROLS, Control, require, require_latent_steps

Objective = Literal["rollout", "teacher_forced", "mixed"]
# When to stop and to save, and how a batch is cut up: no number depends on them, but for the rounding of sums.
FREE = ("minutes", "save_every", "micro_batch")
Report = Callable[[str, int, int, Mapping[str, float]], None]  # stage, done, total, figures such as the loss


class Cost(NamedTuple):
    """What the steps of a training took, and the messages that were written for them. `operations`: of steps counted in
    the first eight and in every eighth after them, which stands for those behind it.
    """

    operations: float
    seconds: float


class TrainResult(NamedTuple):
    """What a training came to. `is_complete`: False where it stopped early and can be resumed."""

    steps: int
    figures: Mapping[str, float]
    is_complete: bool
    num_parameters: int  # that trained
    num_links: int  # how many of these are outer links'
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where examples come from. `columns`: what we call a column -> its name in the file."""

    data: str = field(metadata={"expected": "a file, a dataset's id or a generator"})
    kind: Kind = "open"
    columns: Mapping[str, str] = field(default_factory=dict)
    dev: int = 200  # examples held out
    limit: int | None = None  # examples read at most
    data_seed: int = 0
    answer_after: str | None = None  # the answer is what stands behind this mark, e.g. "####"
    solution_as_target: bool = False  # what stands before the mark becomes the role target

    @property
    def is_alone(self) -> bool:
        """Only a system's answerer takes part."""
        return False

    @property
    def trains_links(self) -> bool:
        """Outer links are among what trains."""
        return False

    def __post_init__(self) -> None:
        require(bool(self.data.strip()), "data", repr(self.data), "a file, a dataset's id or a generator")
        if self.kind not in KINDS:
            raise ConfigError(unknown("task kind", self.kind, KINDS))
        require(self.dev >= 0, "dev", self.dev, "0 (hold out none) or more")
        require(self.limit is None or self.limit >= 1, "limit", self.limit, "1 or more")
        require(self.answer_after != "", "answer_after", "empty", "the mark before the answer, such as ####")


@dataclass(frozen=True, kw_only=True)
class LoopConfig(DataConfig):
    """Steps, optimiser and schedule. `batch_size` counts what one optimiser step sees, over all processes."""

    steps: int = 300
    batch_size: int = 16
    micro_batch: int | None = None  # None: the whole batch at once
    lr: float = 3e-4
    relative_lr: bool = False  # lr is a share of each tensor's root mean square at the start
    constant_lr: float | None = None  # of learned constants; None: lr
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    warmup: int = 10  # steps
    decay: Literal["cosine", "constant"] = "cosine"
    clip: float = 1.0  # the longest gradient; inf: no clipping
    seed: int = 42
    save_every: int = 50  # steps
    dev_every: int = 50  # steps
    patience: int = 0  # dev evaluations without a better one before the end; 0: no early stop
    start: str | None = None  # None: what the system has
    save_dtype: Literal["float32", "bfloat16"] = "float32"  # of the links in the bundle; they train in float32

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "batch_size", "save_every", "dev_every"):
            require(vars(self)[name] >= 1, name, vars(self)[name], "1 or more")
        for name in ("warmup", "patience", "seed"):
            require(vars(self)[name] >= 0, name, vars(self)[name], "0 or more")
        fits = self.micro_batch is None or 1 <= self.micro_batch <= self.batch_size
        require(fits, "micro_batch", self.micro_batch, f"1 to batch_size ({self.batch_size})")
        require(0 < self.lr < float("inf"), "lr", self.lr, "a number above 0")
        fits = self.constant_lr is None or 0 < self.constant_lr < float("inf")
        require(fits, "constant_lr", self.constant_lr, "a number above 0")
        require(all(0 <= beta < 1 for beta in self.betas), "betas", self.betas, "two numbers of 0 or more, below 1")
        require(0 <= self.weight_decay < float("inf"), "weight_decay", self.weight_decay, "0 or more")
        require(self.clip > 0, "clip", self.clip, "above 0; inf for no clipping")
        _require_known("decay", self.decay, ("cosine", "constant"))
        _require_known("save_dtype", self.save_dtype, ("float32", "bfloat16"))
        if self.start is not None:
            _require_known("start", self.start, STARTS)


@dataclass(frozen=True, kw_only=True)
class InnerConfig(LoopConfig):
    """The inner stage: each agent's inner link towards its own embeddings. `batch_size` counts vectors."""

    steps: int = 1000
    batch_size: int = 1024
    lr: float = 5e-4
    norm_weight: float = 0.0  # of the term that matches norms, beside 1 - cos
    target: Literal["next_token", "soft_token"] = "next_token"
    positions: Literal["target", "all"] = "target"
    tau: float = 1.0  # temperature of the soft token
    max_length: int = 2048  # tokens of prompt and target
    roles: tuple[str, ...] = ()  # empty: all

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.norm_weight < float("inf"), "norm_weight", self.norm_weight, "0 or more")
        _require_known("target", self.target, ("next_token", "soft_token"))
        _require_known("positions", self.positions, ("target", "all"))
        require(0 < self.tau < float("inf"), "tau", self.tau, "a number above 0")
        require(self.max_length >= 2, "max_length", self.max_length, "2 or more")
        require(len(set(self.roles)) == len(self.roles), "roles", list(self.roles), "each role once")


@dataclass(frozen=True, kw_only=True)
class UnrolledConfig(LoopConfig):
    """A stage whose steps unroll a system's rounds. `batch_size` counts questions."""

    latent_steps: int | None = None  # of a latent message; None: the system's
    curriculum: tuple[tuple[int, int, int], ...] = ()  # (from step, rounds, latent steps), by step; of latents
    earlier_weight: float = 0.0  # of each earlier round's loss; 0: the last round only, 1: all equal
    gated: bool = False  # a round's loss counts by how likely the right answers of the rounds before it are
    across_rounds: bool = True  # gradients pass from a round to the ones before it
    clip_latents: float = math.inf  # nats that a question's loss may change by, as a latent does by its own length
    checkpointed: bool = True  # where thoughts have a gradient: turns are thought again for it, which saves memory
    by_length: bool = True  # batches of like length; false: sources of unlike lengths meet in every batch
    max_new_tokens: int = 32  # of a dev answer
    dev_batch: int = 32
    minutes: float | None = None  # stop cleanly after that much time

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_curriculum(self.curriculum)
        for name in ("max_new_tokens", "dev_batch"):
            require(vars(self)[name] >= 1, name, vars(self)[name], "1 or more")
        fits = not self.gated or self.earlier_weight > 0
        require(fits, "gated", self.gated, "false, or beside earlier_weight above 0: earlier rounds open the gate")
        require(self.minutes is None or self.minutes > 0, "minutes", self.minutes, "above 0")


@dataclass(frozen=True, kw_only=True)
class OuterConfig(UnrolledConfig):
    """The outer stage: all outer links through the unrolled rounds."""

    outer: str | None = None  # the design of every outer link; None: what the system has
    objective: Objective = "rollout"
    mixed_until: float = 0.5  # fraction of the steps over which teacher forcing fades from 1 to 0
    rounds: int | None = None  # None: the system's
    train_inner: bool = False
    constants: str | None = None  # a bundle whose learned constants these start from
    keep_thoughts: bool = False  # roll the first agents' thoughts out once, not in every epoch
    keep_heads: bool = False  # the same batches in every epoch; what their prompts begin with stays in memory
    target_cap: int = 80  # first states of a role target, in teacher forcing
    probes: tuple[Control, ...] = ("shuffled",)  # measured at each dev evaluation beside the real messages

    @property
    def trains_links(self) -> bool:
        return True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outer is not None:
            _require_known("outer link design", self.outer, known_designs("outer"))
        _require_known("objective", self.objective, get_args(Objective))
        require(0 < self.mixed_until <= 1, "mixed_until", self.mixed_until, "above 0, at most 1")
        require(self.rounds is None or self.rounds >= 1, "rounds", self.rounds, "1 or more")
        require_latent_steps(self.latent_steps)
        require(0 <= self.earlier_weight < float("inf"), "earlier_weight", self.earlier_weight, "0 or more")
        fits = self.clip_latents == math.inf or (self.clip_latents > 0 and self.objective != "teacher_forced")
        expected = "above 0, beside another objective than teacher_forced; inf for no clipping"
        require(fits, "clip_latents", self.clip_latents, expected)
        require(self.target_cap >= 1, "target_cap", self.target_cap, "1 or more")
        for probe in self.probes:
            _require_known("probe", probe, tuple(CONTROLS))


@dataclass(frozen=True, kw_only=True)
class AgentConfig(UnrolledConfig):
    """The agent stage: a system's answerer, fine-tuned, alone or hearing its team."""

    lr: float = 2e-4
    method: Literal["lora", "full"] = "lora"
    mixed_precision: Literal["none", "bfloat16"] = "none"  # in which type float32 weights are multiplied in training
    rank: int = 16  # of an adapter
    alpha: int = 32  # its change is scaled by alpha / rank
    rounds: int = 0  # of messages that stand in its prompt; 0: it is alone
    channel: Literal["text", "latent"] = "text"  # what messages are: written once, or latents of the team as it is
    message_tokens: int | None = None  # of a text message, at most; None: the system's
    rejection_samples: int = (
        0  # drawn for a question beside the likeliest messages: who wrote those that end well learns
    )
    links_lr: float | None = None  # of outer links that train with it, a share of each tensor's size; None: they stay
    shared: bool = False  # the model is tuned wherever a role has it: through latents all learn, in text who answers

    @property
    def is_alone(self) -> bool:
        return self.rounds == 0

    @property
    def trains_links(self) -> bool:
        return self.links_lr is not None

    @property
    def is_graded(self) -> bool:
        """Thoughts have a gradient: more than who answers trains."""
        return self.trains_links or (self.shared and self.channel == "latent")

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_known("method", self.method, ("lora", "full"))
        _require_known("mixed_precision", self.mixed_precision, ("none", "bfloat16"))
        _require_known("channel", self.channel, ("text", "latent"))
        for name in ("rank", "alpha"):
            require(vars(self)[name] >= 1, name, vars(self)[name], "1 or more")
        require(self.rounds >= 0, "rounds", self.rounds, "0 (alone) or more")
        has_text = self.rounds >= 1 and self.channel == "text"
        fits = self.message_tokens is None or (self.message_tokens >= 1 and has_text)
        require(fits, "message_tokens", self.message_tokens, "1 or more, beside rounds of 1 or more in text")
        fits = self.channel == "text" or self.rounds >= 1
        require(fits, "channel", self.channel, "text, or rounds of 1 or more")
        fits = self.latent_steps is None or (self.latent_steps >= 1 and self.channel == "latent")
        require(fits, "latent_steps", self.latent_steps, "1 or more, beside channel latent")
        fits = self.links_lr is None or (0 < self.links_lr < float("inf") and self.channel == "latent")
        require(fits, "links_lr", self.links_lr, "a number above 0, beside channel latent")
        require(not self.shared or self.rounds >= 1, "shared", self.shared, "false, or rounds of 1 or more")
        is_latent = self.channel == "latent"
        fits = self.rejection_samples == 0 or (self.rejection_samples >= 1 and has_text and self.shared)
        expected = "0, or more beside shared and rounds of 1 or more in text"
        require(fits, "rejection_samples", self.rejection_samples, expected)
        require(not self.curriculum or is_latent, "curriculum", list(self.curriculum), "none, or channel latent")
        fits = self.earlier_weight == 0 or (is_latent and 0 < self.earlier_weight < float("inf"))
        require(fits, "earlier_weight", self.earlier_weight, "0, or more beside channel latent")
        expected = "true, or beside links_lr or shared latents"
        require(self.across_rounds or self.is_graded, "across_rounds", self.across_rounds, expected)
        fits = self.clip_latents == math.inf or (self.clip_latents > 0 and self.is_graded)
        require(fits, "clip_latents", self.clip_latents, "above 0, beside links_lr or shared latents; inf: no clipping")
        if self.start is not None and self.channel == "text":
            raise ConfigError(f"start is {self.start}, but without latents no link is used. Leave it out.")


@dataclass(frozen=True, kw_only=True)
class PromptConfig(DataConfig):
    """The prompt stage: a system's answerer alone, its system text rewritten by TextGrad. Nothing else changes."""

    dev: int = 50
    steps: int = 12
    batch_size: int = 3  # questions whose answers are criticised in a step
    seed: int = 42
    feedback_tokens: int = 256  # of a criticism, and of a new text
    temperature: float = 0.7  # of both
    max_new_tokens: int = 32  # of an answer
    dev_batch: int = 32
    start: ClassVar[None] = None  # no links

    @property
    def is_alone(self) -> bool:
        return True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dev", "steps", "batch_size", "feedback_tokens", "max_new_tokens", "dev_batch"):
            require(vars(self)[name] >= 1, name, vars(self)[name], "1 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(0 <= self.temperature < float("inf"), "temperature", self.temperature, "0 or more")


def _require_curriculum(rows: Sequence[tuple[int, int, int]]) -> None:
    starts = [step for step, _, _ in rows]
    legal = all(step >= 0 and rounds >= 1 and latent >= 0 for step, rounds, latent in rows)
    expected = "rows of (from step, rounds, latent steps) with rising steps, each step and latent steps 0 or more"
    require(legal and starts == sorted(set(starts)), "curriculum", list(rows), expected)


def _require_known(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ConfigError(unknown(kind, name, known))
