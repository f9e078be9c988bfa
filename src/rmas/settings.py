"""What a run may be told: rounds, channel, sampling, dtype. Checked here, before anything heavy loads. No torch."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, get_args

from rmas.errors import BackboneError, ConfigError, unknown

if TYPE_CHECKING:
    import torch

CHANNELS = ("latent", "text")
Control = Literal["shuffled", "mean", "rotated", "covariance", "noise", "zeroed"]
CONTROLS: Mapping[Control, str] = {  # -> what then stands in the messages' place
    "shuffled": "messages of another question",
    "mean": "the mean of other questions' messages",
    "rotated": "messages turned at random",
    "covariance": "noise of the messages' covariance",
    "noise": "noise of the messages' norm",
    "zeroed": "messages zeroed",
}
Condition = Literal["none", Control, "alone"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)  # a run as it is, under each control, and the answerer alone
Memory = Literal["latest", "sum", "all"]
MEMORIES: tuple[Memory, ...] = get_args(Memory)
ToolFormat = Literal["tags", "native"]
DTYPES = ("auto", "float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class ToolConfig:
    """Who has which tools, and what one text may use of them. No key stands here.

    names         of the answerer: rows of `rmas.tools.TOOLS`; none: no tools
    search        who searches: a row of `rmas.tools.PROVIDERS`
    corpus        what the provider of that name searches: a folder of .txt, .md and .jsonl files
    calls         that an answer, or a message in text, may make
    tokens        of results that it may read; fewer where its context has no room for them
    seconds       that its calls may take together; one that is under way is finished
    call_seconds  that one call of python may take
    chars         of one result, at most
    roles         of other agents, by role: what they may call where they write
    format        of calls and results: tags of ours, or what each model's own family writes
    """

    names: tuple[str, ...] = ()
    search: str = "corpus"
    corpus: str | None = None
    calls: int = 5
    tokens: int = 4096
    seconds: float = 60.0
    call_seconds: float = 10.0
    chars: int = 4000
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    format: ToolFormat = "tags"

    @property
    def every(self) -> tuple[str, ...]:
        """The tools that anybody has."""
        return tuple(dict.fromkeys([*self.names, *chain.from_iterable(self.roles.values())]))

    @property
    def told(self) -> list[object]:
        """What it says, wherever a corpus lies."""
        corpus = None if self.corpus is None else PurePath(self.corpus).name
        *own, roles, written = (vars(self) | {"corpus": corpus}).values()
        later = [roles] if roles else []  # digests from before roles had tools stay as they were
        return [*own, *later, *([written] if written != "tags" else [])]

    def changed(self, **given: Any) -> "ToolConfig":
        """With what is given and not None in the place of its own. No `names`: nobody has any."""
        found: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if found.get("names") == ():
            found["roles"] = {}
        return replace(self, **found)

    def __post_init__(self) -> None:
        check_tool_format(self.format)
        for name in ("calls", "tokens", "chars"):
            require(vars(self)[name] >= 1, f"tools: {name}", vars(self)[name], "1 or more")
        for name in ("seconds", "call_seconds"):
            require(0 < vars(self)[name] < float("inf"), f"tools: {name}", vars(self)[name], "more than 0")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a system is run. None: what the system's file says. `message_tokens`: the text channel's cap per message.

    `control`: what is done to its messages; `alone`: nobody thinks, and the answerer speaks with empty slots.
    `answerer`: a system, such as a bundle of `rmas train agent`, whose answerer takes the place of the system's own.
    `tools`: what its agents may call; without names, the answerer calls nothing.
    """

    rounds: int | None = None
    latent_steps: int | None = None
    channel: Literal["latent", "text"] = "latent"
    message_tokens: int | None = None
    control: Condition = "none"
    answerer: str | None = None
    tools: ToolConfig | None = None
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.channel not in CHANNELS:
            raise ConfigError(unknown("channel", self.channel, CHANNELS))
        if self.control not in CONDITIONS:
            raise ConfigError(unknown("control", self.control, CONDITIONS))
        if self.channel == "text" and self.control not in ("none", "shuffled", "alone"):
            raise ConfigError(f"control is {self.control}, which is for latents. With text use shuffled or alone.")
        require(self.rounds is None or self.rounds >= 1, "rounds", self.rounds, "1 or more")
        require_latent_steps(self.latent_steps)
        require(
            self.message_tokens is None or self.message_tokens >= 1, "message_tokens", self.message_tokens, "1 or more"
        )
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How text is drawn. temperature 0 is greedy; top_k 0 and top_p 1 keep every token; `samples` share one prefill."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    seed: int = 0
    samples: int = 1

    def __post_init__(self) -> None:
        require(0 <= self.temperature < float("inf"), "temperature", self.temperature, "0 or more")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0, at most 1")
        require(self.top_k >= 0, "top_k", self.top_k, "0 (off) or more")
        require(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "1 or more")
        require(self.samples >= 1, "samples", self.samples, "1 or more")
        require("" not in self.stop, "stop", self.stop, "strings that are not empty")

    def generators(self, *salt: str) -> "list[torch.Generator]":
        """One generator per sample, seeded by (seed, salt, sample number)."""
        import torch

        keys = (f"{self.seed}\0{number}\0" + "\0".join(salt) for number in range(self.samples))
        seeds = (int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1 for key in keys)
        return [torch.Generator().manual_seed(seed) for seed in seeds]


def require(holds: bool, name: str, value: object, expected: str) -> None:
    """Raise ConfigError with the name, the value and what was expected, unless it holds."""
    if not holds:
        raise ConfigError(f"{name} is {value}, expected {expected}.")


def require_latent_steps(latent_steps: int | None) -> None:
    """Refuse a negative number. 0 is legal: the answerer speaks alone."""
    require(latent_steps is None or latent_steps >= 0, "latent_steps", latent_steps, "0 (the answerer alone) or more")


def check_control(name: str) -> None:
    """Raise ConfigError with the nearest name, unless `name` is one of CONTROLS."""
    if name not in CONTROLS:
        raise ConfigError(unknown("control", name, CONTROLS))


def check_tool_format(name: str) -> None:
    """Raise ConfigError with the nearest name, unless `name` is a ToolFormat."""
    if name not in get_args(ToolFormat):
        raise ConfigError(unknown("tool format", name, get_args(ToolFormat)))


def check_dtype(name: str) -> str:
    """`name`, where it is one of DTYPES; raises BackboneError with the nearest."""
    if name not in DTYPES:
        raise BackboneError(unknown("dtype", name, DTYPES))
    return name
