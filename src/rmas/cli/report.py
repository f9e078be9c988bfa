"""`rmas report DIR…`: tables and pictures of finished runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rmas.cli.options import CacheOption, cache_folder
from rmas.cli.screen import note

if TYPE_CHECKING:
    from rmas.eval.finished import Run
    from rmas.eval.report import Embed


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Folders that rmas eval filled.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where tables and pictures go.")] = Path("report"),
    reference: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The run that others are compared with.", show_default="the first"),
    ] = None,
    embeddings: Annotated[
        bool,
        typer.Option("--embeddings", help="Lay answers among gold answers too (loads the answerer and the task)."),
    ] = False,
    cache: CacheOption = None,
) -> None:
    """Compare finished runs: tables (Markdown, CSV, LaTeX) with paired tests, and pictures."""
    from rmas.eval.report import report as write

    def embedder(run: "Run") -> "Embed":
        return _embedding_of(run, cache_folder(cache))

    files = write(folders, out, reference=reference, embedder=embedder if embeddings else None)
    for file in files:
        if file.suffix == ".md":
            print(file.read_text(encoding="utf-8"))
    note("\n".join(str(file) for file in files))


def _embedding_of(run: "Run", cache: Path) -> "Embed":
    """How the answerer of a run reads texts."""
    from rmas.errors import ConfigError
    from rmas.eval.embedding import mean_embeddings
    from rmas.systemfile import load_spec
    from rmas.weights import open_backbone

    config = run.summary["config"]
    spec = load_spec(run.system)
    if config["solver"] == "echo" or not spec.roles:
        raise ConfigError(f"{run.name}: solver echo has no model, so no embeddings. Set --reference.")
    source = spec.roles[spec.pattern.answerer].source
    backbone = open_backbone(source, cache=cache, device="cpu", dtype="float32")
    return lambda texts: mean_embeddings(backbone, texts)
