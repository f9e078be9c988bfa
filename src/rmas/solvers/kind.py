"""What a solver's file says of it, in `KIND`: what it makes of a system and of how it is run, and how it is opened."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rmas.settings import RunConfig, Sampling
from rmas.solver import Solver
from rmas.spec import SystemSpec
from rmas.system import System

Load = Callable[[SystemSpec], System]


class Variant(Protocol):
    """What a solver makes of a system and of how it is run. Loads no weights; raises ConfigError where it cannot."""

    def __call__(self, spec: SystemSpec, config: RunConfig) -> tuple[SystemSpec, RunConfig]: ...


class Open(Protocol):
    """A solver, ready to answer. `spec` and `config` are the variant's; `load` loads weights, and may stay unused."""

    def __call__(self, spec: SystemSpec, config: RunConfig, sampling: Sampling | None, load: Load) -> Solver: ...


def as_it_is(spec: SystemSpec, config: RunConfig) -> tuple[SystemSpec, RunConfig]:
    return spec, config


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A way to answer questions with a system. `about`: a line for tables and help."""

    about: str
    open: Open
    variant: Variant = as_it_is
    needs_agents: bool = True
    has_messages: bool = True  # agents send each other something, which a control can replace
    lacks: tuple[str, ...] = ()  # settings of an evaluation that mean nothing to it
