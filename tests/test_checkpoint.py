"""Bundles: saved and loaded they are the same, and whatever does not fit is refused, all or none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rmas.checkpoint import LINKS, MANIFEST, digest, load_links, save_system
from rmas.errors import CheckpointError
from rmas.prompt import KINDS
from rmas.system import System, load_system
from rmas.systemfile import load_spec
from zoo import snapshot

PATTERN = """schedule = [["asker"], ["teller"]]
edges = [["asker", "teller"], ["teller", "asker"]]
answerer = "teller"
"""
WORDS = """[roles.asker]
system = "You ask."
sections = ["Ask: {question}", "Heard: {teller}"]
[roles.teller]
system = "You tell."
sections = ["Tell: {question}", "Heard: {asker}", "{answer}"]
"""
TEXT = """pattern = "distillation"
inner = "mlp_ln_res"
outer = "mlp_ln_res"
start = "pytorch"
[roles.expert]
backbone = "tiny:llama"
[roles.learner]
backbone = "tiny:qwen3"
"""


def make(folder: Path, text: str = TEXT, *, seed: int = 0) -> System:
    """A small system of random links from a file in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    return load_system(str(folder / "mine.toml"), cache=folder / "cache", seed=seed)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A saved bundle; its folder."""
    save_system(make(tmp_path / "source"), tmp_path / "bundle")
    return tmp_path / "bundle"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def edit_tensors(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Change the tensors, and the manifest's digest with them: only a careful forger does both."""
    tensors = load_file(folder / LINKS)
    change(tensors)
    save_file(tensors, folder / LINKS)
    edit_manifest(folder, lambda manifest: manifest.update(digest=digest(tensors)))


def refusal(system: System, bundle: Path) -> str:
    """The one line with which `bundle` is refused; the system's links must be as they were."""
    before = snapshot(system.state_dict())
    with pytest.raises(CheckpointError) as caught:
        load_links(system, bundle / LINKS)
    assert all(torch.equal(before[name], tensor) for name, tensor in system.state_dict().items())
    assert str(bundle) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_saved_system_loads_with_the_same_digest(tmp_path: Path) -> None:
    system = make(tmp_path / "source")
    save_system(system, tmp_path / "bundle")
    loaded = load_system(str(tmp_path / "bundle"), cache=tmp_path / "cache")
    assert loaded.digest() == system.digest() != make(tmp_path / "other", seed=1).digest()
    assert loaded.notes == ()
    assert loaded.spec.name == "bundle"


def test_the_digest_sees_names_shapes_dtypes_and_bytes() -> None:
    tensors = {"a": torch.zeros(2, 3)}
    others = [{"b": torch.zeros(2, 3)}, {"a": torch.zeros(3, 2)}, {"a": torch.zeros(2, 3, dtype=torch.int32)}]
    others += [{"a": torch.full((2, 3), 1e-30)}, {**tensors, "b": torch.zeros(0)}]
    assert len({digest(one) for one in (tensors, *others)}) == len(others) + 1
    assert digest({"b": torch.ones(1), **tensors}) == digest({**tensors, "b": torch.ones(1)})


def test_a_bundle_holds_links_and_nothing_of_a_backbone(bundle: Path, tmp_path: Path) -> None:
    system = load_system(str(bundle), cache=tmp_path / "cache")
    links = sum(tensor.numel() * tensor.element_size() for tensor in system.state_dict().values())
    assert sorted(files(bundle)) == ["links.safetensors", "manifest.json", "system.toml"]
    assert links <= (bundle / LINKS).stat().st_size <= links + 8192
    assert set(load_file(bundle / LINKS)) == set(system.state_dict())
    assert all(name.startswith(("inner.", "outer.")) for name in system.state_dict())


def test_the_manifest_says_what_the_links_were_made_for(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    expert = manifest["roles"]["expert"]
    assert (expert["backbone"], expert["width"], expert["inner"]) == ("tiny:llama", 32, "mlp_ln_res")
    assert len(expert["vocabulary"]) == 64
    assert manifest["outer"] == {"expert->learner": "mlp_ln_res", "learner->expert": "mlp_ln_res"}
    assert manifest["digest"] == digest(load_file(bundle / LINKS))


@pytest.mark.parametrize("prompts", ["words.toml", "words"])
def test_a_pattern_and_prompts_of_the_users_own_travel_along(tmp_path: Path, prompts: str) -> None:
    source = tmp_path / "source"
    (source / "words").mkdir(parents=True)
    (source / "system.toml").write_text(PATTERN, encoding="utf-8")  # a pattern may have any name
    tasks = "".join(f'[{kind}]\nbrief = "b"\nanswer = "mine"\n' for kind in KINDS)
    for path in (source / "words.toml", source / "words" / "system.toml"):
        path.write_text(WORDS, encoding="utf-8")
        (path.parent / "tasks.toml").write_text(tasks, encoding="utf-8")
    text = TEXT.replace("distillation", "system.toml").replace("expert", "asker").replace("learner", "teller")
    system = make(source, f'prompts = "{prompts}"\n{text}')
    save_system(system, tmp_path / "bundle")
    for path in source.rglob("*.toml"):
        path.unlink()
    loaded = load_system(str(tmp_path / "bundle"), cache=tmp_path / "cache")
    assert loaded.digest() == system.digest()
    assert loaded.pattern == system.pattern
    assert loaded.spec.pack.roles == system.spec.pack.roles
    assert loaded.spec.pack.tasks == system.spec.pack.tasks
    save_system(loaded, tmp_path / "copy")
    again = files(tmp_path / "copy")
    assert again == files(tmp_path / "bundle")


def test_a_bundle_saved_in_its_own_place_still_loads(bundle: Path, tmp_path: Path) -> None:
    before = files(bundle)
    save_system(load_system(str(bundle), cache=tmp_path / "cache"), bundle)
    assert files(bundle) == before


def test_a_system_without_trained_inner_links_saves_and_loads(tmp_path: Path) -> None:
    system = make(tmp_path / "source", TEXT.replace('inner = "mlp_ln_res"', 'inner = "soft_token"'))
    save_system(system, tmp_path / "bundle")
    assert load_system(str(tmp_path / "bundle"), cache=tmp_path / "cache").digest() == system.digest()


@pytest.mark.parametrize("length", [0, 4, 100, 5000])
def test_a_truncated_file_of_links_is_refused(bundle: Path, tmp_path: Path, length: int) -> None:
    (bundle / LINKS).write_bytes((bundle / LINKS).read_bytes()[:length])
    assert "links.safetensors: truncated or altered" in refusal(make(tmp_path / "other", seed=1), bundle)


def test_a_flipped_byte_is_refused_with_both_digests(bundle: Path, tmp_path: Path) -> None:
    expected = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))["digest"]
    content = bytearray((bundle / LINKS).read_bytes())
    content[-1] ^= 1
    (bundle / LINKS).write_bytes(content)
    message = refusal(make(tmp_path / "other", seed=1), bundle)
    assert f"digest {digest(load_file(bundle / LINKS))[:16]}…, the manifest says {expected[:16]}…" in message


def test_links_of_another_bundle_are_refused(bundle: Path, tmp_path: Path) -> None:
    save_system(make(tmp_path / "other", seed=1), tmp_path / "other_bundle")
    (bundle / LINKS).write_bytes((tmp_path / "other_bundle" / LINKS).read_bytes())
    assert "The file was altered" in refusal(make(tmp_path / "third", seed=2), bundle)


@pytest.mark.parametrize(("name", "fix"), [(LINKS, "drop `links`"), (MANIFEST, "A bundle needs its manifest")])
def test_a_missing_file_is_refused(bundle: Path, tmp_path: Path, name: str, fix: str) -> None:
    (bundle / name).unlink()
    message = refusal(make(tmp_path / "other", seed=1), bundle)
    assert f"{name}: no such file" in message
    assert fix in message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "cannot be read"),
        ("\udcff", "cannot be read"),
        ("[]", "not a manifest of format 1"),
        ("3", "not a manifest of format 1"),
        ("{}", "not a manifest of format 1"),
        ('{"format": 1, "roles": [], "outer": {}, "digest": ""}', "not a manifest of format 1"),
        ('{"format": 1, "roles": {"expert": {}}, "outer": {}, "digest": ""}', "not a manifest of format 1"),
        ('{"format": 2, "roles": {}, "outer": {}, "digest": ""}', "not a manifest of format 1"),
        ('{"format": 1, "roles": {}, "outer": {}, "digest": ""}', "the bundle has no links for role 'expert' (has [])"),
    ],
)
def test_a_manifest_that_is_none_is_refused(bundle: Path, tmp_path: Path, text: str, problem: str) -> None:
    (bundle / MANIFEST).write_text(text, encoding="utf-8", errors="surrogateescape")
    assert problem in refusal(make(tmp_path / "other", seed=1), bundle)


def test_links_for_another_width_are_refused_with_both_widths(bundle: Path, tmp_path: Path) -> None:
    wider = make(tmp_path / "other", TEXT.replace("tiny:llama", "tiny:qwen2"))
    assert "made for a expert with width 32 (tiny:llama), this system's tiny:qwen2 has 48" in refusal(wider, bundle)


def test_links_for_another_vocabulary_are_refused_with_both_hashes(bundle: Path, tmp_path: Path) -> None:
    system = make(tmp_path / "other", seed=1)
    edit_manifest(bundle, lambda manifest: manifest["roles"]["learner"].update(vocabulary="f" * 64))
    ours = system.backbones["learner"].tokenizer.vocabulary_hash[:16]
    message = refusal(system, bundle)
    assert f"learner with vocabulary {'f' * 16}… (tiny:qwen3), this system's tiny:qwen3 has {ours}…" in message


def test_links_for_another_backbone_of_the_same_width_are_refused_with_both_names(bundle: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", TEXT.replace("tiny:llama", "tiny:gpt2"))
    message = refusal(other, bundle)
    assert "made for expert = tiny:llama (weights " in message
    assert "this system has tiny:gpt2 (weights " in message


def test_links_made_on_another_copy_of_the_same_model_load_with_a_note(bundle: Path, tmp_path: Path) -> None:
    system = make(tmp_path / "other", seed=1)
    edit_manifest(bundle, lambda manifest: manifest["roles"]["expert"].update(weights="0123456789abcdef"))
    (note,) = load_links(system, bundle / LINKS)
    assert "another copy of tiny:llama (0123456789abcdef, here " in note


def test_another_inner_design_is_refused_with_both(bundle: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", TEXT.replace('inner = "mlp_ln_res"', 'inner = "mlp"'))
    assert "made for a expert with inner mlp_ln_res (tiny:llama), this system's tiny:llama has mlp" in refusal(
        other, bundle
    )


def test_another_outer_design_is_refused_with_both(bundle: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", TEXT.replace('outer = "mlp_ln_res"', 'outer = "linear"'))
    message = refusal(other, bundle)
    assert "made with outer links {'expert->learner': 'mlp_ln_res'" in message
    assert "this system has {'expert->learner': 'linear'" in message


def test_a_missing_tensor_is_refused(bundle: Path, tmp_path: Path) -> None:
    edit_tensors(bundle, lambda tensors: tensors.pop("inner.expert.proj1.bias"))  # type: ignore[arg-type]
    message = refusal(make(tmp_path / "other", seed=1), bundle)
    assert "tensor inner.expert.proj1.bias is missing" in message


def test_an_extra_tensor_is_refused(bundle: Path, tmp_path: Path) -> None:
    edit_tensors(bundle, lambda tensors: tensors.update(more=torch.zeros(1)))
    assert "tensor more is not in this system" in refusal(make(tmp_path / "other", seed=1), bundle)


def test_a_tensor_of_another_shape_is_refused_with_both_shapes(bundle: Path, tmp_path: Path) -> None:
    edit_tensors(bundle, lambda tensors: tensors.update({"inner.expert.proj1.bias": torch.zeros(5)}))
    message = refusal(make(tmp_path / "other", seed=1), bundle)
    assert "inner.expert.proj1.bias is (5,), this system has (32,)" in message


@pytest.mark.parametrize("broken", ["links.safetensors.partial", "manifest.json.partial", "system.toml.partial"])
def test_a_save_that_runs_out_of_room_leaves_the_old_bundle_as_it_was(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    other, before, write = make(tmp_path / "other", seed=1), files(bundle), Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == broken:
            write(path, content[:10])
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\)\. Free some room"):
        save_system(other, bundle)
    monkeypatch.undo()
    assert files(bundle) == before
    load_links(other, bundle / LINKS)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    system = make(tmp_path / "source")
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"taken.*cannot be written"):
        save_system(system, tmp_path / "taken")
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "a file"


def test_a_bundle_names_its_links_and_no_start(bundle: Path) -> None:
    spec = load_spec(str(bundle))
    assert spec.links == bundle / LINKS
    assert "start" not in spec.table
