"""Runs inside the sandbox: the cell in `cell.py`, as a notebook would. The value of a last expression is printed.

What goes wrong in the cell is told without this file's own frames.
"""

import ast
import sys
import traceback
from pathlib import Path

CELL = "cell.py"


def main() -> None:
    source = Path(CELL).read_text(encoding="utf-8")
    try:
        tree = ast.parse(source, CELL)
        final = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        cell = compile(tree, CELL, "exec")
        value = compile(ast.Expression(final.value), CELL, "eval") if isinstance(final, ast.Expr) else None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        sys.exit("".join(traceback.format_exception_only(problem)).rstrip())
    names = {"__name__": "__main__"}
    try:
        exec(cell, names)
        if value is not None and (found := eval(value, names)) is not None:
            sys.stdout.write(f"{found!r}\n")
    except Exception as problem:  # noqa: BLE001 (the cell may raise anything)
        trace = problem.__traceback__.tb_next if problem.__traceback__ else None
        sys.stdout.flush()
        sys.exit("".join(traceback.format_exception(type(problem), problem, trace)).rstrip())


if __name__ == "__main__":
    main()
