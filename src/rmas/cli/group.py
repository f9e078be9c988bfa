"""How every verb ends: a refusal is one line and exit code 2, an interruption one line and 130."""

import errno
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from rmas.errors import RmasError

REFUSED, INTERRUPTED = 2, 130


class Verbs(TyperGroup):
    """The verbs, with what the caller can put right told in one line. Anything else is our bug and shows its trace."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RmasError as problem:
            raise leave(str(problem)) from None
        except KeyboardInterrupt:
            raise leave("interrupted.", INTERRUPTED) from None
        except MemoryError:
            raise leave(_out_of_memory("no memory left")) from None
        except OSError as problem:
            if problem.errno == errno.EPIPE:  # the reader of our output has gone: typer leaves quietly
                raise
            raise leave(": ".join(filter(None, [problem.filename, problem.strerror or str(problem)]))) from None
        except RuntimeError as problem:
            if not _is_out_of_memory(problem):
                raise
            raise leave(_out_of_memory(str(problem).splitlines()[0])) from None


def leave(message: str, code: int = REFUSED) -> typer.Exit:
    """Print `rmas: message` as one line on stderr; raise what this returns."""
    print(f"rmas: {' '.join(message.split())}", file=sys.stderr)
    return typer.Exit(code)


def _is_out_of_memory(problem: RuntimeError) -> bool:
    """Told by its text: torch raises a class of its own for a GPU's memory, a bare RuntimeError for the machine's."""
    text = str(problem).lower()
    return any(words in text for words in ("out of memory", "can't allocate memory", "not enough memory"))


def _out_of_memory(reason: str) -> str:
    return (
        f"out of memory ({reason}). Try --dtype bfloat16, fewer --samples, or --resume a training with a "
        "smaller micro_batch; rmas doctor shows what fits."
    )
