"""A backbone reference, as a system file writes it, understood: `parse_source("smollm2-135m", base=folder)`."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rmas.errors import BackboneError, unknown
from rmas.sources.table import MODELS, KnownModel

_FORMS = "a short name, owner/name@<commit>, a folder such as ./model, a .gguf file, or tiny:FAMILY"
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where one backbone comes from; what does not apply to its kind is None. `name` is for people."""

    kind: Literal["hub", "folder", "gguf", "tiny"]
    name: str
    hub_id: str | None = None
    revision: str | None = None
    path: Path | None = None
    model: KnownModel | None = None


def parse_source(text: str, *, base: Path) -> Source:
    """Read one reference; a relative path starts at `base`, the folder of the system file. Opens no weights.

    A short name wins over a folder of that name. Raises BackboneError for a name that nothing matches, a hub id
    without a full commit, and a folder or file that is not there or holds no weights. Whether a tiny family exists
    is not asked here.
    """
    if text in MODELS:
        model = MODELS[text]
        return Source(kind="hub", name=model.name, hub_id=model.hub, revision=model.revision, model=model)
    if text.startswith("tiny:"):
        return Source(kind="tiny", name=text)
    path = _path(text, base)
    if text.endswith(".gguf"):
        return _gguf(text, path)
    if _looks_like_a_path(text) or (text and _is_folder(path)):
        return _folder(text, path)
    hub_id, _, revision = text.partition("@")
    if HUB_ID.fullmatch(hub_id):
        return _hub(text, hub_id, revision)
    raise BackboneError(f"{unknown('model', text, MODELS)} Give {_FORMS}.")


def is_model_folder(path: Path) -> bool:
    """Whether `path` is a folder with a config.json and at least one .safetensors file."""
    return _is_file(path / "config.json") and any(path.glob("*.safetensors"))


def _looks_like_a_path(text: str) -> bool:
    return text in {".", ".."} or text.startswith(("./", "../", "~/")) or Path(text).is_absolute()


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - unlike pathlib, says no to a name too long or with a NUL in it


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - as above


def _path(text: str, base: Path) -> Path:
    return (base / (Path(text).expanduser() if text.startswith("~/") else text)).absolute()


def _gguf(text: str, path: Path) -> Source:
    if not _is_file(path):
        raise BackboneError(f"model {text!r}: no such file ({str(path)!r}). Check the path.")
    return Source(kind="gguf", name=path.stem, path=path)


def _folder(text: str, path: Path) -> Source:
    if not _is_folder(path):
        raise BackboneError(f"model {text!r}: no such folder ({str(path)!r}). Check the path.")
    if not is_model_folder(path):
        raise BackboneError(
            f"model {text!r}: {str(path)!r} lacks a config.json or a .safetensors file. Save the model there with both."
        )
    return Source(kind="folder", name=path.resolve().name, path=path)


def _hub(text: str, hub_id: str, revision: str) -> Source:
    if not COMMIT.fullmatch(revision):
        raise BackboneError(
            f"model {text!r}: a hub id needs its full commit (40 hex digits), because a branch or tag can move. "
            f"Pin a revision: {hub_id}@<commit>."
        )
    model = next((row for row in MODELS.values() if (row.hub, row.revision) == (hub_id, revision)), None)
    return Source(kind="hub", name=hub_id.partition("/")[2], hub_id=hub_id, revision=revision, model=model)
