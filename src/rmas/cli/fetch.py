"""`rmas fetch SYSTEM`: everything that the first question would otherwise wait for, kept in the cache."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rmas.cli.group import INTERRUPTED, leave
from rmas.cli.options import SYSTEM_HELP, CacheOption, cache_folder
from rmas.cli.screen import progress, size
from rmas.errors import SourceError

if TYPE_CHECKING:
    from rmas.sources import Progress
    from rmas.spec import SystemSpec


def fetch(
    system: Annotated[str, typer.Argument(help=SYSTEM_HELP)],
    cache: CacheOption = None,
) -> None:
    """Get the weights that a system lacks, unpack them, and start its links."""
    from rmas.systemfile import load_spec

    folder = cache_folder(cache)
    system = named(system, folder)
    spec = load_spec(system)
    if not spec.roles:
        print(f"{spec.name} needs no weights: it is ready.")
        return

    from rmas.system import load_system

    try:
        with progress(is_kept=True) as report:
            make_ready(spec, folder, report)
            loaded = load_system(system, cache=folder, progress=report)
    except KeyboardInterrupt:
        raise leave(
            f"interrupted. What is finished is kept: rmas fetch {system} goes on from there.", INTERRUPTED
        ) from None
    backbones = {backbone.name: backbone for backbone in loaded.backbones.values()}
    num_links = len(loaded.inner) + len(loaded.outer)
    print(f"{spec.name} is ready: {', '.join(backbones)}; {num_links} links.")
    print(f"{folder} holds {size(_bytes_in(folder))}.")


def named(system: str, cache: Path) -> str:
    """A system's name as the library takes it: `released/NAME` is converted, once, and becomes its bundle's folder."""
    from rmas.systemfile import RELEASED_PREFIX

    if not system.startswith(RELEASED_PREFIX):
        return system

    from rmas.release import system_name

    with progress() as report:
        return system_name(system, cache=cache, progress=report)


def make_ready(spec: "SystemSpec", cache: Path, report: "Progress") -> None:
    """Fetch and unpack the weights that a system lacks. Goes on where an earlier call stopped."""
    from rmas.sources import fetch as fetch_source

    sources = [source for source in dict.fromkeys(role.source for role in spec.roles.values()) if source.kind != "tiny"]
    paths = {source.name: fetch_source(source, cache=cache, progress=report) for source in sources}
    unpack_all({name: path for name, path in paths.items() if path.suffix == ".gguf"}, cache, report)


def unpack_all(files: dict[str, Path], cache: Path, report: "Progress") -> None:
    """Dequantise GGUF files (by model name) side by side, a process each: one of them keeps only one core busy."""
    if not files:
        return

    from rmas.weights import unpack, unpacked

    waiting = {name: file for name, file in files.items() if not unpacked(file, cache).exists()}
    if not waiting:
        return
    num_workers = min(os.cpu_count() or 1, len(waiting))
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), initializer=_in_a_child)
    try:
        with _ignoring_ctrl_c():  # inherited, so that a child that is still starting prints no trace
            jobs = {pool.submit(unpack, file, cache): name for name, file in waiting.items()}
        for name in waiting:
            report(f"unpacking {name}, once", 0, 1)
        for job in as_completed(jobs):
            job.result()
            report(f"unpacking {jobs[job]}, once", 1, 1)
    except BrokenProcessPool:
        raise SourceError(
            f"unpacking {', '.join(waiting)}: a process was killed, perhaps for want of memory. Free some, fetch again."
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _in_a_child() -> None:
    """Ctrl-C ends a child at once and without a trace; the next one removes its unfinished folder. No others' bars."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported, which comes with the first job


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
