"""A place to run code that nobody has read: a program goes in, its outcome comes out, and nothing else is touched.

Inside are no network, no files but the interpreter's own and one small folder that is gone afterwards, no environment,
no other processes and no rights; what it may use up is in Limits. The program is run by the interpreter that runs us,
with its standard library only.

What holds it: namespaces for users, processes, network, mounts, IPC and host name (bubblewrap), a filter of system
calls (seccomp), resource limits, and a watcher outside for what the kernel counts per process only. What does not hold:
a hole in the kernel itself; and as the watcher looks twenty times a second, memory can be exceeded for a moment.

The surprising thing: there is no falling back. Where the sandbox cannot be set up nothing is run, unless
`allow_unsafe` says so, and then `Sandbox.name` says so too.
"""

import importlib.util
import platform
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol, final

from rmas.errors import ConfigError
from rmas.tools.bare import Bare
from rmas.tools.bubblewrap import Bubblewrap, Job
from rmas.tools.process import Limits, Outcome, Process, Started

UNSAFE_FLAG = "--unsafe-run-code-without-sandbox"
_UNSAFE = f"To let unread code run here with your rights: {UNSAFE_FLAG}."
_PROGRAM = "program.py"
_DEFAULT = Limits()

_KERNEL = Path("/proc/sys")
# A setting of the kernel, the value that forbids user namespaces, and what to do about it.
_SETTINGS: Sequence[tuple[str, str, str]] = (
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor keeps bwrap from user namespaces: give bwrap a profile, or sysctl "
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("kernel/unprivileged_userns_clone", "0", "user namespaces are off: sysctl kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "user namespaces are off: sysctl user.max_user_namespaces=10000"),
)
_PROBE = "import threading; t = threading.Thread(target=print, args=('ready',)); t.start(); t.join()"


class Starter(Protocol):
    """A way to start programs."""

    @property
    def name(self) -> str: ...

    def start(self, job: Job) -> Started: ...


@final
class Sandbox:
    """Runs Python programs, any number at a time and from any thread. `name`: what holds them."""

    def __init__(self, starter: Starter) -> None:
        self._starter = starter
        self.name = starter.name

    def run(
        self, program: str, *, stdin: str = "", limits: Limits = _DEFAULT, files: Mapping[str, str] | None = None
    ) -> Outcome:
        """Run `program` to its end or its limits. `files`: texts by relative path, beside it in its folder.

        Nothing that the program does is an error here: see the outcome. Raises ConfigError where the sandbox fails.
        """
        return self.start(program, stdin=stdin, limits=limits, files=files).wait()

    def start(
        self,
        program: str,
        *,
        stdin: str = "",
        limits: Limits = _DEFAULT,
        files: Mapping[str, str] | None = None,
        channel: socket.socket | None = None,
        packages: Sequence[str] = (),
    ) -> Process:
        """As `run`, and return at once; somebody has to `wait`.

        `channel`: a socket that is also open inside, its number the program's argument. `packages`: installed packages
        to be importable, compiled parts and all. Raises ConfigError: a file outside the folder, a package not there.
        """
        content = {_PROGRAM: program, **_checked(files or {})}
        job = Job(
            files={name: text.encode(errors="replace") for name, text in content.items()},
            arguments=() if channel is None else (str(channel.fileno()),),
            limits=limits,
            inherited=() if channel is None else (channel.fileno(),),
            packages=[folder for package in packages for folder in _package(package)],
        )
        began = time.monotonic()
        return Process(self._starter.start(job), stdin=stdin.encode(errors="replace"), limits=limits, began=began)


def find_sandbox(*, allow_unsafe: bool = False) -> Sandbox:
    """The sandbox of this machine, tried out with a small program.

    Raises ConfigError with what to install or to set. `allow_unsafe`: rather run code without isolation.
    """
    if platform.system() != "Linux":
        raise ConfigError(f"sandbox: code is run on Linux only; this is {platform.system()}. Grade it there.")
    try:
        return _isolated()
    except ConfigError:
        if allow_unsafe:
            return Sandbox(Bare())
        raise


def _isolated() -> Sandbox:
    path = shutil.which("bwrap")
    if path is None:
        raise ConfigError(
            "sandbox: there is no bwrap here. Install the package bubblewrap (apt, dnf, pacman and apk all call it "
            f"so). {_UNSAFE}"
        )
    try:
        sandbox = Sandbox(Bubblewrap(path))
        outcome = sandbox.run(_PROBE)
        problem = "" if outcome.stdout == "ready\n" else outcome.stderr.strip()[-300:] or str(outcome)
    except ConfigError as refused:
        problem = str(refused).removeprefix("sandbox: ").removesuffix(" The program was not run.")
    if problem:
        raise ConfigError(f"sandbox: {path} is here and does not work: {problem.rstrip('.')}. {_advice()} {_UNSAFE}")
    return sandbox


def _advice() -> str:
    """What stands in the way, as far as the kernel tells."""
    for name, value, advice in _SETTINGS:
        setting = _KERNEL / name
        if setting.is_file() and setting.read_text(encoding="ascii").strip() == value:
            return f"Here {advice}."
    return "Expected bubblewrap 0.8 and Linux 5.14, or newer; a container has to allow user namespaces."


def _checked(files: Mapping[str, str]) -> Mapping[str, str]:
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) in (".", _PROGRAM) or "\0" in name:
            raise ConfigError(f"sandbox: {name!r} is no file beside {_PROGRAM}. Give a relative path without '..'.")
    return files


def _package(name: str) -> list[Path]:
    """The folders of an installed package: its own and, for wheels, that of the libraries it brought along."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise ConfigError(f"sandbox: the package {name} is not installed. Get it with pip install {name}.")
    folder = Path(next(iter(found.submodule_search_locations)))
    libraries = folder.with_name(f"{name}.libs")
    return [folder, libraries] if libraries.is_dir() else [folder]
