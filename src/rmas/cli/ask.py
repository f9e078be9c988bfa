"""`rmas ask SYSTEM QUESTION`: everything is checked first, then weights load and the answer streams."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from rmas.cli.fetch import make_ready, named
from rmas.cli.options import (
    SYSTEM_HELP,
    CacheOption,
    CorpusOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    SearchOption,
    ToolFormatOption,
    ToolsOption,
    cache_folder,
    search_key,
    tool_names,
)
from rmas.cli.screen import note, print_json, progress, shown, table
from rmas.errors import ConfigError, QuestionError

if TYPE_CHECKING:
    from rmas.prompt import Kind, Question
    from rmas.solver import Answer, Solver


def ask(
    system: Annotated[str, typer.Argument(help=SYSTEM_HELP)],
    question: Annotated[str, typer.Argument(help="What you want to know; - reads standard input.")],
    rounds: Annotated[int | None, typer.Option(help="Recursion rounds R.", show_default="the system's")] = None,
    latent_steps: Annotated[
        int | None, typer.Option(help="Latent thoughts per turn; 0: the answerer alone.", show_default="the system's")
    ] = None,
    channel: Annotated[str, typer.Option(metavar="latent|text", help="What agents send each other.")] = "latent",
    message_tokens: Annotated[
        int | None, typer.Option(help="The longest message of the text channel.", show_default="the system's")
    ] = None,
    tools: ToolsOption = None,
    search: SearchOption = None,
    corpus: CorpusOption = None,
    tool_format: ToolFormatOption = None,
    kind: Annotated[
        str, typer.Option(metavar="open|math|choice|code|search", help="The kind of task; it words the prompts.")
    ] = "open",
    context: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=TEXT|ROLE=@FILE", help="What only this role gets to read. Repeatable.", show_default=False
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="Answers drawn from one run.")] = 1,
    seed: Annotated[int, typer.Option(help="Where random draws start.")] = 0,
    temperature: Annotated[float, typer.Option(help="0: always the likeliest token.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens that sum to this.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Draw from this many likeliest tokens; 0: from all.")] = 0,
    max_new_tokens: Annotated[int | None, typer.Option(help="The longest answer.", show_default="the system's")] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="End the answer before this text. Repeatable.", show_default=False),
    ] = None,
    unsafe: Annotated[
        bool, typer.Option("--unsafe-run-code-without-sandbox", help="Run the answerer's code with your own rights.")
    ] = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a system a question and print its answer."""
    from rmas.prompt import Question
    from rmas.settings import RunConfig, Sampling
    from rmas.systemfile import load_spec

    folder = cache_folder(cache)
    system = named(system, folder)
    spec = load_spec(system).placed(device=device, dtype=dtype)
    wanted = spec.tools.changed(names=tool_names(tools), search=search, corpus=corpus, format=tool_format)
    config = RunConfig(
        rounds=spec.rounds if rounds is None else rounds,
        latent_steps=spec.latent_steps if latent_steps is None else latent_steps,
        channel=cast(Any, channel),
        message_tokens=message_tokens,
        tools=wanted,
    )
    sampling = Sampling(
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_new_tokens=spec.max_new_tokens if max_new_tokens is None else max_new_tokens,
        stop=tuple(stop or ()),
        seed=seed,
        samples=samples,
    )
    asked = Question(text=_text(question), kind=cast("Kind", kind), context=_contexts(context or ()))
    asked.check_roles(spec.pattern.roles)
    resolved = {
        "system": spec.name,
        "pattern": spec.pattern.name,
        "solver": spec.solver,
        "rounds": config.rounds,
        "latent_steps": config.latent_steps,
        "channel": config.channel,
        "message_tokens": spec.message_tokens if message_tokens is None else message_tokens,
        "tools": list(wanted.names),
        **({"role_tools": {role: list(names) for role, names in wanted.roles.items()}} if wanted.roles else {}),
        **({"tool_format": wanted.format} if wanted.every else {}),
        **({"search": wanted.search, "corpus": wanted.corpus} if "search" in wanted.every else {}),
        "kind": asked.kind,
        "samples": sampling.samples,
        "seed": sampling.seed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_new_tokens": sampling.max_new_tokens,
        "stop": list(sampling.stop),
        "device": device,
        "dtype": dtype,
        "cache": str(folder),
    }
    if not as_json:
        note(" ".join(f"{name}={value}" for name, value in resolved.items()))

    from rmas.solvers import open_solver, solver_tools

    toolbox = solver_tools(system, config, cache=folder, key=search_key(), allow_unsafe=unsafe)
    with progress() as report:
        make_ready(spec, folder, report)
        solver = open_solver(
            system, config, sampling, cache=folder, device=device, dtype=dtype, tools=toolbox, progress=report
        )
    if as_json:
        answer = solver.solve([asked])[0]
        print_json({**answer.to_json(), "config": resolved, "notes": list(answer.trace.notes)})
        return
    _print_trace(_stream(solver, asked) if samples == 1 else _print_all(solver.solve([asked])[0]))


def _stream(solver: "Solver", question: "Question") -> "Answer":
    """Print the answer as it grows."""
    from rmas.solver import StreamingSolver

    if not isinstance(solver, StreamingSolver):
        return _print_all(solver.solve([question])[0])
    length = 0
    for column in solver.stream(question):
        print(shown(column.text[length:]), end="", flush=True)
        length = len(column.text)
    print()
    assert column.answer is not None, "the last column carries the answer"
    return column.answer


def _print_all(answer: "Answer") -> "Answer":
    if len(answer.samples) == 1:
        print(shown(answer.text))
        return answer
    for number, text in enumerate(answer.samples, start=1):
        print(f"[{number}] {shown(text)}")
    return answer


def _print_trace(answer: "Answer") -> None:
    """The turns, their totals and the notes, on stderr."""
    header = ("round", "role", "verb", "tokens in", "latent steps", "tokens out", "seconds")
    rows = [tuple(turn.values())[: len(header)] for turn in answer.trace.to_json()]
    usage = answer.trace.usage
    total = ("total", "", "", usage.prompt_tokens, usage.latent_steps, usage.completion_tokens, usage.seconds)
    print("\n" + table(header, [*rows, total]), file=sys.stderr)
    if answer.trace.calls:
        print("\n" + _calls(answer), file=sys.stderr)
    for line in answer.trace.notes:
        note(f"note: {line}")


def _calls(answer: "Answer") -> str:
    """What was called, what came back, and what of it was lost."""
    header = ("call of", "characters", "result", "tokens", "seconds", "by", "")
    rows = []
    for role, call in ((turn.role, call) for turn in answer.trace.turns for call in turn.calls):
        lost = f"limit of {call.limit}" if call.limit else "cut" if call.is_cut else ""
        rows.append((call.tool, call.call_chars, call.result_chars, call.result_tokens, call.seconds, role, lost))
    return table(header, rows)


def _text(question: str) -> str:
    if question != "-":
        return question
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as problem:
        raise QuestionError(f"standard input is not UTF-8 text ({problem}). Convert it to UTF-8.") from None


def _contexts(options: Sequence[str]) -> dict[str, str]:
    """ROLE=TEXT or ROLE=@FILE, each -> role and text."""
    contexts: dict[str, str] = {}
    for option in options:
        role, equals, text = option.partition("=")
        if not equals or not role:
            raise ConfigError(f"context {option!r}: expected ROLE=TEXT or ROLE=@FILE.")
        if role in contexts:
            raise ConfigError(f"context: role {role!r} stands twice. Put both texts into one.")
        contexts[role] = _read(role, Path(text[1:]).expanduser()) if text.startswith("@") else text
    return contexts


def _read(role: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise ConfigError(f"context of {role}: {path}: {problem.strerror}. Check the path.") from None
    except UnicodeDecodeError as problem:
        raise ConfigError(f"context of {role}: {path}: not UTF-8 text ({problem}). Convert it to UTF-8.") from None
