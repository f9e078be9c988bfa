"""One evaluation: settings to a solver that is ready to answer, and to what a summary says about its system."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rmas.designs import SOFT_TOKEN
from rmas.eval.config import EvalConfig
from rmas.eval.task import Task
from rmas.settings import RunConfig, Sampling, ToolConfig
from rmas.solver import Solver
from rmas.solvers import find_solver, open_solver, solver_spec, solver_tools
from rmas.sources import Progress, pinned, silent
from rmas.spec import SystemSpec
from rmas.system import System
from rmas.systemfile import load_spec
from rmas.tools import Toolbox
from rmas.weights import Backbones


class Opened(NamedTuple):
    solver: Solver
    facts: dict[str, Any]


def resolved(settings: EvalConfig, task: Task) -> EvalConfig:
    """With the system's rounds and steps and the task's budget where nothing else was said, and names on the hub with
    the commit that they stand for. Loads no weights.

    Raises ConfigError for a solver, system or control that does not exist or does not fit.
    """
    config = RunConfig(control=settings.control, tools=_tools(settings))
    _, spec, _ = solver_spec(system_of(settings), config, settings.solver)
    fixed: dict[str, Any] = {"rounds": spec.rounds, "latent_steps": spec.latent_steps}
    fixed["max_new_tokens"] = task.max_new_tokens
    fixed["message_tokens"] = spec.message_tokens or settings.max_new_tokens or task.max_new_tokens
    missing = {name: value for name, value in fixed.items() if vars(settings)[name] is None}
    answerer = settings.answerer if settings.answerer is None else pinned(settings.answerer)
    return replace(settings, system=pinned(settings.system), answerer=answerer, **missing)


def spec_of(settings: EvalConfig) -> SystemSpec:
    """The system whose weights the solver will want."""
    return solver_spec(system_of(settings), _how(settings), settings.solver)[1]


def tools_of(settings: EvalConfig, *, cache: Path, key: str = "") -> Toolbox | None:
    """The tools of `settings`, open, before any weights are loaded. `key`: of a search service."""
    return solver_tools(
        system_of(settings),
        _how(settings),
        settings.solver,
        cache=cache,
        key=key,
        allow_unsafe=settings.unsafe_run_code_without_sandbox,
    )


def open_cell(
    settings: EvalConfig,
    *,
    device: str,
    dtype: str,
    cache: Path,
    tools: Toolbox | None = None,
    backbones: Backbones | None = None,
    progress: Progress = silent,
) -> Opened:
    """The solver of resolved `settings`, ready to answer, and what a summary says about its system. Loads weights that
    are not among `backbones`, which then has them and no others; opens tools unless they are given."""
    if backbones is not None:
        wanted = {role.model for role in spec_of(settings).placed(device=device, dtype=dtype).roles.values()}
        for entry in backbones.keys() - wanted:
            del backbones[entry]
    assert settings.max_new_tokens is not None, "resolved"
    sampling = Sampling(
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed,
        samples=settings.samples,
    )
    solver = open_solver(
        system_of(settings),
        _how(settings),
        sampling,
        solver=settings.solver,
        cache=cache,
        device=device,
        dtype=dtype,
        tools=tools,
        backbones=backbones,
        progress=progress,
    )
    facts: dict[str, Any] = {"lacks": list(find_solver(settings.solver).lacks)}
    system: System | None = getattr(solver, "system", None)
    if system is not None:
        spec = system.spec
        facts |= {"name": spec.name, "digest": system.digest(), "prompts": spec.pack.name}
        facts["models"] = {role: entry.source.name for role, entry in spec.roles.items()}
        facts["dtype"] = {role: str(backbone.dtype) for role, backbone in system.backbones.items()}
        facts["device"] = {role: str(backbone.device) for role, backbone in system.backbones.items()}
        facts["flops"] = {
            role: [*backbone.flops, 2 * backbone.flops[1] * (spec.roles[role].inner == SOFT_TOKEN)]
            for role, backbone in system.backbones.items()
        }
        facts["notes"] = list(system.notes)
        if system.tools is not None:
            facts["tools"] = vars(system.tools.config)
            facts["searched"] = system.tools.facts.get("search", "nothing")
    return Opened(solver, facts)


def system_of(settings: EvalConfig) -> str:
    return settings.system if find_solver(settings.solver).needs_agents else "echo"


def _how(settings: EvalConfig) -> RunConfig:
    return RunConfig(
        rounds=settings.rounds,
        latent_steps=settings.latent_steps,
        message_tokens=settings.message_tokens,
        control=settings.control,
        answerer=settings.answerer,
        tools=_tools(settings),
        batch_size=settings.batch_size,
    )


def _tools(settings: EvalConfig) -> ToolConfig | None:
    """The system's own tools, with what the settings say of them. None: the settings say nothing."""
    given: dict[str, Any] = {"names": settings.tools, "search": settings.search, "corpus": settings.corpus}
    given |= {"calls": settings.tool_calls, "tokens": settings.tool_tokens, "seconds": settings.tool_seconds}
    given |= {"format": settings.tool_format}
    if all(value is None for value in given.values()):
        return None
    return load_spec(system_of(settings)).tools.changed(**given)
