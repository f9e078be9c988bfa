"""The command line: `rmas VERB SUBJECT`. Each verb is a thin skin over the library and imports it when it runs."""

import ctypes
import io
import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from rmas.cli.ask import ask
from rmas.cli.compare import compare
from rmas.cli.convert import convert
from rmas.cli.demo import demo
from rmas.cli.doctor import doctor, installed_version
from rmas.cli.evaluate import evaluate
from rmas.cli.fetch import fetch
from rmas.cli.grade import grade
from rmas.cli.group import Verbs
from rmas.cli.import_prompts import import_prompts
from rmas.cli.push import push
from rmas.cli.report import report
from rmas.cli.show import show
from rmas.cli.train import train

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h

app = typer.Typer(
    name="rmas",
    cls=Verbs,
    help="Recursive multi-agent systems: language models that pass latent thoughts to each other in a loop.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _verb in (ask, show, demo, doctor, fetch):
    app.command()(_verb)
app.add_typer(train)
app.command("eval")(evaluate)
app.command()(grade)
app.command()(report)
app.command()(compare)
app.command()(convert)
app.command()(push)
app.command("import-prompts")(import_prompts)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"rmas {installed_version('rmas')}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line on sys.argv. Always leaves with SystemExit: 0, 2 for what the caller can put right, 130."""
    # torch's threads spin while they wait, and on a core that something else uses a step then takes ten times as long
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _give_back_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a model may write what this terminal cannot show
    app(prog_name="rmas")


def _give_back_freed_memory() -> None:
    """Have glibc give every freed block of 4 MiB and more back to the system.

    By itself it keeps blocks of up to 32 MiB for later, and keys and values of unequal lengths then leave gaps that
    nothing fits into: gigabytes of them, where agents write long texts in turn. Does nothing where there is no glibc.
    """
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        with suppress(AttributeError, OSError, TypeError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 4 << 20)
