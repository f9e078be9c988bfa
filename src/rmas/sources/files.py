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
    from huggingface_hub import HfApi, snapshot_download

    with hub_refusals(name):
        commit = name.revision
        if commit is None or not COMMIT.fullmatch(commit):
            commit = str(HfApi().model_info(name.repository, revision=name.revision, timeout=_SECONDS).sha)
        return Path(snapshot_download(name.repository, revision=commit, allow_patterns=list(patterns))), commit
