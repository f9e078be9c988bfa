"""The command line, run in this process: exit code, stdout and stderr apart."""

from pathlib import Path

from typer.testing import CliRunner, Result

from rmas.cli import app


def rmas(*arguments: str, stdin: str | bytes | None = None, cache: Path | None = None) -> Result:
    """`rmas ARGUMENTS`. An exception that is not an exit is a failure of the test."""
    env = {"COLUMNS": "200", "RMAS_CACHE": str(cache) if cache else None}
    result = CliRunner().invoke(app, list(arguments), input=stdin, env=env, prog_name="rmas")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refusal(*arguments: str, stdin: str | bytes | None = None) -> str:
    """What `rmas ARGUMENTS` is refused with, after checking that it is one line, on stderr, with exit code 2."""
    result = rmas(*arguments, stdin=stdin)
    lines = [line for line in result.stderr.splitlines() if line.startswith("rmas: ")]
    assert (result.exit_code, len(lines), result.stdout) == (2, 1, "")
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1] == lines[0]
    return lines[0].removeprefix("rmas: ")
