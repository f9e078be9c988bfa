"""The stages of training, by name: settings, and who trains. No torch; a trainer is imported when it is asked for."""

import importlib
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from rmas.train.config import AgentConfig, InnerConfig, OuterConfig, PromptConfig, TrainResult

Name = Literal["inner", "outer", "agent", "prompt"]
StageConfig = InnerConfig | OuterConfig | AgentConfig | PromptConfig


class Stage(NamedTuple):
    """`trains`: `module:function`, called as `(system, config, out, resume=…, report=…)`."""

    about: str
    config: type[StageConfig]
    trains: str

    @property
    def trainer(self) -> Callable[..., TrainResult]:
        module, _, name = self.trains.partition(":")
        found: Callable[..., TrainResult] = getattr(importlib.import_module(module), name)
        return found


STAGES: Mapping[Name, Stage] = {
    "inner": Stage(
        "Train each agent's inner link towards the embeddings of its own model.",
        InnerConfig,
        "rmas.train.inner:train_inner",
    ),
    "outer": Stage(
        "Train all outer links together, through the unrolled rounds.",
        OuterConfig,
        "rmas.train.outer:train_outer",
    ),
    "agent": Stage(
        "Fine-tune a system's answerer (an adapter, or all weights), alone or hearing text: a baseline for links.",
        AgentConfig,
        "rmas.train.agent:train_agent",
    ),
    "prompt": Stage(
        "Rewrite the system text of a system's answerer on its own, by TextGrad: a baseline that trains no number.",
        PromptConfig,
        "rmas.train.wording:train_prompt",
    ),
}
