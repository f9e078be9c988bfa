"""A relay on disk: three frozen agents as transformers folders, a system file that names them, and its data.

relay.toml       for `rmas train inner` and `rmas train outer`
inner.jsonl      what each agent replies to the states that links may see
train.jsonl      start states that links may see, with the answer of every round
held_out.jsonl   the others
"""

import shutil
from pathlib import Path

import tomli_w

from benchmarks.relay.agents import PATTERN, PROMPTS, Grade, train_agent
from benchmarks.relay.task import ROLES, Relay, inner_row, outer_row, write_rows
from rmas.backbone import HFBackbone

LATENT_STEPS = 2  # one latent a symbol


def build(
    relay: Relay, folder: Path, *, rounds: int = 3, agent_steps: int = 400, agent_batch: int = 256
) -> dict[str, Grade]:
    """Train the agents and write all that goes with them into `folder`; how each agent ended."""
    grades = {}
    for role in ROLES:
        backbone, grades[role] = train_agent(role, relay, steps=agent_steps, batch_size=agent_batch)
        save_agent(backbone, folder / role)
    seen, held_out = relay.split()
    write_rows(folder / "inner.jsonl", (inner_row(relay, state) for state in seen))
    write_rows(folder / "train.jsonl", (outer_row(relay, start, rounds=rounds) for start in seen))
    write_rows(folder / "held_out.jsonl", (outer_row(relay, start, rounds=rounds) for start in held_out))
    write_system(folder, rounds=rounds)
    return grades


def save_agent(backbone: HFBackbone, folder: Path) -> None:
    """An ordinary transformers folder: config, weights, tokenizer."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.hf.save_pretrained(folder)


def write_system(folder: Path, *, rounds: int, start: str = "align") -> Path:
    """relay.toml, which names the agents' folders beside it, and the prompts."""
    shutil.copy(PROMPTS, folder / PROMPTS.name)
    table = {
        "pattern": PATTERN,
        "prompts": PROMPTS.name,
        "rounds": rounds,
        "latent_steps": LATENT_STEPS,
        "inner": "mlp_res",
        "outer": "linear",
        "start": start,
        "max_new_tokens": 4,
        "message_tokens": 4,
        "roles": {role: {"backbone": f"./{role}", "device": "cpu", "dtype": "float32"} for role in ROLES},
    }
    path = folder / "relay.toml"
    path.write_text(tomli_w.dumps(table), encoding="utf-8")
    return path
