"""A bundle on the hub, `ORG/NAME` or `ORG/NAME@revision`, as a folder of huggingface_hub's own cache.

The surprising thing: nothing that a stranger calls a bundle is taken for one. A file that no bundle has (a pickle, a
program) is refused by its name before a byte is downloaded, and so is a system file that leads out of its folder.
Tokens are huggingface_hub's business: it finds them, and nothing here sees one.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from rmas.errors import CheckpointError, SourceError
from rmas.sources.reference import COMMIT, HUB_ID
from rmas.tomlfile import read_toml

SYSTEM = "system.toml"
NEEDED = (SYSTEM, "manifest.json", "links.safetensors", "pattern/*.toml", "prompts/*.toml")
TOLD = ("README.md", "curves.png", "config.toml", "log.jsonl", "LICENSE*", "NOTICE*", ".gitattributes")

_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*")
_SECONDS = 10.0  # for the hub to list a repository
_log = logging.getLogger(__name__)


class HubName(NamedTuple):
    """A repository and a branch, tag or commit of it; revision None: its main branch."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"


def hub_name(text: str) -> HubName | None:
    """`ORG/NAME` or `ORG/NAME@revision`, taken apart. None for what is neither, and for a folder or file here."""
    repository, at, revision = text.partition("@")
    is_form = HUB_ID.fullmatch(repository) and (_REVISION.fullmatch(revision) if at else True)
    if not is_form or text.endswith(".toml") or Path(text).is_dir():
        return None
    return HubName(repository, revision or None)


def pinned(text: str) -> str:
    """A system's name with the commit that it stands for now; one that is not on the hub as it is."""
    name = hub_name(text)
    return text if name is None else f"{name.repository}@{fetch_bundle(name).name}"


@cache
def fetch_bundle(name: HubName) -> Path:
    """The folder of a bundle, called like its commit; downloaded unless it is there. An interrupted download resumes.

    A commit that is there is not asked for again; a branch is asked once a process, and where the hub cannot be
    reached the last answer counts, with a warning. Raises SourceError where there is none or the hub refuses,
    CheckpointError for a repository that is no bundle.
    """
    is_commit = name.revision is not None and COMMIT.fullmatch(name.revision) is not None
    folder = _kept(name) if is_commit else None
    if folder is None:
        try:
            folder = _download(name)
        except UnreachableError:
            folder = _kept(name)
            if folder is None:
                raise
            _log.warning("%s: the hub cannot be reached; taking what it was when last asked: %s", name, folder.name)
    check_files((str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()), str(name))
    check_contained(folder, str(name))
    return folder


def check_files(names: Iterable[str], place: str) -> None:
    """Refuse files among which one is of no bundle, or without a system file. Raises CheckpointError."""
    names = sorted(names)
    if SYSTEM not in names:
        raise CheckpointError(f"{place}: no bundle: it has no {SYSTEM}. Name one that rmas push has made.")
    for name in foreign_files(names):
        raise CheckpointError(
            f"{place}: {name} belongs to no bundle, so none of it is used. Links are links.safetensors alone."
        )


def foreign_files(names: Iterable[str]) -> list[str]:
    """Those that no bundle has."""
    return [name for name in names if not any(fnmatch(name, pattern) for pattern in (*NEEDED, *TOLD))]


def bundle_files(folder: Path) -> list[str]:
    """What of `folder` is a bundle's, by relative path; whatever else lies there is left out."""
    return sorted({str(path.relative_to(folder)) for pattern in (*NEEDED, *TOLD) for path in folder.glob(pattern)})


def check_contained(folder: Path, place: str) -> None:
    """Refuse a system file that names something outside its folder, or a solver that would be imported."""
    table = read_toml(folder / SYSTEM, CheckpointError).table
    for key, value in _paths(table):
        path = PurePosixPath(str(value))
        if path.is_absolute() or ".." in path.parts or str(value).startswith("~"):
            raise CheckpointError(f"{place}: {key} is {value!r}, which leads out of the bundle. It is not used.")
    if not re.fullmatch(r"\w+", str(table.get("solver", "recursive"))):
        raise CheckpointError(f"{place}: solver {table['solver']!r} is code, and a bundle brings none. It is not used.")


@contextmanager
def hub_refusals(name: HubName) -> Iterator[None]:
    """Tell what huggingface_hub raises in one line, as SourceError."""
    from huggingface_hub import errors

    log_in = "log in with hf auth login, or set HF_TOKEN."
    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise UnreachableError(f"{name}: not here, and HF_HUB_OFFLINE is set. Unset it to ask the hub.") from None
    except errors.GatedRepoError:
        raise SourceError(
            f"{name}: gated. Ask for access at https://huggingface.co/{name.repository}, then {log_in}"
        ) from None
    except errors.RepositoryNotFoundError:
        raise SourceError(
            f"{name}: no folder here and no repository on the hub that you may see. Check the name, or {log_in}"
        ) from None
    except errors.RevisionNotFoundError:
        raise SourceError(
            f"{name.repository}: no revision {name.revision!r}. Look at "
            f"https://huggingface.co/{name.repository}/commits/main for those that it has."
        ) from None
    except errors.HfHubHTTPError as problem:
        status = problem.response.status_code
        if status in (401, 403):
            raise SourceError(
                f"{name}: the hub refuses ({status}: {problem.server_message or 'no permission'}). "
                f"Check what your token may do, or {log_in}"
            ) from None
        kind = UnreachableError if status >= 500 else SourceError
        raise kind(f"{name}: the hub answers {_first_line(problem)}. Try again later.") from None
    except (
        errors.HTTPError,  # type: ignore[attr-defined]  # of httpx or httpx2, whichever this hub library stands on
        errors.LocalEntryNotFoundError,  # how snapshot_download says that the connection broke
        errors.FileMetadataError,
        errors.XetDownloadError,
        ConnectionError,  # the uploader's
        errors.HFValidationError,
        json.JSONDecodeError,  # a proxy's own page in place of the answer
    ) as problem:
        raise UnreachableError(
            f"{name}: cannot be had from the hub ({_first_line(problem)}). Check the connection; what came is kept."
        ) from None
    except RuntimeError as problem:  # how an upload says that it failed
        raise SourceError(f"{name}: {_first_line(problem)}. Try again: nothing was changed.") from None
    except OSError as problem:
        raise SourceError(
            f"{name}: {problem.strerror or _first_line(problem)}. Free some room, or try again."
        ) from None


class UnreachableError(SourceError):
    """The hub gave no answer, so that what is in the cache may stand in."""


def _download(name: HubName) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    with hub_refusals(name):
        listing = HfApi().model_info(name.repository, revision=name.revision, timeout=_SECONDS)
        check_files((file.rfilename for file in listing.siblings or ()), str(name))
        return Path(snapshot_download(name.repository, revision=name.revision, allow_patterns=list(NEEDED)))


def _kept(name: HubName) -> Path | None:
    """The folder, if all that is needed of it is in the cache. Asks nobody."""
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(
            snapshot_download(
                name.repository, revision=name.revision, allow_patterns=list(NEEDED), local_files_only=True
            )
        )
    except errors.LocalEntryNotFoundError:
        return None


def _paths(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What of a system file may be a path, by its key."""
    yield from ((key, table[key]) for key in ("links", "pattern", "prompts") if key in table)
    tools = table.get("tools")
    if isinstance(tools, dict) and "corpus" in tools:
        yield "tools.corpus", tools["corpus"]
    roles = table.get("roles")
    for role, entry in (roles if isinstance(roles, dict) else {}).items():
        for key in ("backbone", "adapter"):
            if isinstance(entry, dict) and key in entry:
                yield f"roles.{role}.{key}", entry[key]


def _first_line(problem: Exception) -> str:
    lines = str(problem).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(problem).__name__
