"""Fine-tuning of a backbone, for the baselines: a low-rank adapter (Hu et al. 2021, arXiv:2106.09685) or all weights.

An adapter is peft's, and kept as peft keeps it: `adapter_config.json` and `adapter_model.safetensors`, which other
tools read. Where it is loaded it is added into the weights, and the backbone is a plain frozen one again.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rmas.backbone.hf import HFBackbone
from rmas.errors import BackboneError, CheckpointError
from rmas.wholefile import write_whole

WEIGHTS = "adapter_model.safetensors"
_MISSING = "adapters need peft: pip install 'rmas[train]'."


def add_adapter(
    backbone: HFBackbone, *, rank: int, alpha: int, seed: int, begun: Path | None = None
) -> dict[str, nn.Parameter]:
    """Put an adapter beside every linear map but the head; -> its parameters, float32 or wider, which train.

    It starts as no change at all, or as the one that is kept in the folder `begun`. `seed` draws its first factors; the
    global random state stays as it was. Raises BackboneError where peft is missing, or `begun` has other maps or ranks.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise BackboneError(_MISSING) from None
    with torch.random.fork_rng(devices=[]), _quietly():
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
        backbone.adapted = get_peft_model(backbone.model, config)
    found = {name: p for name, p in backbone.model.named_parameters() if p.requires_grad}
    if backbone.dtype == torch.float64:  # peft begins in float32
        for parameter in found.values():
            parameter.data = parameter.data.double()
    if begun is not None:
        _fill(found, begun)
    return found


def _fill(parameters: dict[str, nn.Parameter], folder: Path) -> None:
    """Give an adapter the values that a stored one has. Raises BackboneError where they are not for it."""
    kept = {name.replace(".weight", ".default.weight"): tensor for name, tensor in read_adapter(folder).items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in kept.items()}
    wanted = {f"base_model.model.{name}": tuple(parameter.shape) for name, parameter in parameters.items()}
    if shapes != wanted:
        odd = min(dict(shapes.items() ^ wanted.items()))
        reason = f"{odd} is {shapes.get(odd, 'missing')}, expected {wanted.get(odd, 'none')}"
        raise BackboneError(f"adapter {folder}: cannot be trained on ({reason}). Train a fresh one.")
    for name, parameter in parameters.items():
        parameter.data.copy_(kept[f"base_model.model.{name}"])


def free_weights(backbone: HFBackbone) -> dict[str, nn.Parameter]:
    """All weights of the model, which then train."""
    return {name: p.requires_grad_() for name, p in backbone.model.named_parameters()}


def save_adapter(backbone: HFBackbone, folder: Path) -> None:
    """Write the adapter as peft does. Raises CheckpointError where the folder cannot be written."""
    assert backbone.adapted is not None, "an adapter was added"
    try:
        backbone.adapted.save_pretrained(str(folder), safe_serialization=True)
        path = folder / "adapter_config.json"  # the model's place on this machine is nobody's business
        config = json.loads(path.read_text(encoding="utf-8")) | {"base_model_name_or_path": backbone.name}
        write_whole(path, json.dumps(config, indent=2, sort_keys=True) + "\n")
    except (OSError, SafetensorError) as problem:
        raise _unwritable(folder, problem) from None


def save_weights(backbone: HFBackbone, folder: Path) -> None:
    """Write model and tokenizer as a transformers folder. Raises CheckpointError where it cannot be written."""
    try:
        backbone.model.save_pretrained(folder)
        backbone.tokenizer.hf.save_pretrained(folder)
    except (OSError, SafetensorError) as problem:
        raise _unwritable(folder, problem) from None


def settle_adapter(backbone: HFBackbone) -> None:
    """Add the adapter that trained into the weights, as loading it would; the backbone is a plain frozen one again."""
    assert backbone.adapted is not None, "an adapter was added"
    with _quietly():
        backbone.adapted.merge_and_unload().requires_grad_(False)
    backbone.adapted = None


def copy_backbone(backbone: HFBackbone) -> HFBackbone:
    """The same model with weights of its own, so that it can change alone."""
    return HFBackbone(deepcopy(backbone.model), backbone.tokenizer, name=backbone.name)


def merge_adapter(backbone: HFBackbone, folder: Path) -> None:
    """Add a stored adapter into the weights of `backbone`. Raises BackboneError where it does not fit or is none."""
    try:
        from peft import PeftModel
    except ImportError:
        raise BackboneError(_MISSING) from None
    _check_there(folder)
    try:
        with _quietly():
            merged: Any = PeftModel.from_pretrained(backbone.model, str(folder)).merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as problem:
        reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise BackboneError(f"adapter {folder}: does not fit {backbone.name} ({reason}).") from None
    merged.requires_grad_(False)


def read_adapter(folder: Path) -> dict[str, Tensor]:
    """The tensors of a stored adapter, by peft's names. Raises BackboneError where they are missing or not readable."""
    _check_there(folder)
    try:
        return load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as problem:
        raise BackboneError(f"adapter {folder}: cannot be read ({problem}). Get the folder again.") from None


def _check_there(folder: Path) -> None:
    if not (folder / WEIGHTS).is_file():
        raise BackboneError(
            f"adapter {folder}: no {WEIGHTS} there. Name a folder that rmas train agent, or peft, wrote."
        )


def _unwritable(folder: Path, problem: Exception) -> CheckpointError:
    return CheckpointError(f"{folder}: cannot be written ({problem}). Free some room or check the path.")


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what peft and transformers have to say to each other, and about maps whose weights lie the other way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
