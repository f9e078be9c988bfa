"""Options that several verbs share, and the one default that depends on the machine."""

from pathlib import Path
from typing import Annotated

import typer

SYSTEM_HELP = "A system's name, its TOML file, a bundle's folder, or ORG/NAME@revision on the hub."
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        envvar="RMAS_CACHE",
        metavar="DIR",
        show_default=False,
        help="Where weights are kept. Default: the user's cache folder.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]
DeviceOption = Annotated[str, typer.Option(metavar="NAME", help="For roles that name none: auto, cpu, cuda, cuda:1, …")]
DtypeOption = Annotated[
    str, typer.Option(metavar="NAME", help="For roles that name none: auto, bfloat16, float16, float32 or float64.")
]


def cache_folder(chosen: Path | None) -> Path:
    """The folder that was asked for, else the user's cache folder."""
    from platformdirs import user_cache_path

    return (chosen or user_cache_path("rmas")).expanduser().absolute()
