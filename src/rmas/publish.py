"""A bundle onto the hub: checked, with its card, in one commit.

The surprising thing: only what is a bundle's goes up. A folder that was trained in holds checkpoints and event files as
well; they stay where they are, and a repository that holds anything else is left alone.
"""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from rmas.checkpoint import MANIFEST, read_links, read_manifest
from rmas.errors import CheckpointError, ConfigError
from rmas.sources import HubName, bundle_files, check_contained, foreign_files, hub_name, hub_refusals
from rmas.spec import SystemSpec
from rmas.systemfile import load_spec
from rmas.train.card import CARD, PLACE, card_text
from rmas.train.facts import gather


class Published(NamedTuple):
    """Where it is now, as a system's name; where to look at it; what went up."""

    name: str
    url: str
    files: tuple[str, ...]


def publish(folder: Path, repository: str, *, private: bool = False) -> Published:
    """Put the bundle in `folder` onto the hub as `repository`, `ORG/NAME`, made where it is not there yet.

    Its README.md is the card; where it has none, one is made from what the bundle says. The token is the one that
    huggingface_hub finds. Raises CheckpointError for what is no whole bundle or holds what nobody else could load,
    ConfigError for a name that is none, SourceError where the hub cannot be reached or refuses. Changes nothing here.
    """
    name = hub_name(repository)
    if name is None or name.revision is not None:
        raise ConfigError(f"repository {repository!r}: expected ORG/NAME, and no folder of that name here.")
    spec = _checked(folder)
    contents: dict[str, Path | bytes] = {file: folder / file for file in bundle_files(folder)}
    contents[CARD] = _card(spec, folder, repository).encode()
    return _upload(name, contents, private=private)


def _checked(folder: Path) -> SystemSpec:
    """The bundle's spec, if the bundle is whole and another machine could load it."""
    if not (folder / "system.toml").is_file():
        raise CheckpointError(f"{folder}: no bundle: it has no system.toml. Name the folder that a training has left.")
    spec = load_spec(str(folder))
    if spec.links is None:
        raise CheckpointError(f"{folder}: holds no links, so there is nothing to publish. Train it, or convert one.")
    for role, entry in spec.roles.items():
        if entry.source.path is not None or entry.adapter is not None:
            raise CheckpointError(
                f"{folder}: {role} is {entry.adapter or entry.source.path}, which nobody else has. "
                "Publish that model by itself and name it in system.toml as owner/name@<commit>."
            )
    check_contained(folder, str(folder))
    read_links(spec.links, read_manifest(folder / MANIFEST))
    return spec


def _card(spec: SystemSpec, folder: Path, repository: str) -> str:
    """The folder's own card, or a new one, with the name on the hub for the folder's."""
    assert spec.links is not None, "checked"
    path = folder / CARD
    if path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        manifest = read_manifest(folder / MANIFEST)
        counts = Counter[str]()
        for key, tensor in read_links(spec.links, manifest).items():
            counts[".".join(key.split(".")[:2])] += tensor.numel()
        text = card_text(gather(spec, manifest, counts))
    for use in ("rmas ask {}", 'load_system("{}")'):
        text = text.replace(use.format(PLACE), use.format(repository))
    return text


def _upload(name: HubName, contents: dict[str, Path | bytes], *, private: bool) -> Published:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    operations: list[Any] = [CommitOperationAdd(file, content) for file, content in contents.items()]
    with hub_refusals(name):
        url = api.create_repo(name.repository, private=private or None, exist_ok=True)
        there = api.list_repo_files(name.repository)
        for file in foreign_files(there):
            raise CheckpointError(
                f"{name}: holds {file}, which is no bundle's. Choose another name: nothing was changed."
            )
        stale = [file for file in there if file not in contents and file.endswith((".toml", ".safetensors", ".png"))]
        operations += [CommitOperationDelete(file) for file in stale]
        done = api.create_commit(name.repository, operations, commit_message="Add the bundle")
    return Published(f"{name.repository}@{done.oid}", str(url), tuple(contents))
