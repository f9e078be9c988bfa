"""Options that several verbs share, and the one default that depends on the machine."""

import os
from pathlib import Path
from typing import Annotated

import typer

SYSTEM_HELP = "A system's name, its TOML file, a bundle's folder, released/NAME, or ORG/NAME@revision on the hub."
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
ToolsOption = Annotated[
    str | None,
    typer.Option(
        "--tools",
        metavar="NAME,…",
        help="What the answerer may call: python, search; none: no agent calls any.",
        show_default="the system's",
    ),
]
SearchOption = Annotated[
    str | None,
    typer.Option("--search", metavar="corpus|ddgs|tavily", help="Who searches.", show_default="corpus"),
]
CorpusOption = Annotated[
    str | None,
    typer.Option("--corpus", metavar="DIR", help="A folder of .txt, .md and .jsonl to search.", show_default=False),
]
ToolFormatOption = Annotated[
    str | None,
    typer.Option(
        "--tool-format",
        metavar="tags|native",
        help="How calls are written: in tags, or as each model's family does.",
        show_default="the system's",
    ),
]
DeviceOption = Annotated[str, typer.Option(metavar="NAME", help="For roles that name none: auto, cpu, cuda, cuda:1, …")]
DtypeOption = Annotated[
    str, typer.Option(metavar="NAME", help="For roles that name none: auto, bfloat16, float16, float32 or float64.")
]


def search_key() -> str:
    """The key of the search service: of the environment, for a key is no setting."""
    return os.environ.get("TAVILY_API_KEY", "")


def tool_names(listed: str | None) -> tuple[str, ...] | None:
    """`python,search` as names; `none` as no name."""
    if listed is None:
        return None
    names = tuple(name.strip() for name in listed.split(",") if name.strip())
    return () if names == ("none",) else names


def cache_folder(chosen: Path | None) -> Path:
    """The folder that was asked for, else the user's cache folder."""
    from platformdirs import user_cache_path

    return (chosen or user_cache_path("rmas")).expanduser().absolute()
