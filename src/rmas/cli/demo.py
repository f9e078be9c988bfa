"""`rmas demo`: three questions, R = 1, 2, 3, each through latents and through text, with what each way cost."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from rmas.cli.fetch import make_ready, named
from rmas.cli.options import SYSTEM_HELP, CacheOption, cache_folder, search_key
from rmas.cli.screen import note, progress, shown, table
from rmas.errors import ConfigError

if TYPE_CHECKING:
    from rmas.engine import Turn
    from rmas.settings import RunConfig
    from rmas.solver import Answer
    from rmas.system import System

QUESTIONS = (
    "What is the capital of France? One word.",
    "How many minutes are in two hours? One number.",
    "Which is larger, 17 or 71? One number.",
)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Small enough for two slow cores."""

    rounds: tuple[int, ...] = (1, 2, 3)
    latent_steps: int = 4
    message_tokens: int = 8
    max_new_tokens: int = 16


def demo(
    system: Annotated[str, typer.Option(help=SYSTEM_HELP)] = "smol",
    cache: CacheOption = None,
) -> None:
    """Answer three questions with a system, its agents thinking in latents and, to compare, in text."""
    from rmas.systemfile import load_spec

    budget, folder = Budget(), cache_folder(cache)
    system = named(system, folder)
    spec = load_spec(system)
    if not spec.roles:
        raise ConfigError(f"demo: system {spec.name!r} has no agents to show. Try rmas demo --system smol.")
    began = time.monotonic()
    print(_introduction(spec.name, budget), flush=True)

    from rmas.solvers import solver_tools
    from rmas.system import load_system

    tools = solver_tools(system, _config(1, "text", budget), cache=folder, key=search_key())
    with progress() as report:
        make_ready(spec, folder, report)
        loaded = load_system(system, cache=folder, tools=tools, progress=report)
        _warm_up(loaded)
    note(f"ready after {time.monotonic() - began:.0f} s")
    for rounds in budget.rounds:
        latent, text = (_answers(loaded, _config(rounds, channel, budget), budget) for channel in ("latent", "text"))
        for number, question in enumerate(QUESTIONS):
            print(f"\nR = {rounds}, question {number + 1}: {question}")
            print(_comparison(latent[number], text[number]))
    note(f"\n{time.monotonic() - began:.0f} s in all")
    print(f"\n{_conclusion(loaded)}")


def _introduction(name: str, budget: Budget) -> str:
    return (
        f"rmas demo: {len(QUESTIONS)} questions to the system {name!r} at R = {', '.join(map(str, budget.rounds))}, "
        "each through two channels.\n"
        f"  latent  agents send each other {budget.latent_steps} latent thoughts a turn\n"
        f"  text    agents write to each other, at most {budget.message_tokens} tokens a turn\n"
        "The questions of one R and channel run as one batch: seconds are those of the whole batch."
    )


def _warm_up(system: "System") -> None:
    """One short run that nobody times: the first pass through a model also pays for its set-up."""
    _answers(system, _config(1, "latent", Budget(latent_steps=2)), Budget(max_new_tokens=2))


def _conclusion(system: "System") -> str:
    if system.spec.links is not None:
        return "The links come from a bundle; three questions are too few to judge them by."
    return (
        f"The links of {system.spec.name} are not trained (start: {system.spec.start}): the answers show that the "
        "machine works, not that collaboration helps."
    )


def _config(rounds: int, channel: str, budget: Budget) -> "RunConfig":
    from rmas.settings import RunConfig

    if channel == "latent":
        return RunConfig(rounds=rounds, latent_steps=budget.latent_steps)
    return RunConfig(rounds=rounds, channel="text", message_tokens=budget.message_tokens)


def _answers(system: "System", config: "RunConfig", budget: Budget) -> Sequence["Answer"]:
    from rmas.prompt import Question
    from rmas.settings import Sampling
    from rmas.solvers import RecursiveSolver

    solver = RecursiveSolver(system, config, Sampling(max_new_tokens=budget.max_new_tokens))
    return solver.solve([Question(text=text) for text in QUESTIONS])


def _comparison(latent: "Answer", text: "Answer") -> str:
    """Both answers; their turns side by side, for both channels visit the same roles; and what text costs more."""
    rows = [
        (one.round, one.role, *_cost(one), *_cost(two))
        for one, two in zip(latent.trace.turns, text.trace.turns, strict=True)
    ]
    ours, theirs = latent.trace, text.trace
    total = [(trace.usage.prompt_tokens, trace.sequential_steps, trace.usage.seconds) for trace in (ours, theirs)]
    header = ("round", "role", "latent: in", "steps", "seconds", "text: in", "steps", "seconds")
    return "\n".join(
        [
            f"  latent: {_answer(latent)}",
            f"  text:   {_answer(text)}",
            table(header, [*rows, ("all", "", *total[0], *total[1])], indent="  "),
            f"  text / latent: {theirs.sequential_steps / ours.sequential_steps:.1f}x the sequential steps, "
            f"{theirs.usage.seconds / ours.usage.seconds:.1f}x the seconds",
        ]
    )


def _cost(turn: "Turn") -> tuple[int, int, float]:
    """Positions read, steps that each waited for the one before, and seconds."""
    return turn.tokens_in, turn.latent_steps + turn.tokens_out, turn.seconds


def _answer(answer: "Answer") -> str:
    return shown(" ".join(answer.text.split())) or "(empty)"
