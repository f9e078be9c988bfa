"""Sources: the table of known models, references in a system file, the disk."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fake_sources import COMMIT, PIECES, sha
from rmas.errors import BackboneError, SourceError
from rmas.sources import MODELS, Source, ensure_room, fetch, find, parse_source, sha256_of


def a_model_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"")
    return path


# The table


@pytest.mark.parametrize("name", MODELS)
def test_a_row_is_whole(name: str) -> None:
    model = MODELS[name]
    assert model.name == name
    assert re.fullmatch("[0-9a-f]{40}", model.revision)
    if model.mirror:
        assert model.mirror.size == sum(part.size for part in model.mirror.parts)
        hashes = [model.mirror.sha256, *(part.sha256 for part in model.mirror.parts)]
        assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in hashes)


# References


@pytest.mark.parametrize("name", MODELS)
def test_a_short_name_is_a_pinned_hub_model(name: str, tmp_path: Path) -> None:
    source = parse_source(name, base=tmp_path)
    assert (source.kind, source.hub_id, source.revision) == ("hub", MODELS[name].hub, MODELS[name].revision)
    assert source.model is MODELS[name]


def test_a_pinned_hub_id_is_taken_as_it_stands(tmp_path: Path) -> None:
    source = parse_source(f"owner/name@{COMMIT}", base=tmp_path)
    assert source == Source(kind="hub", name="name", hub_id="owner/name", revision=COMMIT)


def test_a_known_commit_written_out_has_its_mirror(tmp_path: Path) -> None:
    row = MODELS["smollm2-135m"]
    assert parse_source(f"{row.hub}@{row.revision}", base=tmp_path).model is row
    assert parse_source(f"{row.hub}@{COMMIT}", base=tmp_path).model is None


def test_a_tiny_family_is_not_looked_up(tmp_path: Path) -> None:
    assert parse_source("tiny:llama", base=tmp_path) == Source(kind="tiny", name="tiny:llama")


@pytest.mark.parametrize("text", ["./models/mine", "models/mine", "models/../models/mine"])
def test_a_folder_is_relative_to_the_system_file(text: str, tmp_path: Path) -> None:
    a_model_folder(tmp_path / "models/mine")
    source = parse_source(text, base=tmp_path)
    assert (source.kind, source.name) == ("folder", "mine")
    assert find(source, cache=tmp_path / "cache") == source.path == tmp_path / text


def test_an_absolute_gguf_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    source = parse_source(str(tmp_path / "mine.gguf"), base=tmp_path / "elsewhere")
    assert (source.kind, source.name) == ("gguf", "mine")
    assert fetch(source, cache=tmp_path / "cache") == tmp_path / "mine.gguf"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("smollm2-135", "unknown model 'smollm2-135'.*Did you mean 'smollm2-135m'.*owner/name@<commit>"),
        ("", "unknown model ''"),
        ("a/b/c", "unknown model"),
        ("x" * 5000, "unknown model"),
        ("nul\0", "unknown model"),
        ("./" + "x" * 5000, "no such folder"),
        ("./nul\0", "no such folder"),
        ("owner/name", "Pin a revision: owner/name@<commit>"),
        ("owner/name@main", "a branch or tag can move"),
        ("owner/name@../../etc", "a branch or tag can move"),
        ("./nowhere", "no such folder.*nowhere"),
        ("../nowhere", "no such folder.*nowhere"),
        ("/nowhere/at/all", "no such folder"),
        ("./empty", "lacks a config.json or a .safetensors file"),
        ("empty", "lacks a config.json or a .safetensors file"),
        ("nowhere.gguf", "no such file.*nowhere.gguf"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/config.json").write_text("{}")
    with pytest.raises(BackboneError, match=says) as error:
        parse_source(text, base=tmp_path)
    assert "\n" not in str(error.value)


# The disk


def test_room_is_asked_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    ensure_room(tmp_path / "not/yet/there", 1)
    with pytest.raises(SourceError, match=r"needs 1073741824.00 GiB"):
        ensure_room(tmp_path / "not/yet/there", 1 << 60)
    assert list(tmp_path.iterdir()) == []


def test_sha256_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(PIECES[0])
    assert sha256_of(tmp_path / "file") == sha(PIECES[0])


# What has nothing to fetch


def test_a_tiny_model_has_nothing_to_fetch(tmp_path: Path) -> None:
    source = parse_source("tiny:llama", base=tmp_path)
    assert find(source, cache=tmp_path) is None
    with pytest.raises(SourceError, match=r"tiny:llama: .*nothing to fetch"):
        fetch(source, cache=tmp_path)


def test_a_folder_that_went_away_is_refused(tmp_path: Path) -> None:
    source = parse_source(str(a_model_folder(tmp_path / "mine")), base=tmp_path)
    (tmp_path / "mine/model.safetensors").unlink()
    assert find(source, cache=tmp_path) is None
    with pytest.raises(SourceError, match=r"mine: .*holds no weights any more"):
        fetch(source, cache=tmp_path)


def test_the_sources_import_neither_torch_nor_the_hub() -> None:
    code = "import sys, rmas.sources; sys.exit(any(m in sys.modules for m in ('torch', 'huggingface_hub', 'httpx2')))"
    subprocess.run([sys.executable, "-c", code], check=True)
