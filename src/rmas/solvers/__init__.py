"""The solvers, by name."""

from rmas.solvers.echo import EchoSolver
from rmas.solvers.recursive import RecursiveSolver, RunConfig

SOLVERS = {"echo": EchoSolver, "recursive": RecursiveSolver}

__all__ = ["SOLVERS", "EchoSolver", "RecursiveSolver", "RunConfig"]
