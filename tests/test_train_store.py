"""Checkpoints of a training: whole or passed over, and a failed save loses nothing."""

import errno
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rmas.errors import CheckpointError, ConfigError
from rmas.train import store as module
from rmas.train.store import STATE, TENSORS, Store


def tensors(step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return {
        "outer.planner->critic.weight": torch.randn(3, 4, generator=generator, dtype=torch.float64),
        "optimizer/0 exp_avg": torch.randn(5, generator=generator),
        "random": generator.get_state(),
        "step": torch.tensor(step),
        "empty": torch.zeros(0),
        "half": torch.randn(2, 2, generator=generator).bfloat16().T,
    }


def filled(folder: Path, *steps: int, keep: int = 2) -> Store:
    store = Store(folder, keep=keep)
    for step in steps:
        store.save(step, tensors(step), {"best": 0.1, "names": ["a"], "at": step})
    return store


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def truncate(folder: Path) -> None:
    (folder / TENSORS).write_bytes((folder / TENSORS).read_bytes()[:-1])


def alter(folder: Path) -> None:
    content = bytearray((folder / TENSORS).read_bytes())
    content[-1] ^= 1
    (folder / TENSORS).write_bytes(content)


def alter_state(folder: Path) -> None:
    text = (folder / STATE).read_text()
    (folder / STATE).write_text(text.replace('"best": 0.1', '"best": 0.2'))


def empty_state(folder: Path) -> None:
    (folder / STATE).write_text("")


def wrong_state(folder: Path) -> None:
    (folder / STATE).write_text("[]")


def without_state(folder: Path) -> None:
    (folder / STATE).unlink()


def without_tensors(folder: Path) -> None:
    (folder / TENSORS).unlink()


DAMAGE = (truncate, alter, alter_state, empty_state, wrong_state, without_state, without_tensors)


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert Store(tmp_path / "none").latest() is None


def test_the_newest_comes_back_bit_for_bit(tmp_path: Path) -> None:
    stored = filled(tmp_path, 9, 10, 100).latest()
    assert stored is not None
    assert (stored.step, stored.state) == (100, {"best": 0.1, "names": ["a"], "at": 100})
    assert stored.tensors.keys() == tensors(100).keys()
    for name, tensor in tensors(100).items():
        assert stored.tensors[name].dtype == tensor.dtype
        assert torch.equal(stored.tensors[name], tensor)


def test_tensors_that_share_memory_are_stored(tmp_path: Path) -> None:
    weight = torch.ones(2, 2)
    Store(tmp_path).save(1, {"a": weight, "b": weight, "row": weight[0]}, {})
    stored = Store(tmp_path).latest()
    assert stored is not None
    assert torch.equal(stored.tensors["b"], weight)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_few_are_kept(tmp_path: Path, keep: int) -> None:
    filled(tmp_path, 1, 2, 3, 4, keep=keep)
    assert names(tmp_path) == [f"step-{step:08d}" for step in range(5 - keep, 5)]


def test_keeping_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keep is 0, expected 1 or more"):
        Store(tmp_path, keep=0)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_broken_checkpoint_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    store = filled(tmp_path, 1, 2)
    damage(tmp_path / "step-00000002")
    with caplog.at_level(logging.WARNING):
        stored = store.latest()
    assert stored is not None
    assert stored.step == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "step-00000002" in caplog.text


def test_a_whole_store_warns_of_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path, 1, 2).latest()
    assert not caplog.records


def test_where_all_are_broken_nothing_begins_anew_in_silence(tmp_path: Path) -> None:
    store = filled(tmp_path, 1, 2)
    for path in tmp_path.iterdir():
        truncate(path)
    with pytest.raises(CheckpointError, match=r"none of its checkpoints is whole \(steps 1, 2\)\. Restore one"):
        store.latest()


def test_a_half_written_checkpoint_is_not_seen_and_goes_with_the_next_save(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    leftover = tmp_path / "step-00000002.partial"
    leftover.mkdir()
    (leftover / TENSORS).write_bytes(b"half")
    stored = store.latest()
    assert stored is not None
    assert stored.step == 1
    filled(tmp_path, 3)
    assert names(tmp_path) == ["step-00000001", "step-00000003"]


def test_a_step_can_be_saved_again(tmp_path: Path) -> None:
    store = filled(tmp_path, 1, 2)
    truncate(tmp_path / "step-00000002")
    store.save(2, tensors(2), {"at": "again"})
    stored = store.latest()
    assert stored is not None
    assert stored.state == {"at": "again"}
    assert names(tmp_path) == ["step-00000001", "step-00000002"]


def test_broken_later_steps_do_not_push_out_the_checkpoint_just_written(tmp_path: Path) -> None:
    store = filled(tmp_path, 1, 5, keep=1)
    truncate(tmp_path / "step-00000005")
    store.save(2, tensors(2), {})
    assert names(tmp_path) == ["step-00000002"]


@pytest.mark.parametrize("failing", [TENSORS, STATE])
def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    store = filled(tmp_path, 1, 2)
    whole = module._write

    def write(path: Path, put: Callable[[Path], object]) -> None:
        whole(path, put)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        if path.name == failing:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write", write)
    with pytest.raises(CheckpointError) as refused:
        store.save(3, tensors(3), {})
    assert str(refused.value).startswith(f"{tmp_path}/step-00000003: cannot be written (No space left on device). ")
    assert names(tmp_path) == ["step-00000001", "step-00000002"]
    stored = store.latest()
    assert stored is not None
    assert stored.step == 2


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        Store(tmp_path / "file" / "checkpoints").save(1, tensors(1), {})


def test_a_state_that_json_cannot_hold_is_our_mistake_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        Store(tmp_path).save(1, tensors(1), {"generator": torch.Generator()})
    assert Store(tmp_path).latest() is None


def test_the_state_file_names_step_and_digest(tmp_path: Path) -> None:
    filled(tmp_path, 7)
    table = json.loads((tmp_path / "step-00000007" / STATE).read_text())
    assert table["step"] == 7
    assert len(table["digest"]) == 64
