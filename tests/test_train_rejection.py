"""Rejection-sampling fine-tuning of text writers: which telling is kept, and what is learned from it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rmas.backbone import add_adapter
from rmas.engine import Sampling, TextChannel
from rmas.errors import CheckpointError, ConfigError
from rmas.solvers import open_solver
from rmas.system import System
from rmas.systemfile import load_spec
from rmas.train.agent import train_agent
from rmas.train.data import Example
from rmas.train.dev import replies
from rmas.train.journal import read_log
from rmas.train.objective import answer_ids, unroll
from rmas.train.rejection import Lessons, draw_lessons
from rmas.train.told import Told
from test_train_told import ROUNDS, SAMPLING, config, plain_nll, team, texts, texts_of
from train_zoo import EXAMPLES, quiet
from zoo import QUESTIONS

SAMPLES = 2


def lessons_of(system: System, folder: Path, examples: tuple[Example, ...] = EXAMPLES) -> Lessons:
    folder.mkdir(exist_ok=True)
    return draw_lessons(
        system,
        examples,
        TextChannel(sampling=SAMPLING),
        folder / "messages.jsonl",
        samples=SAMPLES,
        rounds=ROUNDS,
        batch_size=4,
        max_new_tokens=6,
        report=quiet,
    )


def tellings_of(system: System, folder: Path) -> list[tuple[Told, list[list[str]]]]:
    """Every telling by itself, and what the answerer says to it, round by round: one list an example."""
    folder.mkdir(exist_ok=True)
    samplings = [SAMPLING, *(Sampling(max_new_tokens=6, temperature=1.0, seed=seed) for seed in range(SAMPLES))]
    found = []
    for number, sampling in enumerate(samplings):
        told = Told(TextChannel(sampling=sampling), folder / f"{number}.jsonl")
        told.write(system, EXAMPLES, rounds=ROUNDS, batch_size=4, report=quiet)
        said = replies(system, EXAMPLES, rounds=ROUNDS, channel=told.of(EXAMPLES), max_new_tokens=6)
        found.append((told, [[reply.text.strip() for reply in rows] for rows in said]))
    return found


def answered(system: System, folder: Path) -> tuple[tuple[Example, ...], list[tuple[Told, list[list[str]]]]]:
    """EXAMPLES with answers that make these tellings right: the first drawn one in both rounds, the second in the first
    round alone, the likeliest in both, and none in any."""
    found = tellings_of(system, folder)
    said = [rows for _, rows in found]
    answers = (tuple(said[1][0]), (said[2][1][0], "never said"), tuple(said[0][2]), ("never said", "never said"))
    assert all(all(row) for row in answers)
    return tuple(replace(e, answers=row, answer=row[-1]) for e, row in zip(EXAMPLES, answers, strict=True)), found


def test_the_telling_is_kept_after_which_most_rounds_in_a_row_are_answered_rightly(tmp_path: Path) -> None:
    system = team(tmp_path)
    examples, found = answered(system, tmp_path / "plain")
    rights = []
    for _, said in found:
        for_each = []
        for example, rows in zip(examples, said, strict=True):
            right = [text == example.answer_in(r) for r, text in enumerate(rows, 1)]
            for_each.append([*right, False].index(False))
        rights.append(for_each)
    best = [max(range(len(found)), key=lambda k: rights[k][place]) for place in range(len(examples))]
    assert [rights[k][place] for place, k in enumerate(best)] == [2, 1, 2, 0]
    assert best[0] == 1  # a drawn one, where the likeliest messages end wrongly
    assert best[3] == 0
    lessons = lessons_of(system, tmp_path / "ours", examples)
    assert [lessons.right[e.key] for e in examples] == [2, 1, 2, 0]
    for example, old, k in zip(examples, EXAMPLES, best, strict=True):
        assert texts_of(lessons.told, example) == texts_of(found[k][0], old)


def test_the_gradients_are_those_of_the_plain_way(tmp_path: Path) -> None:
    """Messages up to the first wrong answer, and the right answer in the place of that one, or the last."""
    system = team(tmp_path)
    examples, _ = answered(system, tmp_path / "plain")
    lessons = lessons_of(system, tmp_path / "ours", examples)
    backbone = system.backbones["toolcaller"]
    parameters = add_adapter(backbone, rank=4, alpha=8, seed=0)
    draw = torch.Generator().manual_seed(1)
    for parameter in parameters.values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
    plain = []
    for example, right in zip(examples, (2, 1, 2, 0), strict=True):
        said = texts_of(lessons.told, example)
        learned = [turn for turn in said if int(turn[0]) <= right]
        last = min(right + 1, ROUNDS)
        losses = [
            plain_nll(system, said, example, turn, (*backbone.encode(said[turn]), backbone.end_id)[:6])
            for turn in learned
        ]
        answer = answer_ids(backbone, example, last)
        losses.append(plain_nll(system, said, example, f"{last} toolcaller", answer))
        assert len(losses) == {2: 4, 1: 3, 0: 1}[right]
        plain.append(torch.stack(losses).mean())
    expected = torch.autograd.grad(torch.stack(plain).mean(), list(parameters.values()))
    channel = lessons.of(examples, backbone)
    done = channel.joined(unroll(system, examples, rounds=ROUNDS, channel=channel, earlier_weight=1.0, graded=True))
    assert torch.allclose(done.nll_RB, torch.stack(plain)[None], rtol=1e-6)
    done.nll_RB.mean().backward()
    for parameter, gradient in zip(parameters.values(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-5, atol=1e-8)


def test_what_was_judged_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = team(tmp_path)
    examples, _ = answered(system, tmp_path / "plain")
    first = lessons_of(system, tmp_path / "ours", examples)
    monkeypatch.setattr("rmas.train.rejection.replies", None)
    again = lessons_of(system, tmp_path / "ours", examples)
    assert again.right == first.right
    assert again.cost == first.cost
    assert texts(again.told) == texts(first.told)
    assert first.cost.operations > sum(
        told.cost(EXAMPLES).operations for told, _ in tellings_of(system, tmp_path / "t")
    )
    (tmp_path / "ours" / "messages-kept.json").write_text("[]", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"messages-kept.json: cannot be read .* Delete it"):
        lessons_of(system, tmp_path / "ours", examples)


def test_a_writer_of_another_model_stays_as_it_was(tmp_path: Path) -> None:
    system = team(tmp_path)
    examples, _ = answered(system, tmp_path / "plain")
    lessons = lessons_of(system, tmp_path / "ours", examples)
    channel = lessons.of(examples, team(tmp_path / "other").backbones["toolcaller"])
    done = unroll(system, examples, rounds=ROUNDS, channel=channel, earlier_weight=1.0)
    assert channel.losses == []
    last = [min(right + 1, ROUNDS) - 1 for right in channel.right]
    assert torch.equal(channel.joined(done).nll_RB[0], done.nll_RB[last, range(len(last))])


def test_a_training_learns_and_is_a_text_team_whose_writers_are_tuned(tmp_path: Path) -> None:
    settings = config(tmp_path, shared=True, rejection_samples=SAMPLES, dev=2, dev_batch=2)
    result = train_agent(team(tmp_path), settings, tmp_path / "out", resume=False, report=quiet)
    losses = [line["loss"] for line in read_log(tmp_path / "out") if line["event"] == "step"]
    assert result.is_complete
    assert losses[-1] < losses[0]
    assert len(list((tmp_path / "out").glob("messages-0*.jsonl"))) == 1 + SAMPLES
    spec = load_spec(str(tmp_path / "out"))
    assert (spec.solver, spec.rounds) == ("text", ROUNDS)
    assert open_solver(str(tmp_path / "out"), dtype="float64").solve(QUESTIONS[:1])[0].samples
    assert "2 drawn" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "changes",
    [
        {"rejection_samples": -1, "shared": True},
        {"rejection_samples": 2},
        {"rejection_samples": 2, "shared": True, "channel": "latent"},
    ],
)
def test_samples_out_of_place_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"rejection_samples is .*, expected 0, or more beside shared"):
        config(tmp_path, **changes)
