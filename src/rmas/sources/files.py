"""Some files of a hub repository, chosen by pattern, as a folder of huggingface_hub's own cache."""

from collections.abc import Sequence
from pathlib import Path

from rmas.sources.bundles import HubName, hub_refusals
from rmas.sources.reference import COMMIT

_SECONDS = 10.0  # for the hub to say what a branch stands for


def fetch_files(name: HubName, patterns: Sequence[str]) -> tuple[Path, str]:
    """The folder with the files that match, and the commit they are of. What is in the cache is not sent again.

    Raises SourceError where the hub cannot be reached, refuses, or has no such repository or revision.
    """
    from huggingface_hub import snapshot_download

    commit = commit_of(name)
    with hub_refusals(name):
        return Path(snapshot_download(name.repository, revision=commit, allow_patterns=list(patterns))), commit


def commit_of(name: HubName) -> str:
    """What a branch or tag stands for now; a commit is that itself, and nobody is asked. Raises as `fetch_files`."""
    from huggingface_hub import HfApi

    if name.revision is not None and COMMIT.fullmatch(name.revision):
        return name.revision
    with hub_refusals(name):
        return str(HfApi().model_info(name.repository, revision=name.revision, timeout=_SECONDS).sha)
