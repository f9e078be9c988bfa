"""System files: found by name, read, and checked whole, each error with its line and key. No torch."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

from rmas.configfile import fit_in
from rmas.designs import STARTS, Place, known_designs
from rmas.errors import BackboneError, ConfigError, PromptError, unknown
from rmas.packs import load_pack, load_retries, with_later_kinds
from rmas.pattern import Edge, Pattern, load_pattern
from rmas.prompt import KINDS, PromptPack
from rmas.settings import DTYPES, MEMORIES, Memory, ToolConfig
from rmas.sources import fetch_bundle, hub_name, parse_source
from rmas.spec import RoleSpec, SystemSpec
from rmas.tomlfile import TomlFile, read_toml
from rmas.tools import TOOLS

SYSTEMS = Path(__file__).parent / "systems"
RELEASED_PREFIX = "released/"  # such a name is no hub's: rmas.release makes a bundle of it
DEFAULT_DESIGN = "mlp_ln_res"  # as released
WEIGHTLESS = ("echo",)  # solvers that need no backbone
_KEYS = (
    "pattern prompts rounds latent_steps memory inner outer start tau halts links max_new_tokens message_tokens solver "
    "roles edges retry later_kinds tools team"
)


def known_systems() -> list[str]:
    """The names of the systems that ship with the package."""
    return sorted(path.stem for path in SYSTEMS.glob("*.toml"))


def find_system(name: str) -> Path:
    """The file of a shipped system, a path to a TOML file, a folder that holds a system.toml (a bundle), or a bundle on
    the hub, `ORG/NAME@revision`, which is downloaded where need be."""
    if name in known_systems():
        return SYSTEMS / f"{name}.toml"
    path = Path(name)
    if path.is_dir():
        return path / "system.toml"
    if name.endswith(".toml"):
        return path
    if name.startswith(RELEASED_PREFIX):
        raise ConfigError(
            f"{name}: has to become a bundle first. Commands see to it; in Python, load what "
            "rmas.release.system_name gives for it."
        )
    if (hub := hub_name(name)) is not None:
        return fetch_bundle(hub) / "system.toml"
    raise ConfigError(
        unknown("system", name, known_systems()) + " A path ends in .toml or is a folder; on the hub it is ORG/NAME."
    )


def load_spec(name: str) -> SystemSpec:
    """Read and check a system. Raises ConfigError, PatternError, PromptError, BackboneError: file, line, key, fix."""
    path, hub = find_system(name), hub_name(name)
    file = read_toml(path, ConfigError)
    table = file.table
    file.only(table, _KEYS.split())
    base = path.parent
    pattern = load_pattern(_text(file, "pattern"), base=base)
    pack = load_pack(_text(file, "prompts", "native"), pattern.name, base=base)
    _check_slots(pattern, pack)
    pack = with_later_kinds(pack, pattern, _later_kinds(file))
    team = _team(file)
    roles = {} if table.get("solver") in WEIGHTLESS else _roles(file, pattern)
    pack = replace(pack, holders=_holders(file, roles, team))
    return SystemSpec(
        name=f"{hub.repository}@{base.name[:12]}" if hub else base.name if path.name == "system.toml" else path.stem,
        path=path,
        pattern=pattern,
        pack=pack,
        roles=roles,
        outer=_outer(file, pattern),
        rounds=_number(file, "rounds", 3, low=1),
        latent_steps=_number(file, "latent_steps", 32, low=0),
        memory=_memory(file),
        start=_start(file),
        tau=_tau(file),
        halts=_flag(file, "halts"),
        links=base / _text(file, "links") if "links" in table else None,
        max_new_tokens=_number(file, "max_new_tokens", 256, low=1),
        message_tokens=_number(file, "message_tokens", 64, low=1),
        solver=_text(file, "solver", "recursive"),
        tools=_tools(file, pattern),
        team=team,
        retries=load_retries(pack) if _flag(file, "retry") else {},
        table=table,
    )


def _roles(file: TomlFile, pattern: Pattern) -> dict[str, RoleSpec]:
    table = file.table.get("roles", {})
    file.only(table, pattern.roles, prefix="roles.", kind="role")
    default = _design(file, "inner", file.table.get("inner", DEFAULT_DESIGN), "inner")
    roles = {}
    for role in pattern.roles:
        key = f"roles.{role}"
        entry = table.get(role)
        if not isinstance(entry, dict) or not isinstance(entry.get("backbone"), str):
            raise file.fail(key, f'pattern {pattern.name!r} needs this role. Add [{key}] with backbone = "…".')
        file.only(entry, ("backbone", "inner", "device", "dtype", "adapter", "tools", "told"), prefix=f"{key}.")
        try:
            source = parse_source(entry["backbone"], base=file.path.parent)
        except BackboneError as problem:
            raise BackboneError(str(file.fail(f"{key}.backbone", str(problem)))) from None
        options = {name: entry[name] for name in ("device", "dtype", "adapter") if name in entry}
        for name, value in options.items():
            if not isinstance(value, str):
                raise file.fail(f"{key}.{name}", f"expected a text, got {value!r}.")
        if (dtype := options.get("dtype", "auto")) not in DTYPES:
            raise file.fail(f"{key}.dtype", unknown("dtype", dtype, DTYPES))
        inner = _design(file, f"{key}.inner", entry.get("inner", default), "inner")
        adapter = file.path.parent / options.pop("adapter") if "adapter" in options else None
        roles[role] = RoleSpec(source=source, inner=inner, adapter=adapter, **options)
    return roles


def _outer(file: TomlFile, pattern: Pattern) -> dict[Edge, str]:
    table = file.table.get("edges", {})
    file.only(table, [str(edge) for edge in pattern.edges], prefix="edges.")
    for name, entry in table.items():
        file.only(entry, ("outer",), prefix=f"edges.{name}.")
    default = _design(file, "outer", file.table.get("outer", DEFAULT_DESIGN), "outer")
    return {
        edge: _design(file, f"edges.{edge}.outer", table.get(str(edge), {}).get("outer", default), "outer")
        for edge in pattern.edges
    }


def _design(file: TomlFile, key: str, name: object, place: Place) -> str:
    known = known_designs(place)
    if name not in known:
        raise file.fail(key, unknown(f"{place} link design", str(name), known))
    return str(name)


def _start(file: TomlFile) -> str:
    start = _text(file, "start", "align")
    if start not in STARTS:
        raise file.fail("start", unknown("start", start, STARTS))
    return start


def _memory(file: TomlFile) -> Memory:
    name = _text(file, "memory", "latest")
    for memory in MEMORIES:
        if memory == name:
            return memory
    raise file.fail("memory", unknown("memory", name, MEMORIES))


def _later_kinds(file: TomlFile) -> dict[str, str]:
    table = file.table.get("later_kinds", {})
    file.only(table, KINDS, prefix="later_kinds.", kind="task kind")
    for kind, later in table.items():
        if later not in KINDS:
            raise file.fail(f"later_kinds.{kind}", unknown("task kind", str(later), KINDS))
    return dict(table)


def _flag(file: TomlFile, key: str) -> bool:
    value = file.table.get(key, False)
    if not isinstance(value, bool):
        raise file.fail(key, f"expected true or false, got {value!r}.")
    return value


def _team(file: TomlFile) -> tuple[str, ...]:
    team = file.table.get("team", [])
    if not isinstance(team, list) or not all(isinstance(role, str) for role in team):
        raise file.fail("team", f"expected a list of roles, got {team!r}.")
    return tuple(team)


def _holders(file: TomlFile, roles: Collection[str], team: tuple[str, ...]) -> dict[str, str]:
    """Role -> the role whose private context it is told, where its table says one."""
    holders = {role: file.table["roles"][role]["told"] for role in roles if "told" in file.table["roles"][role]}
    for role, holder in holders.items():
        if holder not in (known := (*roles, *team)):
            raise file.fail(f"roles.{role}.told", unknown("role", str(holder), known))
    return holders


def _tools(file: TomlFile, pattern: Pattern) -> ToolConfig:
    """The table [tools], and what roles have of their own; a corpus is seen from the file."""
    table, hints = file.table.get("tools", {}), get_type_hints(ToolConfig)
    roles_hint = hints.pop("roles")
    file.only(table, hints, prefix="tools.")
    values = {key: fit_in(file, f"tools.{key}", value, hints[key]) for key, value in table.items()}
    _check_tools(file, "tools.names", values.get("names", ()))
    own: dict[str, tuple[str, ...]] = {}
    for role, entry in file.table.get("roles", {}).items():
        if role in pattern.roles and "tools" in entry:
            own[role] = fit_in(file, f"roles.{role}.tools", entry["tools"], get_args(roles_hint)[1])
            _check_tools(file, f"roles.{role}.tools", own[role])
    values["names"] = own.pop(pattern.answerer, values.get("names", ()))
    values["roles"] = {role: names for role, names in own.items() if names}
    if "corpus" in values:
        values["corpus"] = str((file.path.parent / values["corpus"]).absolute())
    try:
        return ToolConfig(**values)
    except ConfigError as problem:
        raise file.fail("tools", str(problem).removeprefix("tools: ")) from None


def _check_tools(file: TomlFile, key: str, names: Iterable[str]) -> None:
    for name in names:
        if name not in TOOLS:
            raise file.fail(key, unknown("tool", name, TOOLS))


def _tau(file: TomlFile) -> float:
    value = file.table.get("tau", 1.0)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise file.fail("tau", f"expected a number above 0, got {value!r}.")
    return float(value)


def _check_slots(pattern: Pattern, pack: PromptPack) -> None:
    """Each edge into a role needs its slot in the role's prompt, and each slot its edge."""
    file = read_toml(pack.path, PromptError)
    for role in pattern.roles:
        if (role, "open") not in pack.roles:
            raise file.fail(f"roles.{role}", f"the pack has no wording for this role. Add [roles.{role}].")
        slots, sources = set(pack.slots(role)), {edge.source for edge in pattern.into(role)}
        for slot in sorted(slots - sources):
            raise file.fail(
                f"roles.{role}",
                f"slot {{{slot}}} has no edge {slot}->{role} in pattern {pattern.name!r}. "
                "Drop the section, or add the edge.",
            )
        for source in sorted(sources - slots):
            raise file.fail(
                f"roles.{role}",
                f"edge {source}->{role} of pattern {pattern.name!r} has no slot. Add a section with {{{source}}}.",
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
