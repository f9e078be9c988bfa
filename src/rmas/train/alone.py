"""What stages that train an agent alone share: what it can read, and its bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from rmas.engine import LatentChannel
from rmas.errors import CheckpointError, PromptError
from rmas.packs import PACKS, known_packs
from rmas.prompt import Kind
from rmas.spec import SystemSpec
from rmas.tomlfile import read_toml
from rmas.train.journal import draw_curves
from rmas.wholefile import write_whole

PROMPTS = "prompts"  # the folder of a wording of its own
ALONE = LatentChannel(latent_steps=0)


def keep_alone(
    spec: SystemSpec,
    out: Path,
    *,
    entry: Mapping[str, str],
    max_new_tokens: int,
    card: str,
    wording: tuple[Kind, str] | None = None,
) -> None:
    """Write the bundle of `spec`, a system of one role, to `out`: system file, own wording, curves, a few words.

    `entry`: where the role's model is now, over where it was. `wording`: a kind of question and the system text that
    the role now has for it. Raises CheckpointError where the folder cannot be written.
    """
    (role,), source = spec.pattern.roles, spec.roles[spec.pattern.answerer].source
    backbone = str(source.path) if source.path is not None else source.name
    is_own = wording is not None or spec.pack.name not in known_packs()
    table: dict[str, Any] = {"pattern": "solo", "prompts": PROMPTS if is_own else spec.pack.name}
    table |= {"solver": "single", "inner": "linear", "start": "identity", "max_new_tokens": max_new_tokens}
    if others := [name for name in dict.fromkeys(spec.team) if name != role]:
        table["team"] = others
    told = {"told": spec.pack.holders[role]} if role in spec.pack.holders else {}
    table |= {"roles": {role: {"backbone": backbone, **told, **entry}}}
    draw_curves(out)
    try:
        if is_own:
            _keep_prompts(spec, out / PROMPTS, wording)
        write_whole(out / "system.toml", tomli_w.dumps(table))
        write_whole(out / "README.md", card)
    except OSError as problem:
        raise CheckpointError(
            f"{out}: cannot be written ({problem.strerror}). Free some room or check the path."
        ) from None


def _keep_prompts(spec: SystemSpec, folder: Path, wording: tuple[Kind, str] | None) -> None:
    """The pack's file of the one pattern, with the new system text in its place. Raises OSError."""
    folder.mkdir(exist_ok=True)
    path, (role,) = spec.pack.path, spec.pattern.roles
    own = path.with_name("tasks.toml")
    tasks = own if own.exists() else PACKS / "native" / "tasks.toml"
    table = read_toml(path, PromptError).table
    if wording is not None:
        kind, text = wording
        table["roles"][role].setdefault("tasks", {}).setdefault(kind, {})["system"] = text
    write_whole(folder / "solo.toml", tomli_w.dumps(table))
    write_whole(folder / "tasks.toml", tasks.read_text(encoding="utf-8"))
