"""A released repository, as a folder here or an id on the hub: its small files on this disk, and its model's name."""

from pathlib import Path
from typing import NamedTuple

from rmas.errors import SourceError
from rmas.release.layout import INNER, OUTER, TYPE
from rmas.sources import fetch_files, hub_name

ROLE_FILES = ("config.json", "generation_config.json", TYPE, INNER, "*.pt")
OUTER_FILES = (OUTER, "*.pt")


class Repository(NamedTuple):
    """`folder` holds its manifests and links; `reference` is how a system file names the model in it."""

    folder: Path
    reference: str


def open_repository(text: str, files: tuple[str, ...], *, what: str) -> Repository:
    """A folder as it is; of a hub id, `OWNER/NAME` with a revision or without, these files, and its commit pinned.

    Raises SourceError for what is neither, and where the hub does not give them.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        return Repository(path, str(path.absolute()))
    name = hub_name(text)
    if name is None:
        raise SourceError(f"{what} {text!r}: no such folder, nor an id on the hub. Give a folder or OWNER/NAME.")
    folder, commit = fetch_files(name, files)
    return Repository(folder, f"{name.repository}@{commit}")
