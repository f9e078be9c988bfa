"""What a run took of the machine: device, seconds, peak memory, energy where the device tells it, package versions.

None of it belongs to the result: it differs from run to run, and a resumed one has the sum over its sessions.
"""

import platform
import resource
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, final

import torch

_PACKAGES = ("rmas", "torch", "transformers", "math-verify", "reasoning-gym", "datasets")
_RAPL = Path("/sys/class/powercap")  # Intel and AMD: energy counters of the processor packages, often for root only


@final
class Session:
    """One process at work on a run, from its making on. `devices`: where the models are; none: the processor."""

    def __init__(self, devices: Iterable[str] = ()) -> None:
        self._devices = [torch.device(name) for name in sorted(set(devices) or {"cpu"})]
        self._name = uuid.uuid4().hex
        self._began, self._energy = time.monotonic(), _energy(self._devices)

    def facts(self) -> dict[str, Any]:
        """What it took so far. `session` tells it from others; `energy_joules` None: no device told it."""
        before, after = self._energy, _energy(self._devices)
        return {
            "session": self._name,
            "seconds": round(time.monotonic() - self._began, 3),
            "device": ", ".join(map(_name, self._devices)),
            "peak_memory_mib": _peak_memory(self._devices),
            "energy_joules": None if before is None or after is None or after < before else round(after - before, 1),
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


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()} {device.type.upper()}"


def _peak_memory(devices: Sequence[torch.device]) -> int:
    """MiB: of the GPUs where some are used, else of this process."""
    if gpus := _gpus(devices):
        return int(sum(map(torch.cuda.max_memory_allocated, gpus)) // 2**20)
    scale = 1024 if sys.platform != "darwin" else 1  # Linux counts in KiB, macOS in bytes
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale // 2**20)


def _energy(devices: Sequence[torch.device]) -> float | None:
    """Joules counted so far by the GPUs, else by the processor; None where nothing tells."""
    if gpus := _gpus(devices):
        try:
            import pynvml
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            # By UUID: NVML's numbers are not those that CUDA_VISIBLE_DEVICES leaves.
            names = [f"GPU-{torch.cuda.get_device_properties(gpu).uuid}" for gpu in gpus]
            handles = [pynvml.nvmlDeviceGetHandleByUUID(name) for name in names]
            return float(sum(map(pynvml.nvmlDeviceGetTotalEnergyConsumption, handles))) / 1000
        except pynvml.NVMLError:
            return None
    try:
        counts = [int((zone / "energy_uj").read_text()) for zone in _RAPL.glob("intel-rapl:?")]
    except (OSError, ValueError):
        return None
    return sum(counts) / 1e6 if counts else None


def _gpus(devices: Sequence[torch.device]) -> list[torch.device]:
    return [device for device in devices if device.type == "cuda"]
