"""RecursiveLinks: their designs, and the closed-form values they can start from."""

from rmas.link.design import (
    LINKS,
    SOFT_TOKEN,
    Design,
    Link,
    Place,
    SoftToken,
    check_design,
    count_parameters,
)
from rmas.link.start import STARTS, Affine, fit_affine, mean_norm, write_affine, write_identity

__all__ = [
    "LINKS",
    "SOFT_TOKEN",
    "STARTS",
    "Affine",
    "Design",
    "Link",
    "Place",
    "SoftToken",
    "check_design",
    "count_parameters",
    "fit_affine",
    "mean_norm",
    "write_affine",
    "write_identity",
]
