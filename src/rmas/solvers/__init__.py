"""The solvers, by name.

recursive   the method: agents pass latent thoughts, the answerer speaks
text        the same pattern, prompts and rounds with text messages
single      the system's answerer on its own
echo        no weights: it says what it was asked
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from rmas.errors import ConfigError, unknown
from rmas.settings import RunConfig, Sampling
from rmas.solvers.echo import EchoSolver
from rmas.solvers.recursive import Column, RecursiveSolver
from rmas.sources import Progress, silent
from rmas.spec import SystemSpec, load_spec
from rmas.system import load_system

__all__ = ["SOLVERS", "Column", "EchoSolver", "RecursiveSolver", "RunConfig", "Variant", "open_solver", "solver_spec"]


class Variant(Protocol):
    """What a solver makes of a system and of how it is run."""

    def __call__(self, spec: SystemSpec, config: RunConfig) -> tuple[SystemSpec, RunConfig]: ...


def _as_it_is(spec: SystemSpec, config: RunConfig) -> tuple[SystemSpec, RunConfig]:
    return spec, config


def _in_text(spec: SystemSpec, config: RunConfig) -> tuple[SystemSpec, RunConfig]:
    return spec, replace(config, channel="text")


def _alone(spec: SystemSpec, config: RunConfig) -> tuple[SystemSpec, RunConfig]:
    return spec.alone(), replace(config, rounds=None, latent_steps=None)


SOLVERS: Mapping[str, Variant] = {"recursive": _as_it_is, "text": _in_text, "single": _alone, "echo": _as_it_is}


def solver_spec(name: str, config: RunConfig, solver: str | None = None) -> tuple[str, SystemSpec, RunConfig]:
    """Which solver answers, the system that it needs, and how it runs that. `solver` None: what the system's file says.

    Raises ConfigError for an unknown solver and for one that needs agents where the system has none. Loads no weights.
    """
    spec = load_spec(name)
    chosen = spec.solver if solver is None else solver
    if chosen not in SOLVERS:
        place = "" if solver is not None else f"{spec.path}: solver: "
        raise ConfigError(place + unknown("solver", chosen, SOLVERS))
    if chosen != "echo" and not spec.roles:
        raise ConfigError(f"{spec.name} has no agents, which solver {chosen} needs. Name a system such as smol.")
    return chosen, *SOLVERS[chosen](spec, config)


def open_solver(
    name: str,
    config: RunConfig | None = None,
    sampling: Sampling | None = None,
    *,
    solver: str | None = None,
    cache: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    progress: Progress = silent,
) -> EchoSolver | RecursiveSolver:
    """A solver on a system, ready to answer. Loads weights where it has any, as `load_system` does."""
    chosen, spec, config = solver_spec(name, config or RunConfig(), solver)
    if chosen == "echo":
        return EchoSolver()
    system = load_system(spec, cache=cache, device=device, dtype=dtype, progress=progress)
    return RecursiveSolver(system, config, sampling)
