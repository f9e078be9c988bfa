"""What a system is made of and needs, found out without loading any weights. None: only the weights could tell."""

import json
import math
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rmas.link import Place
    from rmas.sources import Source
    from rmas.spec import RoleSpec, SystemSpec

STATE_POSITIONS = 1000  # what "state" is given for: about a prompt with its messages and its answer
_LINK_BYTES = 4  # links are float32


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """One backbone. `state_width`: the width of one layer's keys (values have the same), or an upper bound for it."""

    width: int | None = None
    num_layers: int | None = None
    state_width: int | None = None
    num_parameters: int | None = None


@dataclass(frozen=True, kw_only=True)
class RoleFacts:
    """One role's backbone, where it will run and in which dtype."""

    role: str
    entry: "RoleSpec"
    model: ModelFacts
    device: str
    dtype: str
    item_bytes: int
    is_here: bool

    @property
    def source(self) -> "Source":
        return self.entry.source

    @property
    def weight_bytes(self) -> int | None:
        return None if self.model.num_parameters is None else self.model.num_parameters * self.item_bytes

    @property
    def state_bytes(self) -> int | None:
        """Keys and values of STATE_POSITIONS positions of one question."""
        if self.model.num_layers is None or self.model.state_width is None:
            return None
        return 2 * self.model.num_layers * self.model.state_width * self.item_bytes * STATE_POSITIONS


@dataclass(frozen=True, kw_only=True)
class LinkFacts:
    """One link: of a role (inner) or of an edge (outer)."""

    place: str
    where: str
    design: str
    d_in: int | None
    d_out: int | None
    num_parameters: int | None

    @property
    def num_bytes(self) -> int | None:
        return None if self.num_parameters is None else self.num_parameters * _LINK_BYTES


@dataclass(frozen=True, kw_only=True)
class SystemFacts:
    """Roles, links and memory. Roles that share a model share its weights."""

    roles: tuple[RoleFacts, ...]
    links: tuple[LinkFacts, ...]

    @property
    def models(self) -> tuple[RoleFacts, ...]:
        """One role per model that is held in memory."""
        return tuple({role.entry.model: role for role in reversed(self.roles)}.values())[::-1]

    @property
    def missing(self) -> tuple[str, ...]:
        """The models whose weights are not on this machine."""
        return tuple(dict.fromkeys(role.source.name for role in self.roles if not role.is_here))

    @property
    def weight_bytes(self) -> int | None:
        return _sum(role.weight_bytes for role in self.models)

    @property
    def state_bytes(self) -> int | None:
        return _sum(role.state_bytes for role in self.roles)

    @property
    def link_bytes(self) -> int | None:
        return _sum(link.num_bytes for link in self.links)

    @property
    def num_link_parameters(self) -> int | None:
        return _sum(link.num_parameters for link in self.links)

    @property
    def memory_bytes(self) -> int | None:
        """Weights, links, and the state of one question."""
        return _sum((self.weight_bytes, self.link_bytes, self.state_bytes))


def system_facts(spec: "SystemSpec", cache: Path) -> SystemFacts:
    """Everything about a system. Raises BackboneError for a family or device that does not exist."""
    from rmas.backbone import pick_device, pick_dtype
    from rmas.weights import is_ready

    roles = []
    for role, entry in spec.roles.items():
        is_tiny = entry.source.kind == "tiny"
        device = pick_device("cpu" if is_tiny else entry.device)
        dtype = pick_dtype("float64" if is_tiny else entry.dtype, device)
        facts = RoleFacts(
            role=role,
            entry=entry,
            model=_model_facts(entry.source, cache),
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
            item_bytes=dtype.itemsize,
            is_here=is_ready(entry.source, cache=cache),
        )
        roles.append(facts)
    return SystemFacts(roles=tuple(roles), links=_links(spec, {facts.role: facts.model.width for facts in roles}))


def machine_memory() -> int | None:
    """Bytes of memory that this process may use: the machine's, or its container's limit."""
    limits = []
    if sys.platform != "win32":
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
        limits.append(int(text))
    return min(limits, default=None)


def _links(spec: "SystemSpec", widths: dict[str, int | None]) -> tuple[LinkFacts, ...]:
    from rmas.link import count_parameters

    def facts(place: "Place", where: str, design: str, d_in: int | None, d_out: int | None) -> LinkFacts:
        count = (
            None
            if d_in is None or d_out is None
            else count_parameters(design, place, d_in, d_out, latent_steps=spec.latent_steps)
        )
        return LinkFacts(place=place, where=where, design=design, d_in=d_in, d_out=d_out, num_parameters=count)

    inner = [facts("inner", role, entry.inner, widths[role], widths[role]) for role, entry in spec.roles.items()]
    edges = spec.outer.items() if spec.roles else ()
    outer = [facts("outer", str(edge), design, widths[edge.source], widths[edge.target]) for edge, design in edges]
    return tuple(inner + outer)


def _model_facts(source: "Source", cache: Path) -> ModelFacts:
    """From the files on this disk, else from the table of known models."""
    from rmas.backbone import tiny_backbone
    from rmas.sources import find
    from rmas.weights import unpacked

    if source.kind == "tiny":
        model = tiny_backbone(source.name.removeprefix("tiny:"))
        count, layers = model.num_parameters, int(model.config.num_hidden_layers)
        return ModelFacts(width=model.dim, num_layers=layers, state_width=model.dim, num_parameters=count)
    path = find(source, cache=cache)
    folder = unpacked(path, cache) if path is not None and path.suffix == ".gguf" else path
    if folder is not None and (folder / "config.json").is_file():
        return _folder_facts(folder)
    if (known := source.model) is not None:
        return ModelFacts(
            width=known.dim, num_layers=known.num_layers, state_width=known.dim, num_parameters=known.num_parameters
        )
    return ModelFacts()


def _folder_facts(folder: Path) -> ModelFacts:
    config = _config(folder / "config.json")
    width = _whole(config, "hidden_size", "n_embd")
    heads = _whole(config, "num_attention_heads", "n_head")
    head_width = _whole(config, "head_dim") or (width // heads if width and heads else None)
    kv_heads = _whole(config, "num_key_value_heads") or heads
    return ModelFacts(
        width=width,
        num_layers=_whole(config, "num_hidden_layers", "n_layer"),
        state_width=kv_heads * head_width if kv_heads and head_width else width,
        num_parameters=_sum(_count(file) for file in folder.glob("*.safetensors")),
    )


def _config(file: Path) -> dict[str, Any]:
    """The text model's part of a config.json; empty where it cannot be read, for loading will say why."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    config = config if isinstance(config, dict) else {}
    text = config.get("text_config", config)
    return text if isinstance(text, dict) else config


def _whole(config: dict[str, Any], *names: str) -> int | None:
    for name in names:
        if isinstance(value := config.get(name), int):
            return value
    return None


def _count(file: Path) -> int | None:
    """The numbers in a safetensors file, from its header alone: 8 bytes of length, then JSON with every shape."""
    try:
        with file.open("rb") as opened:
            header = json.loads(opened.read(min(int.from_bytes(opened.read(8), "little"), 100_000_000)))
        return sum(int(math.prod(entry["shape"])) for name, entry in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _sum(numbers: Iterable[int | None]) -> int | None:
    """The total; None where one of them is unknown."""
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total
