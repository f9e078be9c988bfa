"""`rmas eval SOLVER --task TASK --out DIR`: what can be refused is refused before weights load; what stops resumes."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rmas.cli.fetch import make_ready, named
from rmas.cli.group import INTERRUPTED, leave
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
from rmas.cli.screen import note, print_json, progress, table, training_progress
from rmas.settings import CONDITIONS

_JUDGE_KEY = "RMAS_JUDGE_KEY"  # of the environment: a key is no setting


def evaluate(
    solver: Annotated[
        str | None,
        typer.Argument(
            help="recursive, text, single, moa, latent_kv, echo, or a path to one of yours.", show_default="recursive"
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="A task's name, or reasoning_gym: or deal:FAMILY?option=value.")
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where every sample and the summary go.", show_default=False)
    ] = ...,  # type: ignore[assignment]
    system: Annotated[str | None, typer.Option(help=SYSTEM_HELP, show_default="smol")] = None,
    rounds: Annotated[int | None, typer.Option(help="Recursion rounds R.", show_default="the system's")] = None,
    latent_steps: Annotated[
        int | None, typer.Option(help="Latent thoughts per turn.", show_default="the system's")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(CONDITIONS),
            help="What is done to the messages.",
            show_default="none",
        ),
    ] = None,
    tools: ToolsOption = None,
    search: SearchOption = None,
    corpus: CorpusOption = None,
    tool_format: ToolFormatOption = None,
    samples: Annotated[int | None, typer.Option(help="Answers a question.", show_default="1")] = None,
    limit: Annotated[int | None, typer.Option(help="The first N questions.", show_default="all")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Your own copy of the task's data.", show_default="the hub's")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings as TOML.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting, over those of the file. Repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what stands in DIR.")] = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a task's questions, grade the answers, and say how sure the figures are."""
    from rmas.configfile import load_config
    from rmas.eval.code import sandbox_for
    from rmas.eval.config import EvalConfig
    from rmas.eval.judge import judge_for
    from rmas.eval.task import find_task, load_samples
    from rmas.runfolder import claim_folder

    given: dict[str, Any] = {"task": task, "solver": solver, "system": system, "rounds": rounds}
    given |= {"latent_steps": latent_steps, "control": control, "samples": samples, "limit": limit, "data": data}
    given |= {"tools": tool_names(tools), "search": search, "corpus": corpus, "tool_format": tool_format}
    settings = load_config(EvalConfig, config, sets or (), **given)
    folder = cache_folder(cache)
    answerer = None if settings.answerer is None else named(settings.answerer, folder)
    settings = replace(settings, system=named(settings.system, folder), answerer=answerer)
    found = find_task(settings.task)

    from rmas.suite.cell import open_cell, resolved, spec_of, tools_of

    settings = resolved(settings, found)
    judge = judge_for(found, settings, key=os.environ.get(_JUDGE_KEY, ""))
    if not as_json:
        shown = {**vars(settings), "out": out, "device": device, "dtype": dtype, "cache": folder}
        note(" ".join(f"{name}={value}" for name, value in shown.items() if value is not None))
    questions = load_samples(found, data=settings.data, limit=settings.limit, without=settings.without)
    sandbox = sandbox_for(found, allow_unsafe=settings.unsafe_run_code_without_sandbox)
    toolbox = tools_of(settings, cache=folder, key=search_key())
    claim_folder(out, settings, resume=resume, free=settings.free)
    with progress() as loading:
        make_ready(spec_of(settings), folder, loading)
        opened, facts = open_cell(settings, device=device, dtype=dtype, cache=folder, tools=toolbox, progress=loading)

    from rmas.eval.run import evaluate_into

    try:
        with training_progress() as report:
            summary = evaluate_into(
                out,
                opened,
                found,
                settings,
                samples=questions,
                sandbox=sandbox,
                judge=judge,
                facts=facts,
                report=report,
            )
    except KeyboardInterrupt:
        raise leave(f"interrupted. The same command with --resume goes on in {out}.", INTERRUPTED) from None
    if as_json:
        print_json(summary)
    else:
        print(_told(summary))


def _told(summary: Mapping[str, Any]) -> str:
    """The figures of a run in a few lines."""
    result = summary["result"]
    rows = [[name, *_share(result[name])] for name in ("accuracy", "lenient", "judged", "majority") if name in result]
    rows += [[f"pass@{k}", *_share(figures)] for k, figures in result.get("pass_at", {}).items()]
    tokens = ", ".join(f"{count:.1f} {name.replace('_', ' ')}" for name, count in result["tokens"].items())
    calls = "".join(f", {count:.1f} calls of {name}" for name, count in result.get("calls", {}).items())
    least = result["smallest_difference"]
    return "\n".join(
        [
            table(["", "%", "error", "95 % interval"], rows),
            f"{result['questions']} questions, {result['samples']} samples; {100 * result['unparsed']:.1f} % unparsed, "
            f"{100 * result['truncated']:.1f} % cut off",
            f"a question: {tokens}{calls}",
            "no difference would be seen"
            if least is None
            else f"differences below {100 * least:.1f} points would not be seen",
        ]
    )


def _share(figures: Mapping[str, float | None]) -> list[str]:
    mean, error, low, high = (
        "?" if (share := figures[name]) is None else f"{100 * share:.1f}" for name in ("mean", "error", "low", "high")
    )
    return [mean, error, f"{low} to {high}"]
