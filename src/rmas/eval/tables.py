"""Rows of results as a table: Markdown, CSV and LaTeX from the same cells. No torch.

The surprising thing: a column has one number of decimals, the one that its smallest standard error earns, so that
figures stand under each other. CSV is for programs: it holds the numbers as they came, an error in a column of its own.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rmas.errors import ConfigError, unknown

Kind = Literal["text", "count", "number", "percent", "p"]
NOTHING = "–"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: the key it is read from, and how it is shown. One without a title is in CSV alone.

    percent: a share, shown times 100. count: whole, with thousands apart. number, percent: `error` is the key of the
    standard error, `until` that of an interval's other end; without either, three digits that count. p: a p-value.
    """

    key: str
    title: str = ""
    kind: Kind = "number"
    error: str = ""
    until: str = ""
    is_signed: bool = False  # a plus before what is above zero


class Cell(NamedTuple):
    """What is shown, and the values that CSV holds."""

    text: str
    values: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells under a header. `alignment` has an l or r for each column with a title; notes stand below, but not in CSV.

    `fields` names the values of each row's cells, laid end to end.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    alignment: str
    fields: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_markdown(self) -> str:
        by_column = zip(*self._texts(), strict=True)
        columns = [_padded(texts, side) for texts, side in zip(by_column, self.alignment, strict=True)]
        lines = [f"| {' | '.join(line)} |" for line in zip(*columns, strict=True)]
        return "\n".join([*lines, *(f"\n{_markdown(note)}" for note in self.notes)]) + "\n"

    def to_csv(self) -> str:
        """Commas, a header of keys, a full stop for decimals; what is missing is empty."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.fields)
        writer.writerows([value for cell in row for value in cell.values] for row in self.rows)
        return stream.getvalue()

    def to_latex(self) -> str:
        r"""A tabular for the booktabs package (\usepackage{booktabs})."""
        head, *body = [" & ".join(map(_latex, line)) + r" \\" for line in self._texts()]
        notes = [rf"\par\smallskip{{\footnotesize {_latex(note)}}}" for note in self.notes]
        begin, end = rf"\begin{{tabular}}{{{self.alignment}}}", r"\end{tabular}"
        return "\n".join([begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", end, *notes]) + "\n"

    def _texts(self) -> list[list[str]]:
        lines = [self.header, *(tuple(cell.text for cell in row) for row in self.rows)]
        return [[text for text, title in zip(line, self.header, strict=True) if title] for line in lines]


FORMATS: Mapping[str, Callable[[Table], str]] = {
    ".md": Table.to_markdown,
    ".csv": Table.to_csv,
    ".tex": Table.to_latex,
}


def make_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, notes: Iterable[str] = ()) -> Table:
    """The columns of the rows. A value that is missing, None or nan is shown as a dash.

    ConfigError: a key that no row has, or a value that is not what its column holds.
    """
    known = {key for row in rows for key in row}
    for column in columns:
        for key in _keys(column):
            if rows and key not in known:
                raise ConfigError(unknown("column", key, known))
    cells = [_cells(rows, column) for column in columns]
    return Table(
        header=tuple(column.title for column in columns),
        rows=tuple(zip(*cells, strict=True)),
        alignment="".join("l" if column.kind == "text" else "r" for column in columns if column.title),
        fields=tuple(key for column in columns for key in _keys(column)),
        notes=tuple(note for note in notes if note),
    )


def write_table(table: Table, path: Path) -> None:
    """Write the table as its suffix says: .md, .csv or .tex. ConfigError: another suffix, or not writable."""
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path}: " + unknown("table format", path.suffix, FORMATS))
    try:
        path.write_text(FORMATS[path.suffix](table), encoding="utf-8")
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be written ({problem.strerror}). Check the path.") from None


def measured(value: float, error: float, *, decimals: int | None = None) -> str:
    """`12.3 ± 0.4`: as many decimals as the error earns, or as many as are asked for."""
    places = decimals_of(error) if decimals is None else decimals
    return f"{_fixed(value, places)} ± {_fixed(error, places)}"


def decimals_of(error: float) -> int:
    """How many decimals a standard error earns: two digits of it where they read 10 to 35, one from there on.

    The Particle Data Group's rule (Review of Particle Physics, Introduction, 5.3); 96 to 99 read as 100. An error of 0
    or nan earns one decimal.
    """
    if not (math.isfinite(error) and error > 0):
        return 1
    exponent = math.floor(math.log10(error))
    leading = round(error / 10.0 ** (exponent - 2))  # its first three digits
    return max(0, (1 if leading < 355 or leading >= 950 else 0) - exponent - (1 if leading >= 950 else 0))


def p_text(p: float) -> str:
    """`< 0.001`, three decimals below 0.1, two from there on."""
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def span_text(counts: Iterable[int]) -> str:
    """`200`, or from the least to the most: `1 to 3`."""
    known = set(counts)
    return " to ".join(str(count) for count in sorted({min(known), max(known)}))


def _keys(column: Column) -> list[str]:
    """The keys of a cell's values, in their order in CSV."""
    return [key for key in (column.key, column.error, column.until) if key]


def _cells(rows: Sequence[Mapping[str, Any]], column: Column) -> list[Cell]:
    values = [tuple(_value(row, key, column) for key in _keys(column)) for row in rows]
    errors = [_error(*pair, is_interval=bool(column.until)) for pair in values if len(pair) == 2]
    places = max((decimals_of(error * _scale(column)) for error in errors if error), default=1)
    return [Cell(_shown(own, column, places), own) for own in values]


def _error(value: float | None, beside: float | None, *, is_interval: bool) -> float | None:
    """The standard error that earns the decimals: of an interval a quarter of its width."""
    if not is_interval or value is None or beside is None:
        return beside
    return (beside - value) / 4


def _value(row: Mapping[str, Any], key: str, column: Column) -> Any:
    """The row's value; None where there is none."""
    value = row.get(key)
    if value is None or column.kind == "text":
        return value
    if not isinstance(value, int | float):
        raise ConfigError(f"column {key}: {value!r} is no number. Make it a column of text.")
    return None if math.isnan(value) else value


def _shown(values: tuple[Any, ...], column: Column, places: int) -> str:
    value, *rest = values
    if value is None:
        return NOTHING
    if column.kind == "text":
        return str(value)
    if column.kind == "count":
        return f"{value:,.0f}"
    if column.kind == "p":
        return p_text(value)
    value = value * _scale(column)
    if not rest:
        return _fixed(value, _three_digits(value) if column.kind == "number" else 1)
    sign = "+" if column.is_signed and round(value, places) > 0 else ""
    if rest[0] is None:
        return sign + _fixed(value, places)
    beside = rest[0] * _scale(column)
    if column.until:
        return f"{_fixed(value, places)} to {_fixed(beside, places)}"
    return sign + measured(value, beside, decimals=places)


def _scale(column: Column) -> int:
    return 100 if column.kind == "percent" else 1


def _three_digits(value: float) -> int:
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value and math.isfinite(value) else 0


def _fixed(value: float, decimals: int) -> str:
    """With a minus sign that is one, and none before a zero."""
    text = f"{value:,.{decimals}f}"
    return text.replace("-", "−" if float(text.replace(",", "")) else "")


def _padded(texts: Sequence[str], side: str) -> list[str]:
    """One column of Markdown: the title, the rule, the rest, all equally wide."""
    escaped = [_markdown(text) for text in texts]
    width = max(3, *map(len, escaped))
    title, *rest = [text.rjust(width) if side == "r" else text.ljust(width) for text in escaped]
    return [title, "-" * (width - 1) + (":" if side == "r" else "-"), *rest]


def _markdown(text: str) -> str:
    """Escapes what would be marked up; `a_b` and `< 0.05` would not."""
    text = re.sub(r"[\\|*`\[\]~]", r"\\\g<0>", " ".join(text.split()))
    return re.sub(r"<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


_LATEX = {
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "<": "$<$",
    ">": "$>$",
    "–": "--",
    "×": r"$\times$",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
