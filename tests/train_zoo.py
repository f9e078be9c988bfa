"""Tiny trainings for the tests: examples, configs, trainers, and systems that load from a file of their own."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from rmas.backbone import TINY, HFBackbone
from rmas.backbone.tiny import _byte_tokenizer, new_backbone
from rmas.prompt import Question
from rmas.system import System, load_system
from rmas.train.config import OuterConfig, Report
from rmas.train.data import Example
from rmas.train.outer import OuterTrainer
from rmas.train.team import ALONE, Team
from zoo import tiny_system

PAIR = """pattern = "deliberation"
prompts = "words.toml"
start = "identity"
rounds = 2
latent_steps = 2
max_new_tokens = 4
[roles.reflector]
backbone = "tiny:llama"
[roles.toolcaller]
backbone = "tiny:mistral"
"""
WORDS = """[roles.reflector]
system = "You think."
sections = ["Ask: {question}", "Know: {context}", "Heard: {toolcaller}", "Think."]
[roles.toolcaller]
system = "You answer."
sections = ["Ask: {question}", "Know: {context}", "Heard: {reflector}", "Answer."]
"""
TARGETS = {"planner": "Plan it.", "critic": "Is that so?", "reflector": "Think of spiders.", "expert": "I know."}
EXAMPLES = tuple(
    Example(question=Question(text=text), answer=answer, targets=TARGETS)
    for text, answer in (("2 + 2?", "4"), ("Name a river.", "Nile"), ("Why?", "So."), ("Say it again.", "it"))
)


def quiet(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
    """Report nothing."""


def cut_at(done: int, stage: str | None = None) -> Report:
    """A report that interrupts the training there, of this stage alone or of any."""

    def stop(where: str, number: int, total: int, figures: Mapping[str, float]) -> None:
        if number == done and stage in (None, where):
            raise KeyboardInterrupt

    return stop


def same_weights(one: Path, other: Path) -> bool:
    """Whether two runs of the agent stage left the same tensors, bit by bit."""
    (ours,), (theirs,) = (list(run.glob("*/*model.safetensors")) for run in (one, other))
    first, second = load_file(ours), load_file(theirs)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def outer_config(**changes: Any) -> OuterConfig:
    """A short training on the first batch of EXAMPLES, all four of them."""
    short: dict[str, Any] = {"data": "examples", "dev": 0, "steps": 4, "batch_size": 4, "warmup": 0, "lr": 1e-2}
    return OuterConfig(**{**short, "rounds": 2, "latent_steps": 2, "max_new_tokens": 3, **changes})


def trainer_of(
    system: System,
    examples: tuple[Example, ...] = EXAMPLES,
    *,
    team: Team = ALONE,
    **changes: Any,
) -> OuterTrainer:
    """The trainer of a system over `examples`, one batch of them all unless `changes` say otherwise."""
    return OuterTrainer(system, outer_config(**{"batch_size": len(examples), **changes}), examples, team=team)


def gradients(system: System) -> dict[str, Tensor]:
    """Copies of the gradients that the links hold."""
    return {name: p.grad.clone() for name, p in system.named_parameters() if p.grad is not None}


def own_system(folder: Path, text: str = PAIR) -> System:
    """A system of a file in `folder`, links in float32; the same at every call."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    (folder / "words.toml").write_text(WORDS, encoding="utf-8")
    return load_system(str(folder / "mine.toml"), cache=folder / "cache")


@cache
def _wide() -> HFBackbone:
    config = TINY["qwen2"]["config"] | {"initializer_range": 0.3, "num_hidden_layers": 3, "num_key_value_heads": 4}
    return new_backbone("qwen2", config, _byte_tokenizer(None), name="wide", seed=0, dtype=torch.float64)


def swayed_system() -> System:
    """A pair whose messages matter: wide weights and three layers of attention. Float64."""
    spec = tiny_system("deliberation", ["qwen2"], outer="linear").spec
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return System(spec, dict.fromkeys(spec.pattern.roles, _wide())).double()


def sums_file(folder: Path, rows: int = 8) -> str:
    """A file of small sums, whose answers are one letter."""
    lines = [json.dumps({"question": f"{a} + 2?", "answer": "abcdefghij"[a % 10]}) for a in range(rows)]
    (folder / "sums.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(folder / "sums.jsonl")


def same_tensors(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    """Whether the names are the same, and every bit."""
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
