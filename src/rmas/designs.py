"""The link designs and starts, by name: the table that system files are checked against. No torch.

`rmas.link` builds what stands here; its docstring has the formulas.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from rmas.errors import LinkError, unknown


@dataclass(frozen=True, kw_only=True)
class Design:
    """The axes on which link designs differ."""

    layers: Literal[1, 2]
    residual: bool
    norms: bool = False
    constant: bool = False  # M learned vectors beside it


LINKS: Mapping[str, Design] = {
    "linear": Design(layers=1, residual=False),
    "linear_res": Design(layers=1, residual=True),
    "mlp": Design(layers=2, residual=False),
    "mlp_res": Design(layers=2, residual=True),
    "mlp_ln": Design(layers=2, residual=False, norms=True),
    "mlp_ln_res": Design(layers=2, residual=True, norms=True),
}

SOFT_TOKEN = "soft_token"  # an inner design without parameters; it needs its backbone
CONSTANT = "constant"  # an outer design that hears nothing: M learned vectors, the sceptic's control
FROM_CONSTANT = "constant_"  # before an outer design's name: learned vectors for it to read, in the thought's place
PLUS_CONSTANT = "+constant"  # after an outer design's name: those vectors, and what the link makes of the thought

Place = Literal["inner", "outer"]
STARTS = ("pytorch", "identity", "align", "align_soft")  # the last: with the soft token as the inner links' teacher


def known_designs(place: Place) -> tuple[str, ...]:
    """The names that a system file may give for an inner or an outer link."""
    if place == "inner":
        return (*LINKS, SOFT_TOKEN)
    beside, instead = (f"{name}{PLUS_CONSTANT}" for name in LINKS), (f"{FROM_CONSTANT}{name}" for name in LINKS)
    return (*LINKS, *beside, CONSTANT, *instead)


def is_constant(design: str) -> bool:
    """An outer link of that design hears nothing of the thought."""
    return design == CONSTANT or design.startswith(FROM_CONSTANT)


def check_start(name: str) -> None:
    """Raise LinkError with the nearest name, unless `name` is one of STARTS."""
    if name not in STARTS:
        raise LinkError(unknown("start", name, STARTS))


def check_design(name: str) -> Design:
    """The row of LINKS, `+constant` after its name or not; raises LinkError with the nearest name."""
    plain = name.removesuffix(PLUS_CONSTANT)
    if plain not in LINKS:
        raise LinkError(unknown("link design", name, LINKS))
    return replace(LINKS[plain], constant=plain != name)
