"""State dicts of released links: read without running anything, renamed, and told apart by their tensors.

The surprising thing: `linear_adapter` and `linear_res_adapter`, or `adapter` and `res_adapter`, hold the same tensors
as inner links. Only their repository's `adapter_type` tells them apart, so without it they are refused.
"""

import pickle
import struct
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rmas.designs import Place
from rmas.errors import CheckpointError, unknown
from rmas.link import Link
from rmas.release.layout import LinkFile
from rmas.release.table import ALIASES, MODULES, TYPES

State = Mapping[str, Tensor]
# What torch.load raises for files that were cut or altered; found by altering some.
_DAMAGE = (
    *(OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError),
    *(AssertionError, ArithmeticError, struct.error),
)


class LinkState(NamedTuple):
    """A link's design, and its tensors under our names, as they lay in the file: their dtype is kept."""

    design: str
    tensors: dict[str, Tensor]


def read_link(file: LinkFile, place: Place, d_in: int, d_out: int) -> LinkState:
    """The link of a file, between these widths. Raises CheckpointError: the file, what it holds, what was expected."""
    theirs = _read(file.path)
    ours = _renamed(theirs, {name: mine for mine, name in MODULES[place].items()})
    design = _design(file, place, ours)
    expected = _shapes(design, place, d_in, d_out)
    for told, width, which in ((file.d_in, d_in, "in_dim"), (file.d_out, d_out, "out_dim")):
        if told not in (None, width):
            raise CheckpointError(f"{file.path}: its manifest says {which} {told}, the model there has {width}.")
    for name, shape in expected.items():
        if tuple(ours[name].shape) != shape:
            raise CheckpointError(
                f"{file.path}: {name} is {tuple(ours[name].shape)}, expected {shape} between models of widths "
                f"{d_in} and {d_out}. The link was made for other models."
            )
    return LinkState(design, ours)


def to_release(tensors: State, place: Place) -> dict[str, Tensor]:
    """A link's tensors under the names that the release gives them."""
    return _renamed(tensors, MODULES[place])


def _renamed(tensors: State, names: Mapping[str, str]) -> dict[str, Tensor]:
    split = {name: name.partition(".") for name in tensors}
    return {names.get(split[name][0], split[name][0]) + "".join(split[name][1:]): tensors[name] for name in tensors}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other versions, which are then refused or read
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: holds more than tensors (pickled code, perhaps) or is damaged, so it was not loaded. Get it anew."
        ) from None
    except _DAMAGE as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise CheckpointError(f"{path}: damaged ({reason[:120]}). Get the repository again.") from None
    if not isinstance(state, dict) or not state or not all(map(_is_weight, state.items())):
        raise CheckpointError(f"{path}: not a state dict of floating-point tensors. Get the repository again.")
    return {name: tensor.contiguous() for name, tensor in state.items()}


def _is_weight(item: tuple[object, object]) -> bool:
    name, tensor = item
    return isinstance(name, str) and isinstance(tensor, Tensor) and tensor.is_floating_point()


def _design(file: LinkFile, place: Place, ours: State) -> str:
    """The design whose tensors these are; of two, the one that the repository names."""
    fitting = [design for design in TYPES[place].values() if _shapes(design, place, 1, 1).keys() == ours.keys()]
    if not fitting:
        raise CheckpointError(f"{file.path}: {_misfit(place, ours)} It is no {place} link of the release.")
    if file.type is not None:
        named = {**ALIASES, **TYPES[place]}
        if file.type not in named:
            raise CheckpointError(f"{file.path}: {unknown('adapter_type', file.type, named)}")
        if named[file.type] not in fitting:
            raise CheckpointError(
                f"{file.path}: adapter_type is {file.type}, but its tensors are those of {' or '.join(fitting)}."
            )
        return named[file.type]
    if len(fitting) > 1:
        raise CheckpointError(
            f"{file.path}: its tensors fit {' and '.join(fitting)} alike. Say which in adapter_config.json beside it: "
            '{"adapter_type": "…"}.'
        )
    return fitting[0]


def _misfit(place: Place, ours: State) -> str:
    """What of the nearest design's tensors is missing or too much."""
    known = [set(_shapes(design, place, 1, 1)) for design in TYPES[place].values()]
    nearest = min(known, key=lambda names: len(names ^ ours.keys()))
    theirs = MODULES[place]
    missing, extra = (_listed(names, theirs) for names in (nearest - ours.keys(), ours.keys() - nearest))
    return (
        " and ".join(f"{word} {names}" for word, names in (("lacks", missing), ("has unknown", extra)) if names) + "."
    )


def _listed(names: Iterable[str], theirs: Mapping[str, str]) -> str:
    said = sorted(_renamed(dict.fromkeys(names, torch.empty(0)), theirs))
    return ", ".join(said[:3]) + (f" and {len(said) - 3} more" if len(said) > 3 else "")


def _shapes(design: str, place: Place, d_in: int, d_out: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        link = Link(design, place, d_in, d_out)
    return {name: tuple(tensor.shape) for name, tensor in link.state_dict().items()}
