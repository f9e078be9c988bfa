"""RecursiveLinks: their designs, and the closed-form values they can start from."""

from rmas.designs import CONSTANT, LINKS, SOFT_TOKEN, STARTS, Design, Place, check_design
from rmas.link.design import ConstantMessage, Link, SoftToken, count_parameters, outer_link
from rmas.link.start import (
    Affine,
    fit_affine,
    hush,
    left_to_chance,
    mean_norm,
    write_affine,
    write_constant,
    write_identity,
)

__all__ = [
    "CONSTANT",
    "LINKS",
    "SOFT_TOKEN",
    "STARTS",
    "Affine",
    "ConstantMessage",
    "Design",
    "Link",
    "Place",
    "SoftToken",
    "check_design",
    "count_parameters",
    "fit_affine",
    "hush",
    "left_to_chance",
    "mean_norm",
    "outer_link",
    "write_affine",
    "write_constant",
    "write_identity",
]
