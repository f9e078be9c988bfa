"""Systems as they are loaded: what they refuse, what they note, where their roles run."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rmas import weights as weights_module
from rmas.checkpoint import digest
from rmas.errors import ConfigError
from rmas.system import load_system
from rmas.systemfile import known_systems, load_spec
from rmas.weights import mirror_notes


def test_a_system_without_agents_is_refused_by_load_system() -> None:
    with pytest.raises(ConfigError, match="echo"):
        load_system("echo")


def test_weights_from_the_mirror_are_noted(monkeypatch: pytest.MonkeyPatch, tmp_cache: Path) -> None:
    monkeypatch.setattr(weights_module, "find", lambda source, cache: cache / f"{source.name}.gguf")
    notes = mirror_notes(load_spec("smol"), cache=tmp_cache)
    assert len(notes) == 3
    assert "smollm2-135m.gguf" in notes[0]


def test_weights_from_the_hub_are_not_noted(monkeypatch: pytest.MonkeyPatch, tmp_cache: Path) -> None:
    monkeypatch.setattr(weights_module, "find", lambda source, cache: cache / source.name)
    assert mirror_notes(load_spec("smol"), cache=tmp_cache) == ()


def test_a_role_keeps_the_device_and_dtype_of_its_file(tmp_path: Path) -> None:
    text = load_spec("tiny").path.read_text().replace('"tiny:llama"', '"tiny:llama"\ndevice = "cpu"\ndtype = "float32"')
    (tmp_path / "own.toml").write_text(text)
    spec = load_spec(str(tmp_path / "own.toml")).placed(device="cuda", dtype="bfloat16")
    assert (spec.roles["planner"].device, spec.roles["planner"].dtype) == ("cpu", "float32")
    assert (spec.roles["solver"].device, spec.roles["solver"].dtype) == ("cuda", "bfloat16")


@pytest.mark.parametrize("name", [name for name in known_systems() if load_spec(name).links is not None])
def test_links_that_ship_are_whole_and_small(name: str) -> None:
    file = load_spec(name).links
    assert file is not None
    manifest = json.loads((file.parent / "manifest.json").read_text(encoding="utf-8"))
    tensors = load_file(file)
    assert digest(tensors) == manifest["digest"]
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert file.stat().st_size < 25e6
    spec = load_spec(name)
    assert {str(edge): design for edge, design in spec.outer.items()} == manifest["outer"]
    assert {role: entry.inner for role, entry in spec.roles.items()} == {
        role: row["inner"] for role, row in manifest["roles"].items()
    }
