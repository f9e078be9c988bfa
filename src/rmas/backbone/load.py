"""Backbones from a folder or a GGUF file; which device and dtype `auto` means."""

import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError

from rmas.backbone.hf import HFBackbone
from rmas.backbone.text import TextTokenizer
from rmas.errors import BackboneError, unknown

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DtypeName = Literal["auto", "float64", "float32", "bfloat16", "float16"]


def pick_device(name: str | None) -> torch.device:
    """`auto` or None: the first GPU, else the CPU. Raises BackboneError for a device that is not there."""
    if name in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(str(name))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as problem:
        reason = str(problem).splitlines()[0].rstrip(".")
        raise BackboneError(f"device {name!r}: {reason}. Use cpu, or a device you have.") from None
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto`: bfloat16 where the processor computes in it, else float32 (which emulation would only slow down)."""
    if name != "auto":
        if name not in DTYPES:
            raise BackboneError(unknown("dtype", name, ["auto", *DTYPES]))
        return DTYPES[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    has = torch.cpu.get_capabilities()
    return torch.bfloat16 if any(has.get(flag) for flag in ("avx512_bf16", "amx_bf16", "bf16")) else torch.float32


def load_backbone(folder: Path, *, name: str, device: torch.device, dtype: torch.dtype) -> HFBackbone:
    """A transformers folder (config, tokenizer, safetensors) -> a frozen backbone. Raises BackboneError."""
    with _without_strangers(folder) as place:
        model, tokenizer = _load(place, name, dtype=dtype)
    return HFBackbone(model.to(device), TextTokenizer(tokenizer), name=name)


def convert_gguf(file: Path, folder: Path) -> None:
    """Unpack a GGUF file into a transformers folder in bfloat16, atomically: `folder` appears whole or not at all."""
    from transformers import GgufConfig

    model, tokenizer = _load(
        file.parent,
        file.name,
        dtype=torch.bfloat16,
        gguf_file=file.name,
        quantization_config=GgufConfig(dequantize=True),
    )
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _without_strangers(folder: Path) -> Iterator[Path]:
    """`folder`; or where an adapter_config.json lies in it that is not peft's, as in released repositories, a passing
    folder of links to the rest, because transformers takes every such file for peft's. Writes nothing into `folder`.
    """
    stranger = folder / "adapter_config.json"
    if not stranger.is_file() or '"peft_type"' in stranger.read_text(encoding="utf-8", errors="replace"):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="rmas-") as scratch:
        for path in folder.iterdir():
            if path.is_file() and path != stranger:
                (Path(scratch) / path.name).symlink_to(path.resolve())
        yield Path(scratch)


def _load(folder: Path, name: str, **options: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    set_verbosity_error()
    disable_progress_bar()
    tokenizer_options = {"gguf_file": options["gguf_file"]} if "gguf_file" in options else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, **tokenizer_options)
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError, KeyError, SafetensorError, struct.error) as problem:
        reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise BackboneError(f"{name}: {folder} cannot be loaded as a causal language model: {reason}") from problem
    return model, tokenizer
