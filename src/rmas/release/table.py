"""The released systems: repositories, link keys and link types. Identifiers are theirs; they are the interface."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from rmas.designs import Place
from rmas.errors import ConfigError, unknown
from rmas.pattern import Edge

Task = Literal["math", "code"]
TASKS: tuple[Task, ...] = get_args(Task)
_OWNER = "RecursiveMAS"


@dataclass(frozen=True, kw_only=True)
class Released:
    """One system: its pattern, the repository of each role, and that of its outer links.

    `has_tasks`: it has links for mathematics and others for code; else one set for everything.
    """

    pattern: str
    roles: Mapping[str, str]
    outer: str
    has_tasks: bool = False

    def task(self, asked: str | None) -> Task | None:
        """The task whose links are meant; mathematics where nothing else was said."""
        for task in TASKS:
            if task == (asked or ("math" if self.has_tasks else None)):
                return task
        if asked is None:
            return None
        raise ConfigError(unknown("task", asked, TASKS) + " The release has links for these.")


def _repositories(prefix: str, **models: str) -> dict[str, str]:
    return {role: f"{_OWNER}/{prefix}-{role.capitalize()}-{model}" for role, model in models.items()}


RELEASED: Mapping[str, Released] = {
    "sequential-light": Released(
        pattern="sequential",
        roles=_repositories("Sequential-Light", planner="Qwen3-1.7B", critic="Llama3.2-1B", solver="Qwen2.5-Math-1.5B"),
        outer=f"{_OWNER}/Sequential-Light-Outerlinks",
        has_tasks=True,
    ),
    "sequential-scaled": Released(
        pattern="sequential",
        roles=_repositories("Sequential-Scaled", planner="Gemma3-4B", critic="Llama3.2-3B", solver="Qwen3.5-4B"),
        outer=f"{_OWNER}/Sequential-Scaled-Outerlinks",
        has_tasks=True,
    ),
    "mixture": Released(
        pattern="mixture",
        roles=_repositories(
            "Mixture",
            math="DeepSeek-R1-Distill-Qwen-1.5B",
            code="Qwen2.5-Coder-3B",
            science="BioMistral-7B",
            summarizer="Qwen3.5-2B",
        ),
        outer=f"{_OWNER}/Mixture-Outerlinks",
    ),
    "distillation": Released(
        pattern="distillation",
        roles=_repositories("Distillation", expert="Qwen3.5-9B", learner="Qwen3.5-4B"),
        outer=f"{_OWNER}/Distillation-Outerlinks",
        has_tasks=True,
    ),
    "deliberation": Released(
        pattern="deliberation",
        roles=_repositories("Deliberation", reflector="Qwen3.5-4B", toolcaller="Qwen3.5-4B"),
        outer=f"{_OWNER}/Deliberation-Outerlinks",
    ),
}

# Pattern -> the key of each outer link, and the edge that it serves.
KEYS: Mapping[str, Mapping[str, Edge]] = {
    "sequential": {
        "outer_12": Edge("planner", "critic"),
        "outer_23": Edge("critic", "solver"),
        "outer_31": Edge("solver", "planner"),
    },
    "mixture": {
        "outer_1s": Edge("math", "summarizer"),
        "outer_2s": Edge("code", "summarizer"),
        "outer_3s": Edge("science", "summarizer"),
        "outer_s1": Edge("summarizer", "math"),
        "outer_s2": Edge("summarizer", "code"),
        "outer_s3": Edge("summarizer", "science"),
    },
    "distillation": {"outer_el": Edge("expert", "learner"), "outer_le": Edge("learner", "expert")},
    "deliberation": {"outer_rt": Edge("reflector", "toolcaller"), "outer_tr": Edge("toolcaller", "reflector")},
}

# Their name of a type -> our design. Of the first that names a design, the files that we write speak.
TYPES: Mapping[Place, Mapping[str, str]] = {
    "inner": {
        "linear_adapter": "linear",
        "linear_res_adapter": "linear_res",
        "adapter": "mlp",
        "res_adapter": "mlp_res",
        "ln_res_adapter": "mlp_ln_res",
    },
    "outer": {
        "outer_linear_adapter": "linear",
        "outer_linear_res_adapter": "linear_res",
        "outer_adapter": "mlp",
        "outer_res_adapter": "mlp_res",
        "outer_ln_adapter": "mlp_ln",
        "outer_ln_res_adapter": "mlp_ln_res",
    },
}
ALIASES: Mapping[str, str] = {
    "1layer": "linear",
    "1layer_res": "linear_res",
    "2layer": "mlp",
    "2layer_res": "mlp_res",
    "2layer_ln_res": "mlp_ln_res",
}
# Our name of a module in a link -> theirs; the others are called alike.
MODULES: Mapping[Place, Mapping[str, str]] = {
    "inner": {"pre_norm": "pre_ln", "post_norm": "post_ln"},
    "outer": {"pre_norm": "ln_source", "post_norm": "ln_target"},
}


def find_released(name: str) -> Released:
    """A row of RELEASED; raises ConfigError with the nearest name."""
    if name not in RELEASED:
        raise ConfigError(unknown("released system", name, RELEASED) + " A bundle is named by its folder.")
    return RELEASED[name]


def type_of(design: str, place: Place) -> str:
    """The release's name of a design. Raises ConfigError where it has none."""
    for name, ours in TYPES[place].items():
        if ours == design:
            return name
    known = ", ".join(TYPES[place].values())
    raise ConfigError(f"{place} link design {design!r} has no counterpart in the release (have {known}).")
