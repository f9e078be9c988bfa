"""From a name to what lies on this disk: backbones of a system file, bundles on the hub. No torch, no model code."""

from rmas.sources.bundles import (
    HubName,
    UnreachableError,
    bundle_files,
    check_contained,
    fetch_bundle,
    foreign_files,
    hub_name,
    hub_refusals,
    pinned,
)
from rmas.sources.disk import ensure_room, sha256_of
from rmas.sources.fetch import fetch, find
from rmas.sources.files import commit_of, fetch_files
from rmas.sources.mirror import pip_download
from rmas.sources.progress import Progress, silent
from rmas.sources.reference import Source, parse_source
from rmas.sources.table import MODELS, KnownModel, Mirror, Part

__all__ = [
    "MODELS",
    "HubName",
    "KnownModel",
    "Mirror",
    "Part",
    "Progress",
    "Source",
    "UnreachableError",
    "bundle_files",
    "check_contained",
    "commit_of",
    "ensure_room",
    "fetch",
    "fetch_bundle",
    "fetch_files",
    "find",
    "foreign_files",
    "hub_name",
    "hub_refusals",
    "parse_source",
    "pinned",
    "pip_download",
    "sha256_of",
    "silent",
]
