"""The solvers, by name. Each is a file here that ends in its KIND, and is called like its file; `SOLVERS` has them all.

A name that is not in the table may be a path to such a file, `my_solver.py`, or `package.module:NAME`.
"""

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import ModuleType

from platformdirs import user_cache_path

from rmas.errors import ConfigError, unknown
from rmas.settings import RunConfig, Sampling, ToolConfig
from rmas.solver import Column, Solver
from rmas.solvers.echo import EchoSolver
from rmas.solvers.kind import Kind, Load, Open, Variant, as_it_is
from rmas.solvers.latent_kv import LatentKVSolver
from rmas.solvers.recursive import RecursiveSolver
from rmas.sources import Progress, silent
from rmas.spec import SystemSpec
from rmas.system import load_system
from rmas.systemfile import load_spec
from rmas.tools import Toolbox, open_tools
from rmas.weights import Backbones

__all__ = [
    "SOLVERS",
    "Column",
    "EchoSolver",
    "Kind",
    "LatentKVSolver",
    "Load",
    "Open",
    "RecursiveSolver",
    "RunConfig",
    "Variant",
    "as_it_is",
    "find_solver",
    "open_solver",
    "solver_spec",
    "solver_tools",
]


def shipped_solvers() -> dict[str, Kind]:
    """The KIND of every file of this package, by the file's name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module.KIND for name, module in modules.items() if hasattr(module, "KIND")}


SOLVERS: Mapping[str, Kind] = shipped_solvers()


def find_solver(name: str) -> Kind:
    """A row of SOLVERS, the KIND of a file `path/to/it.py`, or a Kind `package.module:NAME`. Raises ConfigError.

    A file or module of yours is imported, that is: run.
    """
    if name in SOLVERS:
        return SOLVERS[name]
    module_name, _, attribute = name.partition(":")
    if name.endswith(".py"):
        path, attribute = Path(name).expanduser(), "KIND"
        if not path.is_file():
            raise ConfigError(f"solver {name}: no such file. Check the path.")
        module = _module_of(path.resolve(), path.stat().st_mtime_ns, path.stat().st_size)
    elif attribute:
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as problem:
            raise ConfigError(f"solver {name}: {problem}. Write package.module:NAME of something installed.") from None
    else:
        raise ConfigError(unknown("solver", name, SOLVERS) + " A path to a solver ends in .py.")
    kind = getattr(module, attribute, None)
    if not isinstance(kind, Kind):
        raise ConfigError(f"solver {name}: {attribute} is not there, or no rmas.solvers.Kind. Define it in that file.")
    return kind


@cache
def _module_of(path: Path, changed: int, size: int) -> ModuleType:
    """A file as a module: run once, and anew when it has changed."""
    name = f"{path.stem}_{hashlib.sha256(f'{path} {changed} {size}'.encode()).hexdigest()[:12]}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None and found.loader is not None, "a .py file has a loader"
    module = sys.modules[name] = importlib.util.module_from_spec(found)  # dataclasses look their module up
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def solver_spec(name: str, config: RunConfig, solver: str | None = None) -> tuple[str, SystemSpec, RunConfig]:
    """Which solver answers, the system that it needs, and how it runs that. `solver` None: what the system's file says.

    Raises ConfigError for an unknown solver, for one that needs agents where the system has none, and for a control of
    messages where none are sent. Loads no weights.
    """
    spec = load_spec(name)
    chosen = spec.solver if solver is None else solver
    if solver is None and chosen.endswith(".py"):
        chosen = str(spec.path.parent / chosen)
    try:
        kind = find_solver(chosen)
    except ConfigError as problem:
        raise ConfigError(("" if solver is not None else f"{spec.path}: solver: ") + str(problem)) from None
    if kind.needs_agents and not spec.roles:
        raise ConfigError(f"{spec.name} has no agents, which solver {chosen} needs. Name a system such as smol.")
    if config.answerer is not None:
        spec = spec.with_answerer(load_spec(config.answerer))
    if config.tools is not None:
        spec = replace(spec, tools=config.tools)
    if spec.tools.every and "tools" in kind.lacks:
        raise ConfigError(f"tools are {', '.join(spec.tools.every)}, but solver {chosen} calls none. Leave them out.")
    if config.control != "none" and not kind.has_messages:
        raise ConfigError(f"control is {config.control}, but solver {chosen} has no messages. Leave it out.")
    return chosen, *kind.variant(spec, config)


def solver_tools(
    name: str,
    config: RunConfig,
    solver: str | None = None,
    *,
    cache: Path,
    key: str = "",
    allow_unsafe: bool = False,
) -> Toolbox | None:
    """The tools that agents may call in such a run, open, before any weights are loaded; None: nobody may.

    Raises PromptError where a prompt would not tell of them, and what `open_tools` raises.
    """
    _, spec, config = solver_spec(name, config, solver)
    for role, names in spec.tools_in_prompts.items():
        spec.pack.check_tools(role, names)
    return open_tools(_callable(spec, config), cache=cache, key=key, allow_unsafe=allow_unsafe)


def _callable(spec: SystemSpec, config: RunConfig) -> ToolConfig:
    """Where messages are latents, only the answerer writes."""
    return spec.tools if config.channel == "text" else spec.tools.changed(roles={})


def open_solver(
    name: str,
    config: RunConfig | None = None,
    sampling: Sampling | None = None,
    *,
    solver: str | None = None,
    cache: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    tools: Toolbox | None = None,
    backbones: Backbones | None = None,
    progress: Progress = silent,
) -> Solver:
    """A solver on a system, ready to answer. Opens tools that are not open yet, with no key, then loads weights where
    it has any. `backbones`: as for `load_system`."""
    chosen, spec, config = solver_spec(name, config or RunConfig(), solver)
    if tools is None:
        tools = open_tools(_callable(spec, config), cache=cache or user_cache_path("rmas"))
    load = partial(
        load_system, cache=cache, device=device, dtype=dtype, tools=tools, backbones=backbones, progress=progress
    )
    return find_solver(chosen).open(spec, config, sampling, load)
