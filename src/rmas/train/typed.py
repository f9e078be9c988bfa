"""TOML values against the annotations of a dataclass: what fits, and how to say what was expected."""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


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
