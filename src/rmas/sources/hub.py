"""One pinned commit of a hub repository: the files a backbone needs, sizes and checksums compared."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rmas.sources.disk import ensure_room, only_writer, sha256_of
from rmas.sources.progress import Progress
from rmas.sources.reference import is_model_folder
from rmas.sources.unavailable import UnavailableError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling
    from huggingface_hub.utils.tqdm import tqdm

_PROBE_SECONDS = 4.0
_WANTED = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "chat_template*",
    "*.safetensors",
    "*.safetensors.index.json",
)


def download_snapshot(hub_id: str, revision: str, target: Path, *, name: str, progress: Progress) -> None:
    """Write the files of that commit to the folder `target`, which appears at once and complete, or not at all.

    What an interrupted call got stays in `<target>.partial` and is used again. Raises UnavailableError where the hub
    cannot be reached in 4 seconds, refuses (gated, private, gone), is switched off (HF_HUB_OFFLINE), or sends
    other bytes than it announced; SourceError for a full disk.
    """
    from huggingface_hub import errors, snapshot_download

    unfinished = target.with_name(f"{target.name}.partial")
    failures = (
        errors.HTTPError,  # type: ignore[attr-defined]  # of httpx or httpx2, whichever this hub library stands on
        errors.LocalEntryNotFoundError,  # how snapshot_download says that the connection broke
        errors.FileMetadataError,
        errors.XetDownloadError,
        errors.HFValidationError,
        json.JSONDecodeError,  # a proxy's own page in place of the answer
    )
    try:
        files = [file for file in _listing(hub_id, revision) if _is_wanted(file.rfilename)]
        total = sum(file.size or 0 for file in files)
        ensure_room(target.parent, total - _bytes_in(unfinished))
        target.parent.mkdir(parents=True, exist_ok=True)
        with only_writer(target):
            if is_model_folder(target):
                return
            unfinished.mkdir(exist_ok=True)
            snapshot_download(
                hub_id,
                revision=revision,
                local_dir=unfinished,
                allow_patterns=[file.rfilename for file in files],
                tqdm_class=_bar(name, total, progress),
            )
            _check(files, unfinished)
            unfinished.replace(target)
    except errors.OfflineModeIsEnabled:
        raise UnavailableError("HF_HUB_OFFLINE is set") from None
    except failures as problem:
        lines = str(problem).strip().splitlines() or ["no reason given"]
        raise UnavailableError(f"{type(problem).__name__}: {lines[0]}") from None


def _listing(hub_id: str, revision: str) -> "list[RepoSibling]":
    """The files of the commit with their sizes: the question that finds out whether the hub can be reached.

    The client's own limit holds for one address and one request, and there are several of both; hence the second clock.
    """
    from huggingface_hub import HfApi

    pool = ThreadPoolExecutor(max_workers=1)
    ask = partial(HfApi().model_info, hub_id, revision=revision, timeout=_PROBE_SECONDS, files_metadata=True)
    try:
        return pool.submit(ask).result(timeout=_PROBE_SECONDS).siblings or []
    except TimeoutError:
        raise UnavailableError(f"no answer in {_PROBE_SECONDS:.0f} s") from None
    finally:
        pool.shutdown(wait=False)


def _is_wanted(filename: str) -> bool:
    """Whether a repository's file is one of ours: at the top, and not Mistral's second copy of the weights."""
    if "/" in filename or filename.startswith("consolidated"):
        return False
    return any(fnmatch(filename, pattern) for pattern in _WANTED)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _check(files: "list[RepoSibling]", folder: Path) -> None:
    """Compare with what the hub announced; a file that differs is removed, so that the next call gets it anew."""
    for file in files:
        path = folder / file.rfilename
        if not path.is_file():
            raise UnavailableError(f"{file.rfilename} did not arrive")
        right_size = file.size in (None, path.stat().st_size)
        if not right_size or (file.lfs and sha256_of(path) != file.lfs.sha256):
            path.unlink()
            raise UnavailableError(f"{file.rfilename} arrived altered and was removed")
    if not is_model_folder(folder):
        raise UnavailableError("the repository has no config.json or no .safetensors file")


def _bar(name: str, total: int, progress: Progress) -> "type[tqdm]":
    """A class for `tqdm_class` that draws nothing and reports the bytes of all files together to `progress`."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **settings: Any) -> None:
            # Of the hub's three bars (files, bytes received, bytes written) the last is ours.
            self.counts = settings.get("name") == "huggingface_hub.snapshot_download"
            self.done = 0
            self.turn = threading.Lock()
            super().__init__(*args, **(settings | {"disable": True}))  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            with self.turn:
                self.done += int(n or 0)
                if self.counts:
                    progress(name, min(self.done, total), total)
            return None

    return Bar
