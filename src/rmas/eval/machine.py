"""What a run took of the machine: device, seconds, peak memory, energy where the device tells it, package versions.

None of it belongs to the result: it differs from run to run, and a resumed one has the sum over its sessions.
"""

import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("rmas", "torch", "transformers", "math-verify", "reasoning-gym", "datasets")
_RAPL = Path("/sys/class/powercap")  # Intel and AMD: energy counters of the processor packages, often for root only


@dataclass
class Session:
    """Filled when its `with` ends. `energy_joules` None: no device told it."""

    facts: dict[str, Any] = field(default_factory=dict)


@contextmanager
def measured(session: Session) -> Iterator[None]:
    """Time, peak memory and energy of what happens inside go into `session`, however it ends."""
    began, energy = time.monotonic(), _energy()
    try:
        yield
    finally:
        after = _energy()
        session.facts = {
            "seconds": round(time.monotonic() - began, 3),
            "device": _device(),
            "peak_memory_mib": _peak_memory(),
            "energy_joules": None if energy is None or after is None or after < energy else round(after - energy, 1),
        }


def versions() -> dict[str, str]:
    """Python and the packages that results may depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"{platform.machine()} CPU"


def _peak_memory() -> int:
    """MiB: of the GPU where one is used, else of this process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() // 2**20)
    scale = 1024 if sys.platform != "darwin" else 1  # Linux counts in KiB, macOS in bytes
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale // 2**20)


def _energy() -> float | None:
    """Joules counted so far by the GPU, else by the processor; None where nothing tells."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
        except pynvml.NVMLError:
            return None
    try:
        counts = [int((zone / "energy_uj").read_text()) for zone in _RAPL.glob("intel-rapl:?")]
    except (OSError, ValueError):
        return None
    return sum(counts) / 1e6 if counts else None
