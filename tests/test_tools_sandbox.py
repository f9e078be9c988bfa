"""The sandbox against programs that mean harm: each ends within its limits, and outside nothing has changed.

Every hostile program holds one end of a socket. When it is over, the other end reads end-of-file: no process of it is
left, wherever it hid. A few of them run without the sandbox, too, to show that they would have done harm.
"""

import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hostile_programs import HOSTILE, LIMITS, PATIENT, SECRET, Hostile
from rmas.errors import ConfigError
from rmas.tools import Limits, Outcome, Sandbox, find_sandbox
from rmas.tools import sandbox as sandbox_module
from rmas.tools.bare import Bare
from rmas.tools.bubblewrap import Bubblewrap


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """The isolated one. Where bubblewrap is installed and does not work, that is a failure, not a reason to skip."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    return find_sandbox()


class Host(NamedTuple):
    """What a program could harm: a file of ours, its folder, a socket. `words` stand in programs as <WORD>."""

    folder: Path
    listener: socket.socket

    @property
    def words(self) -> dict[str, str]:
        name = self.listener.getsockname()
        file = self.folder / "secret.txt"
        return {"FILE": str(file), "FOLDER": str(self.folder), "SOCKET": name, "PID": str(os.getpid())}

    def check(self) -> None:
        """Nothing was written or removed, and nobody called."""
        assert sorted(path.name for path in self.folder.iterdir()) == ["listening", "secret.txt"]
        assert (self.folder / "secret.txt").read_text() == SECRET
        with pytest.raises(BlockingIOError):
            self.listener.accept()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("RMAS_TEST_TOKEN", SECRET)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text(SECRET)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "listening"))
        listener.listen()
        listener.setblocking(False)
        yield Host(tmp_path, listener)


def attack(sandbox: Sandbox, hostile: Hostile, host: Host, *, stdin: str) -> Outcome:
    """Run a hostile program, and check from outside that nothing of it is left."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            began = time.monotonic()
            process = sandbox.start(hostile.program(host.words), stdin=stdin, limits=hostile.limits, channel=theirs)
        outcome = process.wait()
        assert time.monotonic() - began < hostile.limits.seconds + 5, "it ran on beyond its limits"
        ours.settimeout(1)
        assert ours.recv(1) == b"", "a process of it is left"
    host.check()
    return outcome


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_is_contained(name: str, sandbox: Sandbox, host: Host) -> None:
    hostile = HOSTILE[name]
    outcome = attack(sandbox, hostile, host, stdin="x" * (1 << 20) if "input" in name else "")
    assert outcome.stopped_by in hostile.stopped_by, outcome
    assert (outcome.exit_code is None) == (outcome.stopped_by != "")
    assert max(len(outcome.stdout), len(outcome.stderr)) <= hostile.limits.output_kib << 10
    if hostile.said is not None:
        assert outcome.stdout == hostile.said, outcome


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("reading home, project and system", "done: a key of the host"),
        ("reading the environment", "PATH"),
        ("links out", "done: a key of the host"),
        ("a socket of the host", "done: None\n"),
    ],
)
def test_the_same_program_without_the_sandbox_gets_further(name: str, said: str, host: Host) -> None:
    assert said in Sandbox(Bare()).run(HOSTILE[name].program(host.words), limits=PATIENT).stdout


@pytest.mark.parametrize(
    ("program", "exit_code", "stdout"),
    [
        ("print('done')", 0, "done\n"),
        ("print(input()[::-1])", 0, "olleh\n"),
        ("import sys; print(sys.stdin.read().count('hello'))", 0, "1\n"),
        ("exit()", 0, ""),
        ("import sys; print(1); sys.exit(3)", 3, "1\n"),
        ("import os; os._exit(0)", 0, ""),
        ("1 / 0", 1, ""),
        ("this is no Python", 1, ""),
        ("import os; os.abort()", 128 + signal.SIGABRT, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL, ""),
        ("print(__name__, __file__)", 0, "__main__ /tmp/program.py\n"),
        ("import sys; print(sys.argv)", 0, "['/tmp/program.py']\n"),
        ("import atexit; atexit.register(print, 'bye')", 0, "bye\n"),
        ("import threading; threading.Thread(target=print, args=('hi',)).start()", 0, "hi\n"),
        ("import multiprocessing as m; print(m.Pool(2).map(abs, [-1, 2]))", 0, "[1, 2]\n"),
        ("import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))", 0, "b'x'\n"),
        ("open('a', 'w').write('x'); print(open('/tmp/a').read())", 0, "x\n"),
        ("open('notes/today.txt', 'a').write('!'); print(open('notes/today.txt').read())", 0, "rain!\n"),
        ("import os; os.write(1, bytes([65, 255]))", 0, "A\N{REPLACEMENT CHARACTER}"),
        ("print('\N{GREEK SMALL LETTER ALPHA}')", 0, "\N{GREEK SMALL LETTER ALPHA}\n"),
        ("import ctypes, decimal, hashlib, json, lzma, sqlite3, ssl, uuid, zlib; print('all')", 0, "all\n"),
    ],
)
def test_an_ordinary_program_runs_as_it_would_outside(
    program: str, exit_code: int, stdout: str, sandbox: Sandbox
) -> None:
    outcome = sandbox.run(program, stdin="hello\n", files={"notes/today.txt": "rain"})
    assert (outcome.exit_code, outcome.stdout, outcome.stopped_by) == (exit_code, stdout, ""), outcome


def test_a_traceback_names_the_line_of_the_program(sandbox: Sandbox) -> None:
    assert 'File "/tmp/program.py", line 2' in sandbox.run("x = 0\n1 / x").stderr


def test_sets_come_in_the_same_order_every_time(sandbox: Sandbox) -> None:
    program = "print({'one', 'two', 'three', 'four', 'five'})"
    assert len({sandbox.run(program).stdout for _ in range(3)}) == 1


def test_much_input_and_much_output_do_not_block_each_other(sandbox: Sandbox) -> None:
    text = "0123456789abcde\n" * 20_000
    outcome = sandbox.run(
        "import sys\nfor line in sys.stdin: sys.stdout.write(line); sys.stdout.flush()",
        stdin=text,
        limits=Limits(output_kib=2048),
    )
    assert outcome.stdout == text


def test_of_too_much_output_the_beginning_is_kept(sandbox: Sandbox) -> None:
    outcome = sandbox.run("for n in range(10 ** 9): print(n)", limits=PATIENT)
    assert outcome.stopped_by == "output"
    assert outcome.stdout.startswith("0\n1\n2\n")
    assert len(outcome.stdout) == LIMITS.output_kib << 10


def test_of_too_many_complaints_the_end_is_kept(sandbox: Sandbox) -> None:
    outcome = sandbox.run("import sys\nfor n in range(30000): print(n, file=sys.stderr)\n1 / 0", limits=PATIENT)
    assert outcome.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert len(outcome.stderr) == LIMITS.output_kib << 10


def test_a_package_can_be_imported_where_it_is_named(sandbox: Sandbox) -> None:
    program = "import numpy; print(numpy.arange(4) @ numpy.arange(4))"
    assert "ModuleNotFoundError" in sandbox.run(program).stderr
    assert sandbox.start(program, packages=["numpy"]).wait().stdout == "14\n"


def test_the_user_outside_is_nobody_of_ours(sandbox: Sandbox) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        program = "import sys, socket; s = socket.socket(fileno=int(sys.argv[1])); s.send(b'x'); s.recv(1)"
        process = sandbox.start(program, channel=theirs)
        assert ours.recv(1) == b"x"
        users = {user for pid in _family(os.getpid()) if (user := _user_of_sandboxed(pid)) is not None}
        ours.send(b"x")
        assert process.wait().exit_code == 0
    assert users
    if os.geteuid() == 0:
        assert all(user > 1_000_000 for user in users)


def _family(pid: int) -> Iterator[int]:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (thread / "children").read_text().split()):
            yield child
            yield from _family(child)


def _user_of_sandboxed(pid: int) -> int | None:
    """The host's user id of a process whose parent is process 1 of a sandbox."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["Uid"].split()[0]) if lines["NSpid"].split()[1:] == ["2"] else None


def test_a_program_can_be_stopped_from_another_thread(sandbox: Sandbox) -> None:
    process = sandbox.start("import time; time.sleep(99)")
    threading.Timer(0.3, process.stop).start()
    outcome = process.wait()
    assert (outcome.exit_code, outcome.stopped_by) == (None, "caller")
    process.stop()


def test_programs_run_side_by_side(sandbox: Sandbox) -> None:
    outcomes: dict[int, Outcome] = {}

    def run(number: int) -> None:
        outcomes[number] = sandbox.run(f"import time; time.sleep(0.3); print({number})")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcomes[number].stdout for number in range(4)] == ["0\n", "1\n", "2\n", "3\n"]


@pytest.mark.slow
def test_a_program_ends_with_the_process_that_ran_it(sandbox: Sandbox) -> None:
    del sandbox  # only to skip or fail with it
    runner = (
        "import sys, socket\nfrom rmas.tools import find_sandbox\n"
        "channel = socket.socket(fileno=int(sys.argv[1]))\n"
        "find_sandbox().start('import sys, time, socket\\n'\n"
        "    's = socket.socket(fileno=int(sys.argv[1])); s.send(b\"x\"); time.sleep(99)', channel=channel).wait()"
    )
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            words = [sys.executable, "-c", runner, str(theirs.fileno())]
            child = subprocess.Popen(words, pass_fds=[theirs.fileno()])
        ours.settimeout(20)
        assert ours.recv(1) == b"x"
        child.kill()
        child.wait()
        ours.settimeout(5)
        assert ours.recv(1) == b""


def test_the_unsafe_one_says_so_and_still_has_limits(tmp_path: Path) -> None:
    unsafe = Sandbox(Bare())
    assert "unsafe" in unsafe.name
    assert unsafe.run("while True: pass", limits=LIMITS).stopped_by == "time"
    assert unsafe.run("while True: print('x' * 1000)", limits=PATIENT).stopped_by == "output"
    assert "MemoryError" in unsafe.run("bytearray(1 << 30)", limits=PATIENT).stderr
    folder = unsafe.run("import os; print(os.getcwd()); open('x', 'w').write('x')", files={"a/b": "c"}).stdout.strip()
    assert folder
    assert not Path(folder).exists()


def test_without_bubblewrap_no_code_runs_unless_somebody_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no bwrap here\. Install the package bubblewrap .*--unsafe-run-code"):
        find_sandbox()
    assert "unsafe" in find_sandbox(allow_unsafe=True).name


def test_on_another_system_no_code_runs_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Plan9")
    with pytest.raises(ConfigError, match=r"on Linux only; this is Plan9"):
        find_sandbox(allow_unsafe=True)


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", r"AppArmor .*apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0", r"sysctl kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", r"sysctl user.max_user_namespaces="),
        ("kernel/unprivileged_userns_clone", "1", r"Expected bubblewrap 0.8 and Linux 5.14"),
    ],
)
def test_a_bubblewrap_that_does_not_work_is_told_with_what_to_set(
    setting: str, value: str, advice: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    broken.chmod(0o755)
    (tmp_path / setting).parent.mkdir()
    (tmp_path / setting).write_text(f"{value}\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sandbox_module, "_KERNEL", tmp_path)
    with pytest.raises(
        ConfigError, match=rf"does not work: .*uid map: Permission denied\. .*{advice}.*--unsafe"
    ) as told:
        find_sandbox()
    assert "\n" not in str(told.value)


def test_a_sandbox_that_fails_later_is_an_error_and_no_outcome(tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: no more namespaces' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ConfigError, match=r"sandbox: bwrap: no more namespaces\. The program was not run"):
        Sandbox(Bubblewrap(str(broken))).run("print(1)")


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "program.py", ".", "", "a\0b"])
def test_a_file_outside_the_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is no file beside program\.py"):
        Sandbox(Bare()).run("", files={name: "x"})


def test_a_package_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="package no_such_package is not installed"):
        Sandbox(Bare()).start("", packages=["no_such_package"])


@pytest.mark.parametrize(
    "name", ["seconds", "cpu_seconds", "memory_mib", "processes", "file_mib", "output_kib", "files"]
)
def test_a_limit_has_to_be_more_than_nothing(name: str) -> None:
    with pytest.raises(ConfigError, match=f"limits: {name} is 0, expected more than 0"):
        Limits(**{name: 0})
