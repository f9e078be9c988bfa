"""The tool `python`: a cell of a notebook in the sandbox. Every call starts afresh and leaves nothing behind.

What comes back is what the cell prints, the value of its last line if that is an expression, and what went wrong. A
fence around the code is taken off. The standard library is there; numpy, sympy and mpmath where they are installed and
the code names them.
"""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import final

from rmas.tools.example import Example
from rmas.tools.notebook import CELL
from rmas.tools.process import Limits, Outcome, StoppedBy
from rmas.tools.sandbox import Sandbox
from rmas.tools.tool import Result, cut

_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "numpy": ("numpy",),
    "sympy": ("sympy", "mpmath"),
    "mpmath": ("mpmath",),
}  # what the code names -> what it takes
PYTHON_EXAMPLE = Example(
    question="What is 36.5 times 12?",
    request="36.5 * 12",
    result="438.0",
    answer="438",
)
_FENCE = re.compile(r"```[^\n`]*\n(.*?)\n?```", re.DOTALL)
_NOTEBOOK = Path(__file__).with_name("notebook.py")


@final
class PythonTool:
    """Runs cells. `seconds`: of a call, by the clock; `chars`: of a result, whose middle is left out beyond them."""

    name = "python"

    def __init__(self, sandbox: Sandbox, *, seconds: float = 10.0, chars: int = 4000) -> None:
        self._sandbox, self._chars = sandbox, chars
        self._limits = Limits(seconds=seconds, cpu_seconds=max(round(seconds), 1), memory_mib=1024, output_kib=4096)
        self._packages = _installed()
        self._program = _NOTEBOOK.read_text(encoding="utf-8")

    @property
    def description(self) -> str:
        return python_described()

    @property
    def facts(self) -> Mapping[str, str]:
        return {"python": self._sandbox.name}

    def run(self, text: str) -> Result:
        """Raises ConfigError where the sandbox fails, never because of what the code does."""
        code = _without_fence(text)
        packages = dict.fromkeys(need for name, needs in self._packages.items() if name in code for need in needs)
        outcome = self._sandbox.start(
            self._program, limits=self._limits, files={CELL: code}, packages=tuple(packages)
        ).wait()
        shown, is_cut = cut(_told(outcome, self._limits), self._chars)
        return Result(shown, outcome.seconds, is_cut or outcome.stopped_by == "output")


def python_described() -> str:
    """What a prompt says of the tool on this machine."""
    beside = "".join(f", {name}" for name in sorted(_installed()))
    return (
        "<python>print(17 * 23)</python> runs Python (standard library"
        f"{beside}) and gives back what it prints and the value of its last line."
    )


def _told(outcome: Outcome, limits: Limits) -> str:
    """What it printed, then what went wrong."""
    stopped: Mapping[StoppedBy, str] = {
        "time": f"[stopped after {limits.seconds:g} seconds]",
        "output": f"[stopped: more than {limits.output_kib >> 10} MiB of output]",
        "memory": f"[stopped: more than {limits.memory_mib} MiB of memory]",
        "files": "[stopped: too many files]",
    }
    parts = [outcome.stdout.rstrip("\n"), outcome.stderr.strip(), stopped.get(outcome.stopped_by, "")]
    if outcome.exit_code and not outcome.stderr.strip():
        parts.append(f"[exit code {outcome.exit_code}]")
    return "\n".join(part for part in parts if part) or "[no output]"


def _without_fence(text: str) -> str:
    """The code inside a fence, where that is all of the text."""
    found = _FENCE.fullmatch(text.strip())
    return text.strip("\n") if found is None else found[1]


def _installed() -> Mapping[str, tuple[str, ...]]:
    return {name: needs for name, needs in _PACKAGES.items() if all(map(_is_installed, needs))}


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
