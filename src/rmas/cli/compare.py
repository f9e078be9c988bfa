"""`rmas compare SUITE.toml --out DIR`: many methods on many tasks, to tables."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rmas.cli.fetch import named
from rmas.cli.group import INTERRUPTED, leave
from rmas.cli.options import CacheOption, DeviceOption, DtypeOption, cache_folder, search_key
from rmas.cli.screen import note, progress, training_progress
from rmas.errors import ConfigError

if TYPE_CHECKING:
    from rmas.suite.config import Suite


def compare(
    suite: Annotated[Path, typer.Argument(metavar="SUITE.toml", help="Tasks, methods, and what is trained first.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where bundles, runs and tables go. What is there stays.")],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="TASK=PATH", help="Your own copy of a task's data. Repeatable."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK/METHOD",
            help="Only these cells, and what they need trained: 'gsm8k/*', '*/lora-seed0'. Repeatable.",
        ),
    ] = None,
    only_tables: Annotated[bool, typer.Option("--tables", help="Run nothing: write the tables anew.")] = False,
    only_status: Annotated[
        bool, typer.Option("--status", help="Run nothing: list what is not finished, and how far it is.")
    ] = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    cache: CacheOption = None,
) -> None:
    """Train and evaluate all that a suite names, and compare. The same command goes on where it stopped."""
    from rmas.suite.config import load_suite

    given = [entry.partition("=") for entry in data or ()]
    for name, sign, source in given:
        if not (name and sign and source):
            raise ConfigError(f"data is {name + sign + source!r}, expected TASK=PATH.")
    folder = cache_folder(cache)
    plan = load_suite(
        suite, data={name: source for name, _, source in given}, named=lambda system: named(system, folder)
    )
    counts = (f"{len(plan.trainings)} trainings", f"{len(plan.methods)} methods", f"{len(plan.tasks)} tasks")
    note(f"{len(plan.cells)} cells: {', '.join(counts)}")
    if only_status:
        _print_status(plan, out, only or ())
        return

    from rmas.precision import flushed
    from rmas.suite.compare import Machine, Outcome
    from rmas.suite.compare import compare as run
    from rmas.suite.overview import write_overview
    from rmas.suite.verdicts import unequal

    outcome = Outcome((), {})
    if not only_tables:
        try:
            with flushed(), progress() as loading, training_progress() as report:
                machine = Machine(folder, device, dtype, search_key())
                outcome = run(plan, out, machine, report=report, progress=loading, only=only or ())
        except KeyboardInterrupt:
            raise leave(f"interrupted. The same command goes on in {out}.", INTERRUPTED) from None
    for name, reason in outcome.failed.items():
        note(f"{name}: {reason}")
    tables = write_overview(plan, out)
    for name, table in tables.items():
        print(f"## {name}\n\n{table.to_markdown()}")
    for line in unequal(tables["equal"]) if "equal" in tables else ():
        note(f"not equal: {line}")
    if outcome.failed:
        raise leave(f"{len(outcome.failed)} of {len(plan.trainings) + len(plan.cells)} failed, see above.", 2)


def _print_status(plan: "Suite", out: Path, only: Sequence[str]) -> None:
    from rmas.suite.compare import failures_in, selected
    from rmas.suite.status import status_of

    trainings, cells = status_of(selected(plan, only), out, failures_in(out))
    for status in (*trainings, *cells):
        if status.state != "finished":
            print(f"{status.folder}: {status.state}{status.told and f', {status.told}'}")
    for name, group in (("trainings", trainings), ("cells", cells)):
        counts = Counter(status.state for status in group)
        parts = [f"{counts.pop('finished', 0)} of {len(group)} finished"]
        print(f"{name}: " + ", ".join([*parts, *(f"{number} {state}" for state, number in sorted(counts.items()))]))
