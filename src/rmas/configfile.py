"""Settings of a run: a frozen dataclass, filled from a TOML file, `--set` lines and the command line. No torch.

`load_config` reads a file, then `--set` lines, then what the caller gives; `to_toml` writes what it read, so the
`config.toml` of a finished run is the `--config` of the next. What is wrong is one line: file, line, key, expected.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tomli_w

from rmas.errors import ConfigError, unknown
from rmas.tomlfile import TomlFile, read_toml

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")

_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def load_config(cls: type[C], file: Path | None, sets: Sequence[str], **given: Any) -> C:
    """A config from `file`, then `key=value` lines, then what is given and not None: later ones win.

    Raises ConfigError: file, line, key and what was expected, or the nearest key.
    """
    hints, values = get_type_hints(cls), dict[str, Any]()
    known = [part.name for part in fields(cls)]
    if file is not None:
        read = read_toml(file, ConfigError)
        read.only(read.table, known)
        for key, value in read.table.items():
            try:
                values[key] = fit(value, hints[key])
            except TypeError:
                raise read.fail(key, f"expected {worded(hints[key])}, got {value!r}.") from None
    for line in sets:
        _set(values, line, hints, known)
    values |= {key: value for key, value in given.items() if value is not None}
    for part in fields(cls):
        if part.name not in values and part.default is MISSING and part.default_factory is MISSING:
            raise ConfigError(f"{part.name}: none given. Pass --{part.name.replace('_', '-')}{_hint(part)}.")
    return cls(**values)


def to_toml(config: Any) -> str:
    """The whole config as TOML, in the order of its fields. What is None or an empty table is left out."""
    table = {key: dict(value) if isinstance(value, Mapping) else value for key, value in vars(config).items()}
    return tomli_w.dumps({key: value for key, value in table.items() if value is not None and value != {}})


def differences(a: C, b: C) -> list[tuple[str, Any, Any]]:
    """(key, a's value, b's value) of every key on which two configs of one kind differ."""
    return [(key, value, vars(b)[key]) for key, value in vars(a).items() if value != vars(b)[key]]


def _set(values: dict[str, Any], line: str, hints: Mapping[str, Any], known: Sequence[str]) -> None:
    """Put one `key=value` or `key.name=value` into `values`; the value is TOML, else taken as it stands."""
    path, equals, text = line.partition("=")
    key, dot, name = path.strip().partition(".")
    if not equals:
        raise ConfigError(f"--set {line}: expected key=value.")
    if key not in known:
        raise ConfigError(f"--set {line}: {unknown('key', key, known)}")
    if dot and get_origin(hints[key]) is not Mapping:
        raise ConfigError(f"--set {line}: {key} is no table. Write {key}={text}.")
    for value in (*_parsed(text), text):
        try:
            fitting = fit({name: value} if dot else value, hints[key])
        except TypeError:
            continue
        values[key] = {**values.get(key, {}), **fitting} if dot else fitting
        return
    raise ConfigError(f"--set {line}: {key}: expected {worded(hints[key])}, got {text!r}.")


def _parsed(text: str) -> tuple[Any, ...]:
    """`text` as one TOML value; nothing if it is none."""
    try:
        return tuple(tomllib.loads(f"value = {text}").values()) if "\n" not in text else ()
    except tomllib.TOMLDecodeError:
        return ()


def _hint(part: "Field[Any]") -> str:
    """What to pass, where the field says so."""
    return f" with {part.metadata['expected']}" if "expected" in part.metadata else ""


def fit(value: Any, hint: Any) -> Any:
    """`value` as TOML has it -> as a field annotated `hint` holds it: lists become tuples, whole numbers floats.

    Knows int, float, str, bool, Literal, tuple, Mapping and `X | None`. Raises TypeError if the value does not fit.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is UnionType:
        (inner,) = (arg for arg in args if arg is not NoneType)
        return fit(value, inner)
    if origin is Mapping and isinstance(value, dict):
        return {key: fit(part, args[1]) for key, part in _flat(value).items()}
    if origin is tuple and isinstance(value, list | tuple):
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else args
        if len(kinds) == len(value):
            return tuple(fit(part, kind) for part, kind in zip(value, kinds, strict=True))
    elif origin is Literal and isinstance(value, str) and value in args:
        return value
    elif hint is float and type(value) in (int, float):
        return float(value)
    elif origin is None and type(value) is hint:  # so that a bool is not taken for an int
        return value
    raise TypeError


def fit_in(file: TomlFile, key: str, value: Any, hint: Any) -> Any:
    """`fit` of what `file` says under `key`. Raises the file's error: file, line, key, what was expected."""
    try:
        return fit(value, hint)
    except TypeError:
        raise file.fail(key, f"expected {worded(hint)}, got {value!r}.") from None


def worded(hint: Any) -> str:
    """The type of a field, in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return worded(args[0])
    if origin is Literal:
        return "one of " + ", ".join(args)
    if origin is Mapping:
        return "a table of texts"
    if origin is tuple and args[-1] is Ellipsis:
        return f"a list, each {worded(args[0])}"
    if origin is tuple:
        return f"a list of {len(args)}, each {worded(args[0])}"
    return _WORDS[hint]


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """Tables in tables under dotted names: `columns.context.planner` is the column "context.planner"."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        parts = {f"{key}.{name}": part for name, part in _flat(value).items()} if isinstance(value, dict) else None
        flat |= {key: value} if parts is None else parts
    return flat
