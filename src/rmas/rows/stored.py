"""Rows of examples as they are stored: files and Hugging Face datasets. No column has a meaning yet.

Every row carries its place, `train.jsonl:12`, so that whoever reads a column can say where it is missing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rmas.errors import ConfigError, unknown

_HUB_OPTIONS = ("split", "revision", "name")


class Row(NamedTuple):
    """One stored example: where it stands, for errors, and its columns. `item`: see Example."""

    place: str
    fields: Mapping[str, Any]
    item: str = ""


class Address(NamedTuple):
    """`NAME?option=value&option=value`, taken apart. Values are text as written."""

    name: str
    options: dict[str, str]


def parse_address(text: str) -> Address:
    """Take `NAME?option=value&...` apart. Raises ConfigError for an option without a value or given twice."""
    name, _, query = text.partition("?")
    options: dict[str, str] = {}
    for part in query.split("&") if query else []:
        option, mark, value = part.partition("=")
        if not (option and mark and value):
            raise ConfigError(f"data: {text}: {part!r} is no option. Write NAME?option=value&option=value.")
        if option in options:
            raise ConfigError(f"data: {text}: {option} is given twice. Keep one.")
        options[option] = value
    return Address(name, options)


def read_file(name: str) -> list[Row]:
    """The rows of a .jsonl file, or of a .json file that holds a list or {"data": [...]}.

    Raises ConfigError, with the line: no such file, not UTF-8, not JSON, an empty file or row, a row that is no object.
    """
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Check the path.") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: cannot be read ({problem}). Expected a file of UTF-8 text.") from None
    if not text.strip():
        raise ConfigError(f"{path}: the file is empty. Write one JSON object a line.")
    rows = list(_lines(path, text) if path.suffix == ".jsonl" else _items(path, text))
    if not rows:
        raise ConfigError(f"{path}: the list holds no rows.")
    return rows


def read_hub(address: str) -> Iterator[Row]:
    """The rows of `OWNER/NAME?split=train&revision=SHA&name=CONFIG`, or of a local folder `./folder` of data files.

    A folder is read in place, a dataset of the hub through the library's own cache; row by row, as they are asked for.
    Needs the extra `train`. Raises ConfigError, at the first row: not installed, unknown option, no such dataset,
    folder, split or configuration, no rows.
    """
    name, options = parse_address(address)
    for option in options:
        if option not in _HUB_OPTIONS:
            raise ConfigError(f"data: hf:{address}: " + unknown("option", option, _HUB_OPTIONS))
    is_local = name.startswith((".", "/", "~"))
    folder = Path(name).expanduser()
    if is_local and not folder.is_dir():
        raise ConfigError(f"data: hf:{name}: no such folder. Check the path.")
    try:
        import datasets
    except ImportError:
        raise ConfigError("data: hf: needs the datasets package: pip install 'rmas[train]'.") from None
    number = 0
    try:
        found = datasets.load_dataset(
            str(folder) if is_local else name,
            name=options.get("name"),
            split=options.get("split", "train"),
            revision=options.get("revision"),
            streaming=is_local,  # a copy in the cache would outlive an edit of the folder
        )
        for number, fields in enumerate(_rows_of(found), 1):
            yield Row(f"hf:{name} row {number}", fields)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as problem:
        reason = next(iter(str(problem).splitlines()), type(problem).__name__)
        raise ConfigError(f"data: hf:{address}: cannot be loaded ({reason}).") from None
    if not number:
        raise ConfigError(f"data: hf:{address}: the dataset holds no rows.")


def _rows_of(found: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for fields in found:
        assert isinstance(fields, dict)  # a split was named, so these are rows
        yield fields


def _lines(path: Path, text: str) -> Iterator[Row]:
    """One row a line. Not str.splitlines: it also cuts at U+2028, which JSON allows inside a text."""
    for number, line in enumerate(text.rstrip().split("\n"), 1):
        place = f"{path}:{number}"
        if not line.strip():
            raise ConfigError(f"{place}: an empty row. Delete the line.")
        yield _row(place, _parse(place, line))


def _items(path: Path, text: str) -> Iterator[Row]:
    found = _parse(str(path), text)
    if isinstance(found, dict):
        found = found.get("data")
    if not isinstance(found, list):
        raise ConfigError(f'{path}: expected a list of rows, or {{"data": [...]}}. A row a line is a .jsonl file.')
    for number, fields in enumerate(found, 1):
        yield _row(f"{path} row {number}", fields)


def _parse(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as problem:
        where = f"line {problem.lineno}, column {problem.colno}" if "\n" in text else f"column {problem.colno}"
        raise ConfigError(f"{place}: not JSON: {problem.msg} at {where}.") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{place}: a number of thousands of digits, or a nest too deep. Make it a text.") from None


def _row(place: str, fields: Any) -> Row:
    if not isinstance(fields, dict):
        raise ConfigError(f"{place}: expected an object with columns, got {_short(fields)}.")
    if not fields:
        raise ConfigError(f"{place}: an empty row. Delete it.")
    return Row(place, fields)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
