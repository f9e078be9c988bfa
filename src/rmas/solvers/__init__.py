"""The solvers, by name."""

from pathlib import Path

from rmas.errors import ConfigError, unknown
from rmas.settings import RunConfig, Sampling
from rmas.solvers.echo import EchoSolver
from rmas.solvers.recursive import Column, RecursiveSolver
from rmas.sources import Progress, silent
from rmas.spec import load_spec
from rmas.system import load_system

SOLVERS = {"echo": EchoSolver, "recursive": RecursiveSolver}

__all__ = ["SOLVERS", "Column", "EchoSolver", "RecursiveSolver", "RunConfig", "open_solver"]


def open_solver(
    name: str,
    config: RunConfig | None = None,
    sampling: Sampling | None = None,
    *,
    cache: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress = silent,
) -> EchoSolver | RecursiveSolver:
    """The solver that a system's file names, ready to answer. Loads weights where it has any, as `load_system` does."""
    spec = load_spec(name)
    if spec.solver not in SOLVERS:
        raise ConfigError(f"{spec.path}: solver: {unknown('solver', spec.solver, SOLVERS)}")
    if spec.solver == "echo":
        return EchoSolver()
    system = load_system(name, cache=cache, device=device, dtype=dtype, progress=progress)
    return RecursiveSolver(system, config, sampling)
