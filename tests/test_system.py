"""Systems as they are loaded: what they refuse, what they note, where their roles run."""

from pathlib import Path

import pytest

from rmas import system as system_module
from rmas.errors import ConfigError
from rmas.spec import load_spec
from rmas.system import load_system, mirror_notes


def test_a_system_without_agents_is_refused_by_load_system() -> None:
    with pytest.raises(ConfigError, match="echo"):
        load_system("echo")


def test_weights_from_the_mirror_are_noted(monkeypatch: pytest.MonkeyPatch, tmp_cache: Path) -> None:
    monkeypatch.setattr(system_module, "find", lambda source, cache: cache / f"{source.name}.gguf")
    notes = mirror_notes(load_spec("smol"), cache=tmp_cache)
    assert len(notes) == 3
    assert "smollm2-135m.gguf" in notes[0]


def test_weights_from_the_hub_are_not_noted(monkeypatch: pytest.MonkeyPatch, tmp_cache: Path) -> None:
    monkeypatch.setattr(system_module, "find", lambda source, cache: cache / source.name)
    assert mirror_notes(load_spec("smol"), cache=tmp_cache) == ()


def test_a_role_keeps_the_device_and_dtype_of_its_file(tmp_path: Path) -> None:
    text = load_spec("tiny").path.read_text().replace('"tiny:llama"', '"tiny:llama"\ndevice = "cpu"\ndtype = "float32"')
    (tmp_path / "own.toml").write_text(text)
    spec = load_spec(str(tmp_path / "own.toml")).placed(device="cuda", dtype="bfloat16")
    assert (spec.roles["planner"].device, spec.roles["planner"].dtype) == ("cpu", "float32")
    assert (spec.roles["solver"].device, spec.roles["solver"].dtype) == ("cuda", "bfloat16")
