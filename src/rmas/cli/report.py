"""`rmas report DIR…`: tables and pictures of finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from rmas.cli.screen import note


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Folders that rmas eval filled.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where tables and pictures go.")] = Path("report"),
    reference: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The run that others are compared with.", show_default="the first"),
    ] = None,
) -> None:
    """Compare finished runs: tables (Markdown, CSV, LaTeX) with paired tests, and pictures."""
    from rmas.eval.report import report as write

    files = write(folders, out, reference=reference)
    for file in files:
        if file.suffix == ".md":
            print(file.read_text(encoding="utf-8"))
    note("\n".join(str(file) for file in files))
