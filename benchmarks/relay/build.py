"""A relay on disk: three frozen agents as transformers folders, a system file that names them, and its data.

`rmas train outer FOLDER/relay.toml --data FOLDER/train.jsonl --out DIR` trains the links on it.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import tomli_w

from benchmarks.relay.agents import PATTERN, PROMPTS, Grade, train_agent
from benchmarks.relay.task import ROLES, Relay, write_rows
from rmas.backbone import HFBackbone

ROUNDS, LATENT_STEPS = 3, 2  # one latent a symbol
SHARE = 0.4  # of the start states, for training the links


def build(relay: Relay, folder: Path) -> dict[str, Grade]:
    """Train the agents, save them and all that goes with them into `folder`; how each agent ended."""
    grades = {}
    for role in ROLES:
        backbone, grades[role] = train_agent(role, relay)
        save_agent(backbone, folder / role)
    write_system(folder)
    train, held_out = relay.split(SHARE)
    write_rows(folder / "train.jsonl", relay, train, rounds=ROUNDS)
    write_rows(folder / "held_out.jsonl", relay, held_out, rounds=ROUNDS)
    return grades


def save_agent(backbone: HFBackbone, folder: Path) -> None:
    """An ordinary transformers folder: config, weights, tokenizer."""
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.hf.save_pretrained(folder)


def write_system(folder: Path, *, inner: str = "linear", outer: str = "linear", start: str = "pytorch") -> Path:
    """relay.toml, with the prompts beside it; the agents' folders are named relative to it."""
    shutil.copy(PROMPTS, folder / PROMPTS.name)
    table: Mapping[str, object] = {
        "pattern": PATTERN,
        "prompts": PROMPTS.name,
        "rounds": ROUNDS,
        "latent_steps": LATENT_STEPS,
        "inner": inner,
        "outer": outer,
        "start": start,
        "max_new_tokens": 4,
        "message_tokens": 4,
        "roles": {role: {"backbone": f"./{role}", "device": "cpu", "dtype": "float32"} for role in ROLES},
    }
    path = folder / "relay.toml"
    path.write_text(tomli_w.dumps(table), encoding="utf-8")
    return path
