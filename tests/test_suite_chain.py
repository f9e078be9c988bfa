"""Suites in which one training goes on where another ended."""

import json
from pathlib import Path

import pytest

from rmas.errors import ConfigError
from rmas.suite.config import Suite
from rmas.train.config import AgentConfig
from suite_zoo import LESSONS, TASKS, run, suite_of

MORE = "reasoning_gym:chain_sum?min_terms=2&max_terms=2&min_digits=3&max_digits=3&size=12"
AGENT = f"""\
stage = "agent"
data = "{MORE}"
dev = 0
steps = 1
batch_size = 3
rank = 2
"""
METHODS = f"""
[methods.links]
system = "tiny"
train = {{ stage = "outer", data = "{LESSONS}", dev = 0, steps = 2, batch_size = 2, rounds = 1, latent_steps = 2 }}
tasks = ["sums"]
[methods.tuned]
trained = "links"
tasks = ["sums"]
[methods.tuned.train]
{AGENT}rounds = 2
channel = "latent"
"""
SHUFFLED = "[methods.shuffled]\ntrained = 'tuned'\ncontrol = 'shuffled'\ntasks = ['sums']\n"


def suite(folder: Path, more: str = SHUFFLED) -> Suite:
    return suite_of(folder, f"batch_size = 4\n{TASKS}{METHODS}{more}")


def test_a_training_goes_on_from_anothers_bundle(tmp_path: Path) -> None:
    plan = suite(tmp_path)
    assert [training.method for training in plan.trainings] == ["links", "tuned"]
    outcome = run(plan, tmp_path, only=["*/shuffled*"])
    assert outcome.failed == {}
    assert outcome.done == ("trained/links-seed0", "trained/tuned-seed0", "runs/sums/shuffled-seed0")
    links, tuned = (
        json.loads((tmp_path / f"out/trained/{name}-seed0/trained.json").read_text(encoding="utf-8"))
        for name in ("links", "tuned")
    )
    assert (links["examples"], tuned["examples"]) == (4, 7)
    assert tuned["parameters"] > links["parameters"]
    assert tuned["tflop"] > links["tflop"]
    folders = [tmp_path / f"out/trained/{name}-seed0/links.safetensors" for name in ("links", "tuned")]
    assert folders[0].read_bytes() == folders[1].read_bytes()
    summary = json.loads((tmp_path / "out/runs/sums/shuffled-seed0/summary.json").read_text(encoding="utf-8"))
    assert (summary["config"]["rounds"], summary["config"]["system"]) == (2, "trained/tuned-seed0")
    assert run(plan, tmp_path, only=["*/shuffled*"]) == outcome


def test_links_that_train_again_are_counted_once(tmp_path: Path) -> None:
    facts = []
    for name, more in (("apart", ""), ("joint", "links_lr = 1e-3\n")):
        (tmp_path / name).mkdir()
        outcome = run(suite(tmp_path / name, more + SHUFFLED), tmp_path / name, only=["*/tuned*"])
        assert outcome.failed == {}
        path = tmp_path / name / "out/trained/tuned-seed0/trained.json"
        facts.append(json.loads(path.read_text(encoding="utf-8")))
    assert facts[0]["parameters"] == facts[1]["parameters"]
    assert facts[0]["examples"] == facts[1]["examples"]


def test_a_team_is_asked_with_messages_of_the_length_it_was_tuned_for(tmp_path: Path) -> None:
    for more, steps in (("", 2), ("latent_steps = 1\n", 1)):
        (cell,) = (cell for cell in suite(tmp_path, more + SHUFFLED).cells if cell.method == "tuned")
        assert cell.config.latent_steps == steps


def test_a_base_that_was_trained_anew_is_another(tmp_path: Path) -> None:
    plan = suite(tmp_path)
    run(plan, tmp_path, only=["*/tuned*"])
    trained = tmp_path / "out/trained/links-seed0/trained.json"
    trained.write_text(trained.read_text(encoding="utf-8").replace('"seconds": ', '"seconds": 1'), encoding="utf-8")
    failed = run(plan, tmp_path, only=["*/tuned*"]).failed
    assert "trained/links-seed0 was another system when it was trained on" in failed["trained/tuned-seed0"]


def test_what_the_base_was_trained_on_is_not_asked_either(tmp_path: Path) -> None:
    asks = f"[tasks.lessons]\ntask = '{LESSONS}'\nmax_new_tokens = 4\n"
    asks += "[methods.on]\ntrained = 'tuned'\ntasks = ['lessons']\n"
    failed = run(suite(tmp_path, asks), tmp_path, only=["lessons/*"]).failed
    assert "12 of 12 questions of lessons stand in the training data" in failed["runs/lessons/on-seed0"]


def test_without_its_base_it_is_not_trained(tmp_path: Path) -> None:
    plan = suite(tmp_path, "")
    links, tuned = plan.trainings
    broken = plan.cells[0]._replace(training=links._replace(config=AgentConfig(data="/none.jsonl"), stage="agent"))
    assert broken.training is not None
    cells = (plan.cells[1]._replace(training=tuned._replace(base=broken.training)),)
    outcome = run(Suite(**{**vars(plan), "cells": cells}), tmp_path)
    assert "trained/links-seed0, which is not finished" in outcome.failed["trained/tuned-seed0"]


WRITERS = f"""
[methods.writers]
system = "tiny"
tasks = ["sums"]
[methods.writers.train]
stage = "agent"
data = "{MORE}"
dev = 0
steps = 2
batch_size = 2
rank = 2
rounds = 1
message_tokens = 3
[methods.on]
trained = "writers"
tasks = ["sums"]
[methods.on.train]
{AGENT}"""


@pytest.mark.parametrize(
    ("more", "solver", "tokens"),
    [
        ('rounds = 2\nchannel = "latent"\nlatent_steps = 1\n', "recursive", 8),  # of a cell that is told nothing
        ("rounds = 2\nmessage_tokens = 2\n", "text", 2),
    ],
)
def test_an_adapter_that_trains_again_is_counted_once(tmp_path: Path, more: str, solver: str, tokens: int) -> None:
    plan = suite_of(tmp_path, f"batch_size = 4\n{TASKS}{WRITERS}{more}")
    cells = {cell.label: cell.config for cell in plan.cells}
    assert (cells["writers"].solver, cells["writers"].message_tokens) == ("text", 3)
    assert (cells["on"].solver, cells["on"].message_tokens, cells["on"].rounds) == (solver, tokens, 2)
    outcome = run(plan, tmp_path, only=["*/on*"])
    assert outcome.failed == {}
    writers, on = (
        json.loads((tmp_path / f"out/trained/{name}-seed0/trained.json").read_text(encoding="utf-8"))
        for name in ("writers", "on")
    )
    assert on["parameters"] == writers["parameters"] > 0
    assert (writers["examples"], on["examples"]) == (4, 7)
    assert on["tflop"] > writers["tflop"]


def test_settings_of_a_cell_are_those_of_the_whole_chain(tmp_path: Path) -> None:
    cells = {cell.label: cell.config for cell in suite(tmp_path).cells}
    assert (cells["links"].rounds, cells["tuned"].rounds) == (1, 2)
    assert {cells[name].latent_steps for name in ("links", "tuned", "shuffled")} == {2}
    assert {cells[name].solver for name in cells} == {cells["links"].solver}


def test_methods_that_wait_for_each_other_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"methods\.links\.trained: links on tuned on links: nobody trains first"):
        suite_of(tmp_path, TASKS + METHODS.replace('system = "tiny"', 'trained = "tuned"'))
