"""`rmas convert SUBJECT`: a released system into a bundle (`--out`), or a bundle into the release's layout."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rmas.cli.options import CacheOption, cache_folder
from rmas.cli.screen import note, progress
from rmas.errors import ConfigError


def convert(
    subject: Annotated[
        str,
        typer.Argument(
            help="sequential-light, sequential-scaled, mixture, distillation, deliberation; or, to go back, a bundle."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="The bundle to write, a new folder.", show_default=False)
    ] = None,
    to_release: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a bundle's links as released.", show_default=False)
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="math|code",
            help="Whose links. With --to-release: manifests by task.",
            show_default="math where links differ by task",
        ),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=DIR|ID", help="A role's repository. Repeatable.", show_default="the published ones"),
    ] = None,
    outer: Annotated[
        str | None,
        typer.Option(metavar="DIR|ID", help="The repository of outer links.", show_default="the published one"),
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(metavar="PACK", help="A prompt pack.", show_default="released, in words of ours")
    ] = None,
    with_slip: Annotated[
        bool, typer.Option("--with-slip", help="Word code tasks as mathematics from round 2, as published.")
    ] = False,
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also write the recommended settings of each task, for rmas eval.", show_default=False
        ),
    ] = None,
    links_only: Annotated[
        bool, typer.Option("--links-only", help="With --to-release: no copies of the models.")
    ] = False,
    cache: CacheOption = None,
) -> None:
    """Turn a released system into a bundle, or a bundle into the release's layout."""
    if (out is None) == (to_release is None):
        raise ConfigError(
            "convert needs either --out BUNDLE, for a released system, or --to-release DIR, for a bundle."
        )
    folder = cache_folder(cache)
    if to_release is not None:
        _back(subject, to_release, task, with_models=not links_only, cache=folder)
        return
    assert out is not None, "one of the two is given"
    note(f"system={subject} task={task} roles={role or []} outer={outer} prompts={prompts} cache={folder}")

    from rmas.release import Recipe, write_settings
    from rmas.release import convert as convert_release

    recipe = Recipe(
        system=subject,
        task=task,
        roles=_places(role or ()),
        outer=outer,
        prompts=prompts or "released",
        with_slip=with_slip,
    )
    with progress() as report:
        made = convert_release(recipe, out, cache=folder, progress=report)
    print(f"{out} is ready: {len(made.manifest['roles'])} roles, {len(made.manifest['outer'])} outer links.")
    if settings is not None:
        files = write_settings(settings, bundle=out, system=subject, task=made.task, answerer=made.answerer)
        print(f"{settings} holds {len(files)} settings: rmas eval --config {files[0]} --out DIR")


def _back(bundle: str, out: Path, task: str | None, *, with_models: bool, cache: Path) -> None:
    from rmas.release import export

    with progress() as report:
        export(bundle, out, task=task, with_models=with_models, cache=cache, progress=report)
    print(f"{out} is ready, in the release's layout.")


def _places(options: Sequence[str]) -> dict[str, str]:
    """ROLE=DIR|ID, each -> role and place."""
    places: dict[str, str] = {}
    for option in options:
        role, equals, place = option.partition("=")
        if not equals or not role or not place or role in places:
            raise ConfigError(f"role {option!r}: expected ROLE=DIR or ROLE=OWNER/NAME, each role once.")
        places[role] = place
    return places
