"""`rmas show`: a pattern as a graph; a system with its widths, links and memory. Loads no weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rmas import graph
from rmas.cli.fetch import named
from rmas.cli.options import CacheOption, DeviceOption, DtypeOption, JsonOption, cache_folder
from rmas.cli.screen import print_json, size, table
from rmas.errors import ConfigError, unknown

if TYPE_CHECKING:
    from rmas.cli.facts import SystemFacts
    from rmas.pattern import Pattern
    from rmas.spec import SystemSpec


def show(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="SYSTEM|PATTERN",
            help="A pattern or a system: a name, a file, a bundle, released/NAME, ORG/NAME@revision.",
        ),
    ],
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a pattern's graph, or a system's models, links and memory."""
    from rmas.systemfile import load_spec

    subject = named(subject, cache_folder(cache))
    pattern = _pattern(subject)
    if pattern is not None:
        print_json(graph.to_json(pattern)) if as_json else print(graph.describe(pattern))
        return
    spec = load_spec(subject).placed(device=device, dtype=dtype)

    from rmas.cli.facts import system_facts

    facts = system_facts(spec, cache_folder(cache))
    print_json(_to_json(spec, facts)) if as_json else print(_describe(spec, facts))


def _pattern(subject: str) -> "Pattern | None":
    """The pattern that `subject` names; None for a system."""
    from rmas.pattern import known_patterns, load_pattern
    from rmas.sources import hub_name
    from rmas.systemfile import known_systems
    from rmas.tomlfile import read_toml

    if subject in known_systems() or Path(subject).is_dir() or hub_name(subject) is not None:
        return None
    if subject in known_patterns():
        return load_pattern(subject)
    if not subject.endswith(".toml"):
        known = [*known_systems(), *known_patterns()]
        raise ConfigError(
            unknown("system or pattern", subject, known) + " A path ends in .toml or is a folder; on the hub: ORG/NAME."
        )
    keys = read_toml(Path(subject), ConfigError).table.keys()
    return load_pattern(subject) if "pattern" not in keys and keys & {"schedule", "answerer"} else None


def _to_json(spec: "SystemSpec", facts: "SystemFacts") -> dict[str, Any]:
    roles = [
        {
            "role": role.role,
            "backbone": role.source.name,
            "source": role.source.kind,
            "width": role.model.width,
            "num_layers": role.model.num_layers,
            "num_parameters": role.model.num_parameters,
            "dtype": role.dtype,
            "device": role.device,
            "is_here": role.is_here,
        }
        for role in facts.roles
    ]
    links = [
        {
            "place": link.place,
            "where": link.where,
            "design": link.design,
            "d_in": link.d_in,
            "d_out": link.d_out,
            "num_parameters": link.num_parameters,
            "bytes": link.num_bytes,
        }
        for link in facts.links
    ]
    memory = {
        "weights": facts.weight_bytes,
        "links": facts.link_bytes,
        "state": facts.state_bytes,
        "total": facts.memory_bytes,
    }
    return {
        "system": spec.name,
        **graph.to_json(spec.pattern),
        "solver": spec.solver,
        "rounds": spec.rounds,
        "latent_steps": spec.latent_steps,
        "halts": spec.halts,
        "start": None if spec.links else spec.start,
        "roles": roles,
        "links": links,
        "num_link_parameters": facts.num_link_parameters,
        "memory_bytes": memory,
        "missing": list(facts.missing),
    }


def _describe(spec: "SystemSpec", facts: "SystemFacts") -> str:
    most = "up to " if spec.halts else ""
    blocks = [
        f"system    {spec.name}\nrun       rounds {spec.rounds}, latent steps {most}{spec.latent_steps}",
        graph.describe(spec.pattern),
    ]
    if not facts.roles:
        return "\n".join([*blocks, "", f"solver    {spec.solver}: no weights, no links."])
    return "\n".join([*blocks, "", _roles(facts), "", _links(spec, facts), "", _memory(facts)])


def _roles(facts: "SystemFacts") -> str:
    header = ("role", "backbone", "source", "width", "layers", "parameters", "dtype", "device", "weights here")
    rows = [
        (
            role.role,
            role.source.name,
            role.source.kind,
            role.model.width,
            role.model.num_layers,
            None if role.model.num_parameters is None else f"{role.model.num_parameters:,}",
            role.dtype,
            role.device,
            "yes" if role.is_here else "no",
        )
        for role in facts.roles
    ]
    return table(header, rows)


def _links(spec: "SystemSpec", facts: "SystemFacts") -> str:
    rows = [
        (
            link.place,
            link.where,
            link.design,
            f"{_known(link.d_in)} -> {_known(link.d_out)}",
            None if link.num_parameters is None else f"{link.num_parameters:,}",
            size(link.num_bytes),
        )
        for link in facts.links
    ]
    count = "?" if facts.num_link_parameters is None else f"{facts.num_link_parameters:,}"
    rows.append(("all", "", "", "", count, size(facts.link_bytes)))
    start = f"from {spec.links.name}" if spec.links else f"start: {spec.start}, not trained"
    return table(("link", "of", "design", "widths", "parameters", "size"), rows) + f"\n({start})"


def _memory(facts: "SystemFacts") -> str:
    from rmas.cli.facts import STATE_POSITIONS

    lines = [
        f"memory    {size(facts.memory_bytes)}: weights {size(facts.weight_bytes)}, links {size(facts.link_bytes)}, "
        f"state {size(facts.state_bytes)} at {STATE_POSITIONS:,} positions a role and question"
    ]
    if facts.missing:
        lines.append(f"missing   {', '.join(facts.missing)}. Get them with rmas fetch.")
    return "\n".join(lines)


def _known(width: int | None) -> str:
    return "?" if width is None else str(width)
