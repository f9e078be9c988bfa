"""Tables: the same cells as Markdown, CSV and LaTeX, with the decimals that the errors earn."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import pytest

from rmas.errors import ConfigError
from rmas.eval.tables import FORMATS, Column, Kind, decimals_of, make_table, measured, p_text, write_table

COLUMNS = (
    Column(key="task", title="task", kind="text"),
    Column(key="n", title="n", kind="count"),
    Column(key="accuracy", title="accuracy, %", kind="percent", error="error"),
    Column(key="p", title="p", kind="p"),
)
ROWS: list[dict[str, Any]] = [
    {"task": "sums", "n": 1319, "accuracy": 0.8621, "error": 0.0154, "p": 0.0004},
    {"task": "primes", "n": 30, "accuracy": 0.66667, "error": 0.0861, "p": 0.0432},
]


def shown(column: Column, *rows: dict[str, Any]) -> list[str]:
    """The texts of one column."""
    return [row[0].text for row in make_table(rows, [column]).rows]


def cells(markdown: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (12.345, 0.43, "12.3 ± 0.4"),
        (12.345, 0.354, "12.35 ± 0.35"),
        (12.345, 0.356, "12.3 ± 0.4"),
        (12.345, 0.96, "12.3 ± 1.0"),
        (12.345, 0.12, "12.35 ± 0.12"),
        (12.345, 0.0999, "12.35 ± 0.10"),
        (66.667, 8.6, "67 ± 9"),
        (66.667, 2.14, "66.7 ± 2.1"),
        (1234.5, 12.0, "1,234 ± 12"),
        (-0.04, 0.5, "0.0 ± 0.5"),
        (-3.21, 0.5, "−3.2 ± 0.5"),
        (100.0, 0.0, "100.0 ± 0.0"),
    ],
)
def test_decimals_follow_the_error(value: float, error: float, text: str) -> None:
    assert measured(value, error) == text


@pytest.mark.parametrize("exponent", range(-5, 0, 2))
@pytest.mark.parametrize("leading", range(100, 1000, 49))
def test_rounding_moves_an_error_by_less_than_a_seventh(leading: int, exponent: int) -> None:
    error = leading * 10.0 ** (exponent - 2)
    rounded = round(error, decimals_of(error))
    assert rounded == pytest.approx(error, rel=1 / 7)
    assert rounded > 0


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.001, "0.001"), (0.0432, "0.043"), (0.0996, "0.10"), (1.0, "1.00")],
)
def test_p_values_have_two_digits_and_a_floor(p: float, text: str) -> None:
    assert p_text(p) == text


def test_a_column_has_the_decimals_of_its_smallest_error() -> None:
    column = COLUMNS[2]
    assert shown(column, *ROWS) == ["86.2 ± 1.5", "66.7 ± 8.6"]
    assert shown(column, ROWS[1]) == ["67 ± 9"]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("text", "a b", "a b"),
        ("text", 3, "3"),
        ("count", 12345, "12,345"),
        ("number", 1234.56, "1,235"),
        ("number", 12.345, "12.3"),
        ("number", 0.034567, "0.0346"),
        ("number", 0, "0"),
        ("number", -0.5, "−0.500"),
        ("percent", 0.12345, "12.3"),
        ("p", 0.5, "0.50"),
        ("text", None, "–"),
        ("count", None, "–"),
        ("number", math.nan, "–"),
        ("p", None, "–"),
    ],
)
def test_each_kind_of_column_shows_its_values(kind: Kind, value: Any, text: str) -> None:
    assert shown(Column(key="x", title="x", kind=kind), {"x": value}) == [text]


def test_a_value_without_an_error_stands_alone_and_a_missing_key_is_a_dash() -> None:
    rows = (ROWS[0], {"accuracy": 1.0, "error": math.nan}, {"error": 0.1}, {"n": 3})
    assert shown(COLUMNS[2], *rows) == ["86.2 ± 1.5", "100.0", "–", "–"]


def test_an_interval_has_the_decimals_of_a_quarter_of_its_width() -> None:
    column = Column(key="low", title="95 %", kind="percent", until="high")
    assert shown(column, {"low": 0.4271, "high": 0.5431}) == ["42.7 to 54.3"]
    assert shown(column, {"low": -0.123, "high": 0.456}) == ["−12 to 46"]
    assert shown(column, {"low": 0.4271, "high": 0.5431}, {"low": None, "high": None}) == ["42.7 to 54.3", "–"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.031, "+3.1 ± 1.2"), (-0.031, "−3.1 ± 1.2"), (0.0, "0.0 ± 1.2"), (0.0001, "0.0 ± 1.2")]
)
def test_a_signed_column_has_a_plus_before_what_is_above_zero(value: float, text: str) -> None:
    column = Column(key="d", title="difference", kind="percent", error="error", is_signed=True)
    assert shown(column, {"d": value, "error": 0.012}) == [text]


def test_a_column_without_a_title_is_in_csv_alone() -> None:
    table = make_table(ROWS, [COLUMNS[0], Column(key="accuracy", until="error"), COLUMNS[1]])
    assert cells(table.to_markdown())[0] == ["task", "n"]
    assert table.to_latex().splitlines()[0] == r"\begin{tabular}{lr}"
    assert table.to_csv().splitlines()[:2] == ["task,accuracy,error,n", "sums,0.8621,0.0154,1319"]


def test_markdown_has_a_rule_with_alignment_and_columns_of_one_width() -> None:
    text = make_table(ROWS, COLUMNS, notes=["", "2 comparisons."]).to_markdown()
    head, rule, *body = cells(text)
    assert head == ["task", "n", "accuracy, %", "p"]
    assert [line[-1] for line in rule] == ["-", ":", ":", ":"]
    assert body == [["sums", "1,319", "86.2 ± 1.5", "< 0.001"], ["primes", "30", "66.7 ± 8.6", "0.043"]]
    assert len({len(line) for line in text.splitlines()[:4]}) == 1
    assert text.endswith("|\n\n2 comparisons.\n")


def test_csv_holds_the_numbers_as_they_came_and_the_error_apart() -> None:
    rows = [*ROWS, {"task": 'a "b", c', "n": None, "accuracy": math.nan}]
    table = make_table(rows, COLUMNS, notes=["not here"])
    read = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert list(read[0]) == ["task", "n", "accuracy", "error", "p"]
    assert [{key: float(read[i][key]) for key in ("n", "accuracy", "error", "p")} for i in (0, 1)] == [
        {key: row[key] for key in ("n", "accuracy", "error", "p")} for row in ROWS
    ]
    assert read[2] == {"task": 'a "b", c', "n": "", "accuracy": "", "error": "", "p": ""}


def test_latex_is_a_booktabs_tabular() -> None:
    lines = make_table(ROWS, COLUMNS, notes=["50 % power"]).to_latex().splitlines()
    assert lines == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"task & n & accuracy, \% & p \\",
        r"\midrule",
        r"sums & 1,319 & 86.2 $\pm$ 1.5 & $<$ 0.001 \\",
        r"primes & 30 & 66.7 $\pm$ 8.6 & 0.043 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip{\footnotesize 50 \% power}",
    ]


@pytest.mark.parametrize(
    ("text", "markdown", "latex"),
    [
        ("a|b", r"a\|b", "a|b"),
        ("number_sorting", "number_sorting", r"number\_sorting"),
        ("_x_", r"\_x\_", r"\_x\_"),
        ("*bold*", r"\*bold\*", "*bold*"),
        ("<b>", r"\<b>", "$<$b$>$"),
        ("p < 0.05", "p < 0.05", "p $<$ 0.05"),
        ("two\nlines", "two lines", "two lines"),
        ("a\\b", r"a\\b", r"a\textbackslash{}b"),
        ("50% & $1 #2 {x}", "50% & $1 #2 {x}", r"50\% \& \$1 \#2 \{x\}"),
        ("~^", r"\~^", r"\textasciitilde{}\textasciicircum{}"),
        ("R = 3 × 2", "R = 3 × 2", r"R = 3 $\times$ 2"),
    ],
)
def test_each_format_escapes_what_it_would_read_as_markup(text: str, markdown: str, latex: str) -> None:
    table = make_table([{"x": text}], [Column(key="x", title="x", kind="text")])
    assert table.to_markdown().splitlines()[2].removeprefix("| ").removesuffix(" |").strip() == markdown
    assert table.to_latex().splitlines()[4] == latex + r" \\"
    assert [*csv.reader(io.StringIO(table.to_csv()))][1] == [text]


def test_a_table_without_rows_is_a_header() -> None:
    table = make_table([], COLUMNS)
    assert len(table.to_markdown().splitlines()) == 2
    assert table.to_csv() == "task,n,accuracy,error,p\n"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_is_written_as_its_suffix_says(tmp_path: Path, suffix: str) -> None:
    table = make_table(ROWS, COLUMNS)
    path = tmp_path / f"table{suffix}"
    write_table(table, path)
    assert path.read_text(encoding="utf-8") == FORMATS[suffix](table)


def test_bad_input_is_refused_in_one_line(tmp_path: Path) -> None:
    table = make_table(ROWS, COLUMNS)
    with pytest.raises(ConfigError, match=r"unknown column 'acuracy' .* Did you mean 'accuracy'\?"):
        make_table(ROWS, [Column(key="acuracy", title="x")])
    with pytest.raises(ConfigError, match=r"unknown column 'stderr'"):
        make_table(ROWS, [Column(key="accuracy", title="x", error="stderr")])
    with pytest.raises(ConfigError, match=r"column task: 'sums' is no number"):
        make_table(ROWS, [Column(key="task", title="x")])
    with pytest.raises(ConfigError, match=r"table\.html: unknown table format '\.html' \(have \.csv, \.md, \.tex\)"):
        write_table(table, tmp_path / "table.html")
    with pytest.raises(ConfigError, match=r"table\.md: cannot be written \(No such file"):
        write_table(table, tmp_path / "nowhere" / "table.md")
