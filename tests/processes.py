"""Scripts of tests that need a process of their own, to fork from or to kill."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def printed_by(script: str, *arguments: str, environment: dict[str, str] | None = None) -> Any:
    """The JSON in the last line that `script` prints; it imports what tests do, and has one thread and 190 seconds."""
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=190,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    return json.loads(lines[-1])
