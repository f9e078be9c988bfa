"""The tool `python`: a notebook's cell in the sandbox, afresh at every call."""

import re

import pytest

from rmas.tools import find_sandbox
from rmas.tools.python import PythonTool
from rmas.tools.tool import cut

TOOL = PythonTool(find_sandbox())


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("6 * 7", "42"),
        ("x = 6\nx * 7", "42"),
        ("print('a')\n'b'", "a\n'b'"),
        ("print('a')\nNone", "a"),
        ("x = 1", "[no output]"),
        ("# nothing", "[no output]"),
        ("'é' + '蜘🕷'", "'é蜘🕷'"),
        ("import math\nmath.comb(10, 3)", "120"),
        ("def f(n):\n    return n + 1\n\nf(1); f(2)", "3"),
        ("```python\n1 + 1\n```", "2"),
        ("\n  \n```\n1 + 1\n```\n", "2"),
        ("import sys; sys.exit(3)", "[exit code 3]"),
    ],
)
def test_a_cell_gives_what_it_prints_and_its_last_value(code: str, told: str) -> None:
    assert TOOL.run(code).text == told


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("input()", "EOFError: EOF when reading a line"),
        ("print('before')\n1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("x = '\0'", "SyntaxError: source code string cannot contain null bytes"),
        ("import socket; socket.create_connection(('1.1.1.1', 80), 1)", "PermissionError: "),
    ],
)
def test_a_cell_tells_what_went_wrong_behind_what_it_printed(code: str, told: str) -> None:
    lines = TOOL.run(code).text.splitlines()
    assert lines[-1].startswith(told)
    assert (lines[0] == "before") == ("before" in code)


def test_a_traceback_holds_the_cells_own_lines_alone() -> None:
    text = TOOL.run("def f():\n    return {}['key']\n\nf()").text
    assert re.findall(r'File "([^"]+)", line (\d+)', text) == [("cell.py", "4"), ("cell.py", "2")]


def test_a_call_leaves_nothing_to_the_next() -> None:
    TOOL.run("x = 1\nopen('kept.txt', 'w').write('x')")
    assert "NameError" in TOOL.run("x").text
    assert "FileNotFoundError" in TOOL.run("open('kept.txt')").text


def test_a_megabyte_of_output_is_cut_in_its_middle_with_a_note() -> None:
    result = PythonTool(find_sandbox(), chars=100).run("print('a' * 10**6 + 'z')")
    assert result.is_cut
    assert result.text == f"{'a' * 50}\n[999,901 characters left out]\n{'a' * 49}z"


def test_output_without_an_end_is_stopped_and_told() -> None:
    result = PythonTool(find_sandbox(), chars=200).run("while True: print('spam' * 1000)")
    assert result.is_cut
    assert result.text.endswith("[stopped: more than 4 MiB of output]")


def test_a_cell_without_an_end_is_stopped_and_told() -> None:
    result = PythonTool(find_sandbox(), seconds=0.6).run("print('begun', flush=True)\nwhile True: pass")
    assert result.text == "begun\n[stopped after 0.6 seconds]"
    assert 0.6 <= result.seconds < 10


@pytest.mark.parametrize("package", ["numpy", "sympy"])
def test_a_package_that_is_installed_is_there_where_the_code_names_it(package: str) -> None:
    assert package in TOOL.description
    code = f"import {package}\n{package}.__name__"
    assert PythonTool(find_sandbox(), seconds=30).run(code).text == f"'{package}'"


@pytest.mark.parametrize("limit", [1, 2, 7, 10])
def test_a_cut_text_has_as_many_characters_as_are_told_to_stand(limit: int) -> None:
    text = "0123456789"
    shown, is_cut = cut(text, limit)
    assert is_cut == (limit < 10)
    kept = re.sub(r"\n\[\d+ characters left out\]\n", "", shown)
    assert len(kept) == limit
    assert text.startswith(kept[: (limit + 1) // 2])
    assert text.endswith(kept[(limit + 1) // 2 :])
