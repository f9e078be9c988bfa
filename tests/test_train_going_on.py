"""Training that goes on from a bundle's adapter: where it starts, who writes meanwhile, and what it leaves."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rmas.backbone.adapter import WEIGHTS
from rmas.engine import LatentChannel, TextChannel
from rmas.errors import BackboneError, CheckpointError, ConfigError
from rmas.solvers import open_solver
from rmas.system import System, load_system
from rmas.systemfile import load_spec
from rmas.train.agent import AgentTrainer, train_agent
from rmas.train.config import AgentConfig
from rmas.train.data import Split, load_examples
from rmas.train.journal import read_log
from rmas.train.objective import unroll
from rmas.train.resolve import spec_for
from rmas.train.team import join_team
from rmas.train.told import Told
from test_train_told import ROUNDS, SAMPLING, config, team
from train_zoo import EXAMPLES, cut_at, quiet, same_weights
from zoo import QUESTIONS

STEPS = 2
IN_TEAM = "toolcaller in its team"  # the stage that reports its steps


def latent(folder: Path, **changes: Any) -> AgentConfig:
    return config(folder, channel="latent", latent_steps=STEPS, **changes)


def begun(folder: Path, **changes: Any) -> Path:
    """A bundle of text writers, whose adapter training can go on from."""
    out = folder / "begun"
    settings = config(folder, **{"shared": True, "rejection_samples": 1, "steps": 2, **changes})
    train_agent(team(folder), settings, out, resume=False, report=quiet)
    return out


def opened(bundle: Path, settings: AgentConfig) -> System:
    """What `rmas train agent` loads."""
    spec = spec_for(settings, load_spec(str(bundle)))
    return load_system(spec, cache=bundle.parent / "cache", dtype="float64")


def loaded(bundle: Path) -> System:
    return load_system(str(bundle), cache=bundle.parent / "cache", dtype="float64")


@pytest.mark.parametrize("shared", [True, False])
def test_it_starts_from_what_the_bundle_is(tmp_path: Path, shared: bool) -> None:
    bundle, settings = begun(tmp_path), latent(tmp_path, shared=shared)
    system, channel = opened(bundle, settings), LatentChannel(latent_steps=STEPS)
    fresh = unroll(system, EXAMPLES, rounds=ROUNDS, channel=channel, graded=False).nll_RB
    trainer = AgentTrainer(system, settings, Split(EXAMPLES, ()), team=join_team())
    kept = load_file(bundle / "adapter" / WEIGHTS)
    parameters = trainer.release()
    assert len(parameters) == len(kept) > 0
    whole = loaded(bundle)
    found, expected = (
        unroll(each, EXAMPLES, rounds=ROUNDS, channel=channel, graded=False).nll_RB for each in (system, whole)
    )
    assert torch.allclose(found, expected, atol=1e-6)
    if shared:
        assert (found - fresh).abs().max() > 1e-3


def test_latents_go_on_from_text_and_leave_a_bundle_that_answers_so(tmp_path: Path) -> None:
    bundle, out = begun(tmp_path), tmp_path / "out"
    settings = latent(tmp_path, shared=True, links_lr=1e-3)
    assert load_spec(str(bundle)).solver == "text"
    system = opened(bundle, settings)
    assert system.backbones["reflector"] is system.backbones["toolcaller"]
    before = loaded(bundle)
    train_agent(system, settings, out, resume=False, report=quiet)
    spec = load_spec(str(out))
    assert (spec.solver, spec.rounds, spec.latent_steps) == ("recursive", ROUNDS, STEPS)
    assert [entry.adapter for entry in spec.roles.values()] == [out / "adapter"] * 2
    channel, again = LatentChannel(latent_steps=STEPS), loaded(out)
    found, expected, old = (
        unroll(each, EXAMPLES, rounds=ROUNDS, channel=channel, graded=False).nll_RB for each in (again, system, before)
    )
    assert torch.allclose(found, expected, atol=1e-6)
    assert found[-1].mean() < old[-1].mean()
    assert open_solver(str(out), dtype="float64").solve(QUESTIONS)[0].trace.usage.latent_steps > 0
    assert "It went on from an adapter that was trained before." in (out / "README.md").read_text(encoding="utf-8")


def test_what_goes_on_to_train_writes_as_it_is(tmp_path: Path) -> None:
    bundle, out = begun(tmp_path), tmp_path / "out"
    settings = config(tmp_path, shared=True, rejection_samples=1, message_tokens=6, steps=2)
    train_agent(opened(bundle, settings), settings, out, resume=False, report=quiet)
    told = [json.loads(line) for line in (out / "messages-0.jsonl").read_text(encoding="utf-8").splitlines()]
    written = {(turn, key): text for turn, key, text, *_ in told}
    met = [example for example in load_examples(settings, roles=()) if ("1 reflector", example.key) in written]
    assert len(written) == len({example.key for example in met}) * (2 * ROUNDS - 1) > 0  # the last turn answers
    texts = []
    for number, system in enumerate((loaded(bundle), team(tmp_path))):
        again = Told(TextChannel(sampling=SAMPLING), tmp_path / f"{number}.jsonl")
        again.write(system, met, rounds=ROUNDS, batch_size=4, report=quiet)
        texts.append({spot: said.text for spot, said in again.said.items()})
    assert texts[0] == written != texts[1]


def test_the_answerer_alone_goes_on_and_its_team_stays(tmp_path: Path) -> None:
    bundle, out = begun(tmp_path), tmp_path / "out"
    settings = latent(tmp_path)
    system = opened(bundle, settings)
    assert system.backbones["reflector"] is not system.backbones["toolcaller"]
    train_agent(system, settings, out, resume=False, report=quiet)
    adapters = {role: entry.adapter for role, entry in load_spec(str(out)).roles.items()}
    assert adapters == {"toolcaller": out / "adapter", "reflector": bundle / "adapter"}
    channel = LatentChannel(latent_steps=STEPS)
    found, expected = (
        unroll(each, EXAMPLES, rounds=ROUNDS, channel=channel, graded=False).nll_RB for each in (loaded(out), system)
    )
    assert torch.allclose(found, expected, atol=1e-6)


def test_an_answerer_whose_team_never_trained_goes_on_apart_from_it(tmp_path: Path) -> None:
    bundle = begun(tmp_path, shared=False, rejection_samples=0)
    settings = config(tmp_path, message_tokens=6)
    trainer = AgentTrainer(opened(bundle, settings), settings, Split(EXAMPLES, ()), team=join_team())
    assert trainer.system.backbones["reflector"] is not trainer.system.backbones["toolcaller"]


@pytest.mark.parametrize("changes", [{"channel": "latent", "latent_steps": STEPS}, {"rejection_samples": 1}])
def test_it_is_resumed_to_the_bit_and_on_no_other_start(tmp_path: Path, changes: dict[str, Any]) -> None:
    bundle = begun(tmp_path)
    settings = config(tmp_path, shared=True, steps=3, save_every=1, **changes)

    def train(folder: str, **how: Any) -> None:
        train_agent(opened(bundle, settings), settings, tmp_path / folder, **{"resume": False, "report": quiet, **how})

    train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("cut", report=cut_at(2, IN_TEAM))
    train("cut", resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "cut")
    assert [line["step"] for line in read_log(tmp_path / "cut") if line["event"] == "step"] == [1, 2, 3]

    with pytest.raises(KeyboardInterrupt):
        train("other", report=cut_at(2, IN_TEAM))
    kept = load_file(bundle / "adapter" / WEIGHTS)
    save_file({name: 2 * tensor for name, tensor in kept.items()}, bundle / "adapter" / WEIGHTS)
    with pytest.raises(CheckpointError, match="other"):
        train("other", resume=True)


# What is refused


@pytest.mark.parametrize(("changes", "told"), [({"rank": 8}, "Say rank = 4"), ({"alpha": 64}, "Say alpha = 32")])
def test_another_rank_or_scale_is_one_line(tmp_path: Path, changes: dict[str, int], told: str) -> None:
    bundle, settings = begun(tmp_path), latent(tmp_path, shared=True, **changes)
    with pytest.raises(ConfigError, match=rf"(rank|alpha) is .*goes on from .*adapter, which has .*\. {told}\.$"):
        train_agent(opened(bundle, settings), settings, tmp_path / "out", resume=False, report=quiet)
    assert not (tmp_path / "out").exists()


def test_an_adapter_of_other_maps_is_one_line(tmp_path: Path) -> None:
    bundle, settings = begun(tmp_path), latent(tmp_path, shared=True)
    kept = load_file(bundle / "adapter" / WEIGHTS)
    save_file(dict(list(kept.items())[2:]), bundle / "adapter" / WEIGHTS)
    with pytest.raises(BackboneError, match=r"cannot be trained on \(.* is missing, expected .*\)\. Train a fresh one"):
        train_agent(opened(bundle, settings), settings, tmp_path / "out", resume=False, report=quiet)


def test_an_adapter_that_nothing_tells_of_is_one_line(tmp_path: Path) -> None:
    bundle, settings = begun(tmp_path), latent(tmp_path, shared=True)
    (bundle / "adapter" / "adapter_config.json").unlink()
    with pytest.raises(BackboneError, match=r"adapter_config\.json: cannot be read"):
        train_agent(opened(bundle, settings), settings, tmp_path / "out", resume=False, report=quiet)


def test_an_adapter_that_was_cut_short_is_one_line(tmp_path: Path) -> None:
    bundle, settings = begun(tmp_path), latent(tmp_path, shared=True)
    path = bundle / "adapter" / WEIGHTS
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BackboneError, match=r"adapter .*adapter: cannot be read \(.*\)\. Get the folder again"):
        train_agent(opened(bundle, settings), settings, tmp_path / "out", resume=False, report=quiet)
    path.unlink()
    with pytest.raises(BackboneError, match=r"no adapter_model\.safetensors there"):
        train_agent(opened(bundle, settings), settings, tmp_path / "more", resume=False, report=quiet)


def test_who_has_the_model_without_the_adapter_is_not_given_it(tmp_path: Path) -> None:
    bundle = begun(tmp_path, shared=False, rejection_samples=0)
    with pytest.raises(ConfigError, match=r"reflector has the model of toolcaller without its adapter.*Leave shared"):
        spec_for(latent(tmp_path, shared=True), load_spec(str(bundle)))


def test_all_weights_do_not_go_on_from_an_adapter(tmp_path: Path) -> None:
    bundle, settings = begun(tmp_path), config(tmp_path, method="full")
    with pytest.raises(ConfigError, match=r"toolcaller has an adapter already.*train on the model itself"):
        train_agent(opened(bundle, settings), settings, tmp_path / "out", resume=False, report=quiet)


def test_a_system_without_an_adapter_is_what_it_was(tmp_path: Path) -> None:
    team(tmp_path)
    spec = load_spec(str(tmp_path / "team.toml"))
    assert spec_for(latent(tmp_path, shared=True), spec) == spec
    assert spec_for(latent(tmp_path), replace(spec, roles={})) == replace(spec, roles={})
