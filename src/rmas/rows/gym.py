"""Rows from reasoning-gym's generators: `FAMILY?size=20000&seed=1&max_terms=3`.

The surprising thing: item i of a generator is drawn from seed + i alone. So two sets whose seeds lie closer together
than their sizes share items: seed=1 and seed=2, of the same size, differ in one.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from rmas.errors import ConfigError, unknown
from rmas.rows.stored import Row, parse_address
from rmas.settings import require

# Drawn by string hashing or by an unseeded source (seen in 0.1.25): each process gets other items.
UNREPEATABLE = (
    "codeio",
    "isomorphic_strings",
    "knight_swap",
    "list_functions",
    "polynomial_multiplication",
    "ransom_note",
    "word_ladder",
)
DEFAULT_SIZE = 500


def gym_rows(address: str) -> Iterator[Row]:
    """The items of `FAMILY?size=N&seed=S&...` as rows with `question` and `answer`, each made when it is asked for.

    Defaults: size 500, seed 0. Raises ConfigError, at the first row: unknown family or parameter, a value that does
    not fit, a family that cannot be repeated or whose items have no answer of their own.
    """
    family, options = parse_address(address)
    size = read_size(f"reasoning_gym:{family}", options)
    for number, item in enumerate(gym_items(family, options, size=size)):
        place = f"reasoning_gym:{family} item {number}"
        if item["answer"] is None:
            raise ConfigError(f"{place}: it has many answers and gives none. Choose another family than {family}.")
        yield Row(place, {"question": item["question"], "answer": item["answer"]})


def read_size(name: str, options: Mapping[str, str]) -> int:
    """The option `size` of `name`, 1 or more; raises ConfigError."""
    size = _parse(options.get("size", str(DEFAULT_SIZE)), 0, f"data: {name}: size")
    require(size >= 1, f"data: {name}: size", size, "1 or more")
    return int(size)


def gym_items(family: str, options: Mapping[str, str], *, size: int) -> Iterator[dict[str, Any]]:
    """`size` items of a generator: question, answer, metadata. `options`: its parameters, as text.

    The parameters are checked at the first item. Raises ConfigError as `gym_rows` says.
    """
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise ConfigError("data: reasoning_gym needs its package: pip install 'rmas[train]'.") from None
    name = f"reasoning_gym:{family}"
    if family in UNREPEATABLE:
        raise ConfigError(
            f"data: {name}: its items change from process to process, so a run could not be resumed. "
            "Write them to a JSONL file once and train on that."
        )
    if family not in DATASETS:
        raise ConfigError("data: " + unknown("reasoning_gym family", family, set(DATASETS) - set(UNREPEATABLE)))
    defaults = _defaults(DATASETS[family][1])
    values: dict[str, Any] = {"seed": 0}
    for option, text in options.items():
        if option == "size":
            continue
        if option not in defaults:
            raise ConfigError(f"data: {name}: " + unknown("parameter", option, defaults))
        values[option] = _parse(text, 0 if option == "seed" else defaults[option], f"data: {name}: {option}")
    try:
        generator = reasoning_gym.create_dataset(family, **{**values, "size": size})
        for number in range(size):
            yield generator[number]
    except (AssertionError, ValueError, TypeError, IndexError) as problem:
        told = ", ".join(f"{option}={value}" for option, value in values.items())
        raise ConfigError(f"data: {name}: refuses {told}: {problem or type(problem).__name__}.") from None


def _defaults(config: type) -> dict[str, Any]:
    """A generator's parameters and their defaults; None where it has none."""
    return {
        entry.name: entry.default_factory()
        if entry.default_factory is not dataclasses.MISSING
        else (None if entry.default is dataclasses.MISSING else entry.default)
        for entry in dataclasses.fields(config)
    }


def _parse(text: str, default: Any, name: str) -> Any:
    """Text to a value of the type of `default`; by its look where that is None. Lists are written `a,b`."""
    if isinstance(default, tuple | list):
        first = default[0] if len({type(value) for value in default}) == 1 else None
        return type(default)(_parse(part, first, name) for part in text.split(","))
    kinds: tuple[type, ...] = (bool, int, float, str) if default is None else (type(default),)
    for kind in kinds:
        try:
            return {"true": True, "false": False}[text] if kind is bool else kind(text)
        except (KeyError, ValueError, TypeError):
            continue
    known = [str(choice.value) for choice in type(default)] if isinstance(default, Enum) else []
    expected = f"one of {', '.join(known)}" if known else _WORDS.get(kinds[0], kinds[0].__name__)
    raise ConfigError(f"{name} is {text!r}, expected {expected}.")


_WORDS: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number"}
