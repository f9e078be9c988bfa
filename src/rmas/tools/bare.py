"""The unsafe way to start a program: as a plain child of this process, where somebody asked for it by name.

It has an empty environment, a temporary folder, a process group and limits of its own, and that is all: it can read
what its user can read, reach the network, and leave processes behind that made themselves a group of their own.
"""

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import final

from rmas.tools.bubblewrap import ENVIRONMENT, INSIDE, PYTHON_FLAGS, Job, inside_arguments, interpreter, start_piped
from rmas.tools.process import Started
from rmas.tools.watch import look


@final
class Bare:
    """Starts programs without any isolation."""

    name = "none (unsafe)"

    def start(self, job: Job) -> Started:
        """Start the program in a fresh temporary folder. No limit on processes: it would count all of this user's."""
        folder = Path(tempfile.mkdtemp(prefix="rmas-unsafe-"))
        for name, content in job.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        packages = str(job.packages[0].parent) if job.packages else ""
        arguments = inside_arguments(job, str(folder), packages=packages)
        words = [str(interpreter()), *PYTHON_FLAGS, str(INSIDE), *arguments]
        popen = start_piped(words, job.inherited, {**ENVIRONMENT, "HOME": str(folder)}, str(folder))

        def kill() -> None:
            try:
                os.killpg(popen.pid, signal.SIGKILL)
            except ProcessLookupError:
                return

        return Started(
            popen=popen,
            kill=kill,
            look=lambda: look(popen.pid, None),
            has_run=lambda: True,
            close=lambda: shutil.rmtree(folder, ignore_errors=True),
        )
