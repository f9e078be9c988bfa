"""rmas: recursive latent multi-agent systems. The public names load on first use, so importing rmas is cheap."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rmas.backbone import load_backbone
    from rmas.checkpoint import save_system
    from rmas.engine import Trace, Turn, Usage
    from rmas.errors import RmasError
    from rmas.eval.config import EvalConfig
    from rmas.eval.run import evaluate
    from rmas.pattern import Pattern, load_pattern
    from rmas.prompt import Question
    from rmas.settings import RunConfig, Sampling
    from rmas.solver import Answer, Solver
    from rmas.solvers import EchoSolver, RecursiveSolver
    from rmas.system import System, load_system
    from rmas.train.config import InnerConfig, OuterConfig
    from rmas.train.inner import train_inner
    from rmas.train.outer import train_outer

_HOMES = {
    "Answer": "rmas.solver",
    "EchoSolver": "rmas.solvers",
    "EvalConfig": "rmas.eval.config",
    "InnerConfig": "rmas.train.config",
    "OuterConfig": "rmas.train.config",
    "Pattern": "rmas.pattern",
    "Question": "rmas.prompt",
    "RecursiveSolver": "rmas.solvers",
    "RmasError": "rmas.errors",
    "RunConfig": "rmas.settings",
    "Sampling": "rmas.settings",
    "Solver": "rmas.solver",
    "System": "rmas.system",
    "Trace": "rmas.engine",
    "Turn": "rmas.engine",
    "Usage": "rmas.engine",
    "evaluate": "rmas.eval.run",
    "load_backbone": "rmas.backbone",
    "load_pattern": "rmas.pattern",
    "load_system": "rmas.system",
    "save_system": "rmas.checkpoint",
    "train_inner": "rmas.train.inner",
    "train_outer": "rmas.train.outer",
}

__all__ = [
    "Answer",
    "EchoSolver",
    "EvalConfig",
    "InnerConfig",
    "OuterConfig",
    "Pattern",
    "Question",
    "RecursiveSolver",
    "RmasError",
    "RunConfig",
    "Sampling",
    "Solver",
    "System",
    "Trace",
    "Turn",
    "Usage",
    "evaluate",
    "load_backbone",
    "load_pattern",
    "load_system",
    "save_system",
    "train_inner",
    "train_outer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rmas' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
