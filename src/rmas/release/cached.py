"""A released system by name, `released/NAME` or `released/NAME@task`: converted once, then a bundle in the cache.

    <cache>/released/NAME-task-KEY/     KEY: of its repositories' commits, so one that moved makes another bundle

At every use the hub is asked what the branches stand for now. Where it cannot be reached, the last bundle counts.
"""

import hashlib
import json
import logging
from pathlib import Path

from rmas.checkpoint import SYSTEM
from rmas.errors import SourceError
from rmas.release.convert import Recipe, convert
from rmas.release.table import Released, find_released
from rmas.sources import HubName, Progress, UnreachableError, commit_of, silent
from rmas.sources.disk import only_writer, scratch_folder
from rmas.systemfile import RELEASED_PREFIX

_log = logging.getLogger(__name__)


def system_name(name: str, *, cache: Path, progress: Progress = silent) -> str:
    """A system's name as `load_spec` and `load_system` take it: that of a released one becomes its bundle's folder.

    Any other name stays as it is, and so does that of a folder here. Raises ConfigError for an unknown system or task,
    SourceError where there is neither a hub nor a bundle, and what `convert` raises; a bundle appears whole or not.
    """
    if not name.startswith(RELEASED_PREFIX) or Path(name).is_dir():
        return name
    system, _, asked = name.removeprefix(RELEASED_PREFIX).partition("@")
    released = find_released(system)
    task = released.task(asked or None)
    start = cache / "released" / (system if task is None else f"{system}-{task}")
    try:
        places = _pinned(released)
    except UnreachableError as problem:
        if (last := _last(start)) is None:
            raise SourceError(f"{name}: {problem}") from None
        _log.warning("%s: the hub cannot be reached; taking what was converted last: %s", name, last.name)
        return str(last)
    except SourceError as problem:
        raise SourceError(f"{name}: {problem}") from None
    key = hashlib.sha256(json.dumps(places, sort_keys=True).encode()).hexdigest()[:12]
    roles = {role: places[role] for role in released.roles}
    recipe = Recipe(system=system, task=task, roles=roles, outer=places["outer"])
    return str(_converted(recipe, start.with_name(f"{start.name}-{key}"), cache=cache, progress=progress))


def _pinned(released: Released) -> dict[str, str]:
    """Every repository with the commit that it stands at, by role; `outer`: that of the outer links."""
    ids = {**released.roles, "outer": released.outer}
    return {place: f"{text}@{commit_of(HubName(text))}" for place, text in ids.items()}


def _converted(recipe: Recipe, folder: Path, *, cache: Path, progress: Progress) -> Path:
    """The bundle, made beside its place and then renamed, unless it is there."""
    if (folder / SYSTEM).exists():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with only_writer(folder):
            if not (folder / SYSTEM).exists():
                with scratch_folder(folder.with_name(f"{folder.name}.partial")) as unfinished:
                    convert(recipe, unfinished, cache=cache, progress=progress)
                    unfinished.replace(folder)
    except OSError as problem:
        raise SourceError(
            f"{folder}: cannot be written ({problem.strerror}). Free some room or pass --cache DIR."
        ) from None
    return folder


def _last(start: Path) -> Path | None:
    """The bundle of this system and task that was made last."""
    made = start.parent.glob(f"{start.name}-{'[0-9a-f]' * 12}/{SYSTEM}")
    return max((file.parent for file in made), key=lambda folder: folder.stat().st_mtime, default=None)
