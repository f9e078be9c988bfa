"""math-verify in a process of its own, so that a limit holds on any text and in any thread. No torch.

math-verify's own limits are signals, which work in the main thread only and do not stop a big power. The surprising
thing: the limit is of processor time, kept by the process itself, so that verdicts do not depend on what else runs.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, final

from rmas.errors import ConfigError

SECONDS = 5.0  # of processor time, per comparison of two answers
_START_SECONDS = 120.0  # by the clock, to load sympy on a busy machine
_PATIENCE = 20  # by the clock, times the limit: for a process that does not get the processor
_KEPT = 4096  # proofs
_WORKER = Path(__file__).with_name("prover_worker.py")


class Proof(NamedTuple):
    """What math-verify found. `seconds`: processor time; `detail`: why nothing could be found, else empty."""

    is_equal: bool
    seconds: float = 0.0
    detail: str = ""


@final
class Prover:
    """Compares pieces of LaTeX, one at a time. Its process starts with the first, and again after one that ran over."""

    def __init__(self, *, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._known: dict[tuple[str, str], Proof] = {}

    def prove(self, gold: str, given: str, *, seconds: float | None = None) -> Proof:
        """Whether math-verify can show that the two are equal, in at most `seconds` of processor time.

        Raises ConfigError without math-verify.
        """
        require_math_verify()
        with self._lock:
            if proof := self._known.get((gold, given)):
                return proof._replace(seconds=0.0)
            proof = self._ask(gold, given, self.seconds if seconds is None else seconds)
            if not proof.detail:
                if len(self._known) >= _KEPT:
                    self._known.clear()
                self._known[gold, given] = proof
            return proof

    def close(self) -> None:
        """End the process. The next comparison starts another."""
        with self._lock:
            self._stop()

    def _ask(self, gold: str, given: str, seconds: float) -> Proof:
        over = Proof(False, seconds, f"not settled within {self.seconds:g} s")
        if seconds <= 0:
            return over
        request = json.dumps({"gold": gold, "given": given, "seconds": seconds})
        for _ in range(2):  # one that something else has ended is started again
            if reply := self._exchange(request, wait=_PATIENCE * seconds):
                return Proof(**json.loads(reply))
            if self._stop() in (-signal.SIGPROF, -signal.SIGKILL):
                return over
        return Proof(False, seconds, "not comparable (it ends the process)")

    def _exchange(self, request: str, *, wait: float) -> str:
        """The reply; empty: the process is gone."""
        process = self._process or self._start()
        assert process.stdin
        try:
            process.stdin.write(request + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return ""
        return _read_line(process, wait=wait)

    def _start(self) -> "subprocess.Popen[str]":
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER)],  # -P: our code.py and statistics.py are not the standard library's
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is not for it
        )
        if not _read_line(self._process, wait=_START_SECONDS):
            self._stop()
            raise ConfigError(f"{_WORKER.name} does not start. Check that `python -c 'import math_verify'` works.")
        return self._process

    def _stop(self) -> int | None:
        """End the process, if there is one; its exit code, where it had already ended."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        assert process.stdin
        assert process.stdout
        process.stdout.close()
        with suppress(BrokenPipeError):  # what was not yet written
            process.stdin.close()
        return process.wait()


def require_math_verify() -> None:
    """Raise ConfigError where math-verify is not installed."""
    if not _has_math_verify():
        raise ConfigError("grading mathematics needs the math-verify package: pip install 'rmas[eval]'.")


@lru_cache(maxsize=1)
def shared_prover() -> Prover:
    """The process's own prover; it ends with the process."""
    prover = Prover()
    owner = os.getpid()
    atexit.register(lambda: prover.close() if os.getpid() == owner else None)
    return prover


@lru_cache(maxsize=1)
def _has_math_verify() -> bool:
    return find_spec("math_verify") is not None


def _read_line(process: "subprocess.Popen[str]", *, wait: float) -> str:
    """One line; empty where the process ends first, or is killed after `wait` seconds by the clock."""
    assert process.stdout
    timer = threading.Timer(wait, process.kill)
    timer.daemon = True
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()


os.register_at_fork(after_in_child=shared_prover.cache_clear)  # a child must not speak into its parent's pipes
