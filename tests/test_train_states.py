"""Extraction: states paired with what follows them, kept in whole shards, read again in a seeded order."""

import errno
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import rmas.train.states
from rmas.backbone import HFBackbone, State
from rmas.errors import CheckpointError, ConfigError
from rmas.link import SoftToken
from rmas.prompt import Question
from rmas.system import System
from rmas.train.data import Example
from rmas.train.shards import INDEX, StateBatches, States
from rmas.train.states import Extraction, Reading, extract_states, role_readings
from zoo import FAMILIES, assert_close, backbone, pair, tolerance

EXAMPLES = [
    Example(question=Question(text="How many legs?"), answer="8", targets={}),
    Example(question=Question(text="Why?"), answer="Because it rains.", targets={}),
    Example(question=Question(text="Name a river, and say where it ends."), answer="The Nile; in the sea.", targets={}),
    Example(question=Question(text="2 + 2 = ?"), answer="4", targets={}),
    Example(question=Question(text="And 3?"), answer="nine", targets={}),
]


def quiet(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
    """Report nothing."""


def role_of(system: System) -> str:
    return system.pattern.roles[0]


def readings_of(family: str, **options: Any) -> list[Reading]:
    system = pair(family)
    return role_readings(system, role_of(system), EXAMPLES, **{"positions": "target", "max_length": 2048, **options})


def extract(
    family: str, folder: Path, readings: Sequence[Reading] | None = None, *, report: Any = quiet, **options: Any
) -> States:
    readings = readings_of(family) if readings is None else readings
    return extract_states(backbone(family), readings, folder, Extraction(**options), report=report)


def whole(states: States) -> dict[str, Tensor]:
    """Every pair of every shard, in order."""
    shards = [states.shard(number) for number in range(len(states.counts))]
    return {"h": torch.cat([shard.h_ND for shard in shards]), "ids": torch.cat([shard.ids_N for shard in shards])}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch size of every forward from now on."""
    batches: list[int] = []
    extend = HFBackbone.extend

    def spy(self: HFBackbone, state: State, x_BLD: Tensor, mask_BL: Tensor | None = None) -> tuple[Tensor, State]:
        batches.append(len(x_BLD))
        return extend(self, state, x_BLD, mask_BL)

    monkeypatch.setattr(HFBackbone, "extend", spy)
    return batches


@pytest.mark.parametrize("family", FAMILIES)
def test_states_of_a_batch_equal_those_of_each_text_read_whole(family: str, tmp_path: Path) -> None:
    model = backbone(family)
    h: list[Tensor] = []
    ids: list[int] = []
    for reading in sorted(readings_of(family), key=lambda reading: len(reading.ids)):
        out = model.model(input_ids=torch.tensor([reading.ids]), use_cache=False, output_hidden_states=True)
        h.append(out.hidden_states[-1][0, reading.first : -1])
        ids += reading.ids[reading.first + 1 :]
    states = whole(extract(family, tmp_path))
    assert_close(states["h"], torch.cat(h), tolerance(family))
    assert states["h"].dtype == model.dtype
    assert states["ids"].tolist() == ids


def test_a_target_is_read_from_the_last_prompt_position_to_its_end_token() -> None:
    system = pair("llama")
    role = role_of(system)
    model = backbone("llama")
    example = Example(
        question=Question(text="Why?", context={role: "It rained."}), answer="Wet.", targets={role: "Think of rain."}
    )
    other = Example(question=example.question, answer="Wet.", targets={"nobody": "Think of rain."})
    for each, text in ((example, "Think of rain."), (other, "Wet.")):  # without a role target, the answer
        [reading] = role_readings(system, role, [each], positions="target", max_length=2048)
        prompt = system.render(role, each.question, frozenset())
        assert reading.first == prompt.num_tokens - 1
        assert list(reading.ids[prompt.num_tokens :]) == [*model.encode(text), model.end_id]
        assert reading.num_pairs == len(model.encode(text)) + 1
        assert "It rained." in model.decode(reading.ids)


def test_all_positions_pair_every_state_but_the_last_with_the_token_after_it(tmp_path: Path) -> None:
    readings = readings_of("qwen3", positions="all")
    states = whole(extract("qwen3", tmp_path, readings[:1]))
    assert states["ids"].tolist() == list(readings[0].ids[1:])
    assert len(states["h"]) == len(readings[0].ids) - 1


def test_a_long_text_is_cut_on_the_right_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    plain = readings_of("llama")
    limit = plain[1].first + 4  # three tokens of the second target
    cut = readings_of("llama", max_length=limit)
    assert Reading(plain[1].ids[:limit], plain[1].first) in cut
    assert all(len(reading.ids) <= limit and reading.num_pairs > 0 for reading in cut)
    assert f"cut to {limit} tokens" in caplog.text


def test_prompts_longer_than_the_limit_leave_nothing_to_train_on() -> None:
    with pytest.raises(ConfigError, match=r"max_length: 9 tokens hold no prompt of .*tiny:llama.* Raise max_length"):
        readings_of("llama", max_length=9)


def test_shards_hold_a_fixed_number_of_pairs_and_are_the_same_pairs_for_any_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = whole(extract("llama", tmp_path / "one"))
    total = len(one["ids"])
    several = extract("llama", tmp_path / "several", shard_size=10)
    assert several.counts == (10,) * (total // 10) + (total % 10,)
    assert len(several) == total
    assert all(torch.equal(one[name], tensor) for name, tensor in whole(several).items())
    monkeypatch.setattr(rmas.train.states, "_READ", 150)
    small = whole(extract("llama", tmp_path / "small", shard_size=10))
    assert torch.equal(small["ids"].sort().values, one["ids"].sort().values)
    assert_close(small["h"].sum(0), one["h"].sum(0), tolerance("llama") * total)


def test_whole_shards_are_reused(tmp_path: Path, reads: list[int]) -> None:
    first = extract("llama", tmp_path, shard_size=10)
    before = files(tmp_path)
    reads.clear()
    assert extract("llama", tmp_path, shard_size=10) == first
    assert reads == []
    assert files(tmp_path) == before


class Change(NamedTuple):
    """What differs at the second extraction."""

    family: str = "llama"
    readings: Callable[[list[Reading]], list[Reading]] = list
    options: Mapping[str, Any] = {"shard_size": 10}


@pytest.mark.parametrize(
    "change",
    [
        Change(family="qwen3"),
        Change(readings=lambda readings: readings[:-1]),
        Change(readings=lambda readings: [Reading(reading.ids, reading.first + 1) for reading in readings]),
        Change(options={"shard_size": 11}),
        Change(options={"shard_size": 10, "target": "soft_token"}),
    ],
    ids=["model", "texts", "positions", "size", "target"],
)
def test_shards_of_something_else_are_replaced(tmp_path: Path, reads: list[int], change: Change) -> None:
    extract("llama", tmp_path / "used", shard_size=10)
    reads.clear()
    readings = change.readings(readings_of("llama"))
    states = extract(change.family, tmp_path / "used", readings, **change.options)
    assert reads
    fresh = extract(change.family, tmp_path / "fresh", readings, **change.options)
    assert states.counts == fresh.counts
    assert files(tmp_path / "used") == files(tmp_path / "fresh")


def test_another_temperature_replaces_soft_tokens(tmp_path: Path, reads: list[int]) -> None:
    extract("llama", tmp_path, target="soft_token", tau=1.0)
    reads.clear()
    extract("llama", tmp_path, target="soft_token", tau=0.7)
    assert reads


def truncate(folder: Path) -> None:
    path = folder / "00002.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def zero(folder: Path) -> None:
    """What a power cut can leave: the right size, the wrong content."""
    path = folder / "00002.safetensors"
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))


def delete(folder: Path) -> None:
    (folder / "00002.safetensors").unlink()
    (folder / "00002.partial").write_bytes(b"half")


def garble(folder: Path) -> None:
    (folder / INDEX).write_text('{"key": ', encoding="utf-8")


@pytest.mark.parametrize(("damage", "kept"), [(truncate, 2), (zero, 2), (delete, 2), (garble, 0)])
def test_a_half_written_shard_is_recognised_and_extracted_again(
    tmp_path: Path, damage: Callable[[Path], None], kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    extract("llama", tmp_path, shard_size=10)
    before = files(tmp_path)
    damage(tmp_path)
    ages = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    extract("llama", tmp_path, shard_size=10)
    assert files(tmp_path) == before
    same = [name for name, age in ages.items() if name in before and (tmp_path / name).stat().st_mtime_ns == age]
    assert same == [] if kept == 0 else sorted(same) == ["00000.safetensors", "00001.safetensors"]
    assert "again" in caplog.text


def test_an_extraction_that_was_stopped_goes_on_at_its_last_whole_shard(
    tmp_path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rmas.train.states, "_READ", 150)  # several batches

    def stop(stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if done >= total // 2:
            raise KeyboardInterrupt

    extract("llama", tmp_path / "whole", shard_size=10)
    num_batches = len(reads)
    with pytest.raises(KeyboardInterrupt):
        extract("llama", tmp_path / "stopped", shard_size=10, report=stop)
    reads.clear()
    extract("llama", tmp_path / "stopped", shard_size=10)
    assert 0 < len(reads) < num_batches
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_a_disk_that_fills_up_is_one_line_and_keeps_the_whole_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    def fsync(file: int) -> None:
        nonlocal written
        written += 1
        if written > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(CheckpointError, match=r"00002.safetensors: cannot be written \(No space left") as caught:
            extract("llama", tmp_path / "full", shard_size=10)
    assert "\n" not in str(caught.value)
    assert set(files(tmp_path / "full")) == {"00000.safetensors", "00001.safetensors", INDEX}
    extract("llama", tmp_path / "whole", shard_size=10)
    extract("llama", tmp_path / "full", shard_size=10)
    assert files(tmp_path / "full") == files(tmp_path / "whole")


def test_too_little_room_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[int]
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CheckpointError, match="GiB are free"):
        extract("llama", tmp_path)
    assert reads == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"file/states: cannot be written \(Not a directory\)") as caught:
        extract("llama", tmp_path / "file" / "states")
    assert "\n" not in str(caught.value)


def test_a_shard_that_has_gone_is_one_line(tmp_path: Path) -> None:
    states = extract("llama", tmp_path)
    (tmp_path / "00000.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"00000.safetensors: cannot be read"):
        states.shard(0)


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_targets_are_embeddings_through_the_model_or_stored_soft_tokens(family: str, tmp_path: Path) -> None:
    model = backbone(family)
    pairs = extract(family, tmp_path / "hard").shard(0)
    assert torch.equal(pairs.targets(model), model.embed(pairs.ids_N))  # Gemma scales there
    assert pairs.e_ND is None
    soft = extract(family, tmp_path / "soft", target="soft_token", tau=0.5).shard(0)
    p = (model.logits(soft.h_ND) / 0.5).softmax(-1)
    assert_close(soft.targets(model), model.expected_embedding(p), 1e-9)
    assert_close(soft.targets(model), SoftToken(model, 0.5)(soft.h_ND), 1e-9)
    assert torch.equal(soft.ids_N, pairs.ids_N)


def test_an_epoch_of_batches_visits_every_pair_once_in_a_new_order_each_time(tmp_path: Path) -> None:
    states = extract("llama", tmp_path, shard_size=8)
    states = States(folder=states.folder, counts=states.counts[:-1])  # the last one is shorter
    batches = StateBatches(states, batch_size=4, seed=1)
    assert len(batches) == len(states) // 4

    def rows(epoch: int, source: StateBatches) -> list[Tensor]:
        return [source[epoch * len(source) + step].h_ND for step in range(len(source))]

    everything = whole(states)["h"]
    first, second = rows(0, batches), rows(1, batches)
    for epoch in (first, second):
        assert torch.equal(torch.cat(epoch).sort(0).values, everything.sort(0).values)
    assert not torch.equal(torch.cat(first), torch.cat(second))
    assert not torch.equal(torch.cat(first), torch.cat(rows(0, StateBatches(states, batch_size=4, seed=2))))


def test_a_single_shard_is_shuffled_anew_each_epoch(tmp_path: Path) -> None:
    states = extract("llama", tmp_path)
    batches = StateBatches(states, batch_size=len(states), seed=0)
    epochs = [batches[step].ids_N for step in range(3)]
    assert len({tuple(ids.tolist()) for ids in epochs}) == 3


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    states = extract("llama", tmp_path, shard_size=8)
    walked, jumped = (StateBatches(states, batch_size=3, seed=1) for _ in range(2))
    steps = range(2 * len(walked))
    expected = [walked[step] for step in steps]
    for step in reversed(steps):
        batch = jumped[step]
        assert torch.equal(batch.h_ND, expected[step].h_ND)
        assert torch.equal(batch.ids_N, expected[step].ids_N)


def test_a_shard_smaller_than_a_batch_is_a_batch(tmp_path: Path) -> None:
    states = extract("llama", tmp_path, shard_size=10)
    batches = StateBatches(states, batch_size=64, seed=0)
    assert sorted(len(batches[step].ids_N) for step in range(len(batches))) == sorted(states.counts)


def test_the_index_says_what_the_states_were_made_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    states = extract("llama", tmp_path)
    index = json.loads((tmp_path / INDEX).read_text(encoding="utf-8"))
    assert index["count"] == len(states)
    assert (index["width"], index["dtype"], index["backbone"]) == (32, "torch.float64", "tiny:llama")
    extract("llama", tmp_path, shard_size=10)
    assert "extracting again" in caplog.text
