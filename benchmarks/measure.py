"""What every benchmark shares: its config, timing with spread, the machine's facts, and the result file."""

import json
import platform
import statistics
import time
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

T = TypeVar("T")


class Spread(NamedTuple):
    """Seconds: median, least and most of several runs."""

    median: float
    least: float
    most: float


def load_config(script: str) -> dict[str, Any]:
    """The config.toml beside a benchmark's run.py."""
    return tomllib.loads((Path(script).parent / "config.toml").read_text(encoding="utf-8"))


def spread(seconds: list[float]) -> Spread:
    return Spread(statistics.median(seconds), min(seconds), max(seconds))


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of `work` and the seconds it took, the device's queue drained."""
    _drain()
    began = time.perf_counter()
    result = work()
    _drain()
    return result, time.perf_counter() - began


def finish(name: str, figures: dict[str, Any]) -> None:
    """Print the figures as one JSON line, the last of the output, and keep them in benchmarks/results/."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    facts = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "rmas": version("rmas"),
    }
    result = facts | figures
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


def _drain() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
