"""`rmas grade TASK FILE.jsonl`: verdicts for outputs that were made elsewhere."""

import json
from pathlib import Path
from typing import Annotated

import typer

from rmas.cli.screen import note, print_json
from rmas.errors import ConfigError


def grade(
    task: Annotated[str, typer.Argument(help="A task's name, or reasoning_gym: or deal:FAMILY.")],
    file: Annotated[Path, typer.Argument(help="Rows with `output`, and `target` or a sample's `id`.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the rows with their verdicts there.", show_default="none")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="The task's data, for rows with an id.", show_default="the hub's")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Programs that run at a time.")] = 2,
    unsafe: Annotated[
        bool, typer.Option("--unsafe-run-code-without-sandbox", help="Run model-written code with your own rights.")
    ] = False,
) -> None:
    """Grade outputs made elsewhere: one JSON object with the counts of both readings."""
    from rmas.eval.code import sandbox_for
    from rmas.eval.outside import counts, grade_rows, told
    from rmas.eval.record import replace_file
    from rmas.eval.task import find_task, load_samples
    from rmas.rows import read_file

    if out is not None and not out.parent.is_dir():
        raise ConfigError(f"{out.parent}: no such folder. Make it, or choose another place for --out.")
    found = find_task(task)
    rows = read_file(str(file))
    needs_samples = found.format == "code" or any("target" not in row.fields for row in rows)
    samples = load_samples(found, data=data) if needs_samples else []
    grades = grade_rows(found, rows, samples=samples, sandbox=sandbox_for(found, allow_unsafe=unsafe), jobs=jobs)
    print_json(counts(found, grades))
    if out is not None:
        lines = [json.dumps(told(row, verdict), ensure_ascii=False) for row, verdict in zip(rows, grades, strict=True)]
        replace_file(out, "\n".join(lines))
        note(f"{len(rows)} rows with verdicts are in {out}")
