"""What a system file says, checked before any weight is touched. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rmas.errors import ConfigError, PromptError, unknown
from rmas.pattern import Edge, Pattern, load_pattern
from rmas.prompt import PromptPack, load_pack
from rmas.sources import Source, parse_source
from rmas.tomlfile import TomlFile, read_toml

SYSTEMS = Path(__file__).parent / "systems"
WEIGHTLESS = ("echo",)  # solvers that need no backbone
_KEYS = (
    "pattern prompts rounds latent_steps inner outer start tau links max_new_tokens message_tokens solver roles edges"
)


@dataclass(frozen=True, kw_only=True)
class RoleSpec:
    """One role: where its model comes from, where it runs, and its inner link's design."""

    source: Source
    inner: str
    device: str = "auto"
    dtype: str = "auto"


@dataclass(frozen=True, kw_only=True)
class SystemSpec:
    """A system file, resolved: pattern and prompts loaded, every name checked, defaults filled in."""

    name: str
    path: Path
    pattern: Pattern
    pack: PromptPack
    roles: Mapping[str, RoleSpec]
    outer: Mapping[Edge, str]
    rounds: int = 3
    latent_steps: int = 32
    start: str = "align"
    tau: float = 1.0
    links: Path | None = None
    max_new_tokens: int = 256
    message_tokens: int = 64
    solver: str = "recursive"
    table: Mapping[str, Any] = field(default_factory=dict)


def known_systems() -> list[str]:
    """The names of the systems that ship with the package."""
    return sorted(path.stem for path in SYSTEMS.glob("*.toml"))


def find_system(name: str) -> Path:
    """The file of a shipped system, a path to a TOML file, or a folder that holds a system.toml (a bundle)."""
    if name in known_systems():
        return SYSTEMS / f"{name}.toml"
    path = Path(name)
    if path.is_dir():
        return path / "system.toml"
    if name.endswith(".toml"):
        return path
    raise ConfigError(unknown("system", name, known_systems()) + " A path to a system ends in .toml or is a folder.")


def load_spec(name: str) -> SystemSpec:
    """Read and check a system. Raises ConfigError, PatternError, PromptError, BackboneError: file, line, key, fix."""
    path = find_system(name)
    file = read_toml(path, ConfigError)
    table = file.table
    file.only(table, _KEYS.split())
    base = path.parent
    pattern = load_pattern(_text(file, "pattern"), base=base)
    pack = load_pack(_text(file, "prompts", "native"), pattern.name, base=base)
    _check_slots(pattern, pack)
    links = table.get("links")
    return SystemSpec(
        name=base.name if path.name == "system.toml" else path.stem,
        path=path,
        pattern=pattern,
        pack=pack,
        roles={} if table.get("solver") in WEIGHTLESS else _roles(file, pattern),
        outer=_outer(file, pattern),
        rounds=_number(file, "rounds", 3, low=1),
        latent_steps=_number(file, "latent_steps", 32, low=0),
        start=_text(file, "start", "align"),
        tau=float(table.get("tau", 1.0)),
        links=None if links is None else base / links,
        max_new_tokens=_number(file, "max_new_tokens", 256, low=1),
        message_tokens=_number(file, "message_tokens", 64, low=1),
        solver=_text(file, "solver", "recursive"),
        table=table,
    )


def _roles(file: TomlFile, pattern: Pattern) -> dict[str, RoleSpec]:
    table = file.table.get("roles", {})
    for role in table:
        if role not in pattern.roles:
            raise file.fail(f"roles.{role}", unknown("role", role, pattern.roles))
    roles = {}
    for role in pattern.roles:
        key = f"roles.{role}"
        entry = table.get(role)
        if not isinstance(entry, dict) or not isinstance(entry.get("backbone"), str):
            raise file.fail(key, f'pattern {pattern.name!r} needs this role. Add [{key}] with backbone = "…".')
        file.only(entry, ("backbone", "inner", "device", "dtype"), prefix=f"{key}.")
        source = parse_source(entry["backbone"], base=file.path.parent)
        options = {name: str(entry[name]) for name in ("device", "dtype") if name in entry}
        inner = str(entry.get("inner", _text(file, "inner", "mlp_ln_res")))
        roles[role] = RoleSpec(source=source, inner=inner, **options)
    return roles


def _outer(file: TomlFile, pattern: Pattern) -> dict[Edge, str]:
    table = file.table.get("edges", {})
    file.only(table, [str(edge) for edge in pattern.edges], prefix="edges.")
    for name, entry in table.items():
        file.only(entry, ("outer",), prefix=f"edges.{name}.")
    default = _text(file, "outer", "mlp_ln_res")
    return {edge: str(table.get(str(edge), {}).get("outer", default)) for edge in pattern.edges}


def _check_slots(pattern: Pattern, pack: PromptPack) -> None:
    """Each edge into a role needs its slot in the role's prompt, and each slot its edge."""
    for role in pattern.roles:
        if (role, "open") not in pack.roles:
            raise PromptError(f"{pack.path}: roles.{role}: the pack has no wording for this role. Add [roles.{role}].")
        slots, sources = set(pack.slots(role)), {edge.source for edge in pattern.into(role)}
        for slot in sorted(slots - sources):
            raise PromptError(
                f"{pack.path}: roles.{role}: slot {{{slot}}} has no edge {slot}->{role} in pattern {pattern.name!r}. "
                "Drop the section, or add the edge."
            )
        for source in sorted(sources - slots):
            raise PromptError(
                f"{pack.path}: roles.{role}: edge {source}->{role} of pattern {pattern.name!r} has no slot. "
                f"Add a section with {{{source}}}."
            )


def _text(file: TomlFile, key: str, default: str | None = None) -> str:
    value = file.table.get(key, default)
    if not isinstance(value, str):
        raise file.fail(key, f"expected a text, got {value!r}.")
    return value


def _number(file: TomlFile, key: str, default: int, *, low: int) -> int:
    value = file.table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise file.fail(key, f"expected a whole number of {low} or more, got {value!r}.")
    return value
