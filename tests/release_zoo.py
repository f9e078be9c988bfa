"""Released systems made up: complete role repositories and link files in the release's layout, tiny, of true families.

Written from the facts about that layout alone; shares with the package neither the names of links nor those of tensors.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor

from rmas.backbone import TINY
from rmas.backbone.tiny import new_backbone
from test_prompt import TEMPLATES

Form = Literal["by_task", "flat"]
FORMS: tuple[Form, ...] = ("by_task", "flat")


class Family(NamedTuple):
    """A row of TINY with a chat template of its kind, and a width."""

    name: str
    template: str
    width: int

    @property
    def config(self) -> dict[str, Any]:
        heads = {"head_dim": self.width // 4} if "head_dim" in TINY[self.name]["config"] else {}
        return {**TINY[self.name]["config"], "hidden_size": self.width, "intermediate_size": 2 * self.width, **heads}


@dataclass(frozen=True)
class Team:
    """A released system: its roles, its outer links as key -> (source, target), and whether it has links by task."""

    roles: Mapping[str, Family]
    keys: Mapping[str, tuple[str, str]]
    tasks: tuple[str, ...] = ()


_QWEN35 = Family("qwen3_5_text", "chatml", 32)
_CHAIN = {"outer_12": ("planner", "critic"), "outer_23": ("critic", "solver"), "outer_31": ("solver", "planner")}
TEAMS: Mapping[str, Team] = {
    "sequential-light": Team(
        roles={
            "planner": Family("qwen3", "chatml", 32),
            "critic": Family("llama", "headers", 32),
            "solver": Family("qwen2", "chatml", 48),
        },
        keys=_CHAIN,
        tasks=("math", "code"),
    ),
    "sequential-scaled": Team(
        roles={
            "planner": Family("gemma3_text", "turns", 40),
            "critic": Family("llama", "headers", 48),
            "solver": _QWEN35,
        },
        keys=_CHAIN,
        tasks=("math", "code"),
    ),
    "mixture": Team(
        roles={
            "math": Family("qwen2", "chatml", 24),
            "code": Family("qwen2", "chatml", 32),
            "science": Family("mistral", "inst", 40),
            "summarizer": _QWEN35,
        },
        keys={
            "outer_1s": ("math", "summarizer"),
            "outer_2s": ("code", "summarizer"),
            "outer_3s": ("science", "summarizer"),
            "outer_s1": ("summarizer", "math"),
            "outer_s2": ("summarizer", "code"),
            "outer_s3": ("summarizer", "science"),
        },
    ),
    "distillation": Team(
        roles={"expert": Family("qwen3_5_text", "chatml", 48), "learner": _QWEN35},
        keys={"outer_el": ("expert", "learner"), "outer_le": ("learner", "expert")},
        tasks=("math", "code"),
    ),
    "deliberation": Team(
        roles={"reflector": _QWEN35, "toolcaller": _QWEN35},
        keys={"outer_rt": ("reflector", "toolcaller"), "outer_tr": ("toolcaller", "reflector")},
    ),
}


class Repositories(NamedTuple):
    """Where they lie: the folder of each role, and that of the outer links."""

    roles: dict[str, Path]
    outer: Path

    @property
    def options(self) -> list[str]:
        """What `rmas convert` is told of them."""
        return [f"--role={role}={path}" for role, path in self.roles.items()] + [f"--outer={self.outer}"]

    def files(self) -> dict[Path, bytes]:
        """Every file in them."""
        folders = [*self.roles.values(), self.outer]
        return {path: path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}


def write_release(
    folder: Path, name: str, form: Form, *, seed: int = 0, dtype: torch.dtype = torch.bfloat16
) -> Repositories:
    """All repositories of a released system. `form`: of the outer links' manifest; inner links are as their system's.

    Links for each task differ. The file names of a flat repository are those that the authors' trainer gives.
    """
    team, roles = TEAMS[name], {}
    for number, (role, family) in enumerate(team.roles.items()):
        roles[role] = folder / f"{name}-{role}"
        write_model(roles[role], family, seed=seed + number)
        write_inner(roles[role], family.width, team.tasks, seed=100 * seed + number, dtype=dtype)
    outer = folder / f"{name}-outerlinks"
    tasks = (team.tasks or ("math",)) if form == "by_task" else ()
    write_outer(outer, team, tasks, seed=100 * seed, dtype=dtype)
    return Repositories(roles, outer)


@cache
def tokenizer_of(template: str) -> Any:
    """A byte-level BPE with merges, some of them over line ends."""
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=340,
        special_tokens=["<|pad|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["You are the planner.\n\nQuestion:\nThe plan is this.\nStep 1: ...\n"] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>"
    )
    tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


def write_model(folder: Path, family: Family, *, seed: int) -> None:
    """A whole copy of a base model, as role repositories hold one."""
    tokenizer = tokenizer_of(family.template)
    model = new_backbone(family.name, family.config, tokenizer, name=family.name, seed=seed).model
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_inner(folder: Path, width: int, tasks: Sequence[str], *, seed: int, dtype: torch.dtype) -> None:
    """Inner links by task with their manifest, or one `adapter.pt`."""
    write_json(folder / "adapter_config.json", {"adapter_type": "ln_res_adapter"})
    for number, task in enumerate(tasks):
        torch.save(inner_state(width, seed=seed + 10 * number, dtype=dtype), folder / f"adapter({task}).pt")
    if tasks:
        listed = {task: {"adapter.pt": f"adapter({task}).pt"} for task in tasks}
        write_json(folder / "innerlink_config.json", {"tasks": listed})
    else:
        torch.save(inner_state(width, seed=seed, dtype=dtype), folder / "adapter.pt")


def write_outer(folder: Path, team: Team, tasks: Sequence[str], *, seed: int, dtype: torch.dtype) -> None:
    """Outer links and their manifest, by task or flat."""
    folder.mkdir(parents=True)
    listed: dict[str, list[dict[str, Any]]] = {}
    for number, task in enumerate(tasks or [""]):
        listed[task] = []
        for place, (key, (source, target)) in enumerate(team.keys.items()):
            d_in, d_out = team.roles[source].width, team.roles[target].width
            name = f"{source.title()}-{target.title()}-Outerlink({task}).pt" if task else f"{key}.pt"
            torch.save(outer_state(d_in, d_out, seed=seed + 50 + 10 * number + place, dtype=dtype), folder / name)
            listed[task].append({"legacy_key": key, "filename": name, "in_dim": d_in, "out_dim": d_out})
    if tasks:
        write_json(folder / "outerlink_config.json", {"tasks": {t: {"adapters": rows} for t, rows in listed.items()}})
    else:
        write_json(folder / "outerlink_config.json", {"format_version": 1, "adapters": listed[""]})


def inner_state(width: int, *, seed: int, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    """An `ln_res_adapter` of random weights."""
    shapes = {"proj1": (width, width), "proj2": (width, width)}
    return _state(shapes, {"pre_ln": width, "post_ln": width}, seed=seed, dtype=dtype)


def outer_state(d_in: int, d_out: int, *, seed: int, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    """An `outer_ln_res_adapter` of random weights."""
    shapes = {"proj1": (2 * d_out, d_in), "proj2": (d_out, 2 * d_out), "residual_proj": (d_out, d_in)}
    return _state(shapes, {"ln_source": d_in, "ln_target": d_out}, seed=seed, dtype=dtype)


def _state(
    matrices: Mapping[str, tuple[int, int]], norms: Mapping[str, int], *, seed: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, (d_out, d_in) in matrices.items():
        state[f"{name}.weight"] = torch.randn(d_out, d_in, generator=draw) / d_in**0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(d_out, generator=draw)
    for name, width in norms.items():
        state[f"{name}.weight"] = 0.1 + 0.02 * torch.randn(width, generator=draw)
        state[f"{name}.bias"] = 0.02 * torch.randn(width, generator=draw)
    return {name: tensor.to(dtype) for name, tensor in state.items()}


def write_json(path: Path, table: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(table), encoding="utf-8")
