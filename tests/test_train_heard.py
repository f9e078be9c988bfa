"""The agent stage behind latents: the answerer alone changes, and what it hears has no gradient."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from rmas.backbone import add_adapter
from rmas.conversation import Slot
from rmas.engine import Clip, LastTurn, LatentChannel, run
from rmas.solvers import open_solver
from rmas.system import System, load_system
from rmas.systemfile import load_spec
from rmas.train.agent import train_agent
from rmas.train.config import AgentConfig
from rmas.train.data import Example
from rmas.train.heard import HeardChannel
from rmas.train.journal import read_log
from rmas.train.objective import answer_ids, unroll
from rmas.train.outer import trainable
from rmas.train.run import Run, units
from rmas.train.team import Team
from test_train_told import config, team
from train_zoo import EXAMPLES, cut_at, quiet, same_weights
from zoo import QUESTIONS

ROUNDS, STEPS = 2, 3


def latent(folder: Path, **changes: Any) -> AgentConfig:
    return config(folder, **{"channel": "latent", "rounds": ROUNDS, **changes})


def tuned_team(folder: Path, *, shared: bool = False) -> tuple[System, Mapping[str, torch.nn.Parameter]]:
    """A team whose answerer (or whose model) has an adapter that does something, and its numbers."""
    system = team(folder)
    if not shared:
        system.set_apart("toolcaller")
    parameters = add_adapter(system.backbones["toolcaller"], rank=4, alpha=8, seed=0)
    draw = torch.Generator().manual_seed(1)
    for parameter in parameters.values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
    return system, parameters


def plain_nll(system: System, *, graded: bool = False) -> torch.Tensor:
    """Every example's loss, longhand: latents thought without a cache or (unless `graded`) a gradient, then one forward
    a row."""
    heard: list[LastTurn] = []
    channel = LatentChannel(latent_steps=STEPS, cached=False)
    questions = [example.question for example in EXAMPLES]
    with torch.set_grad_enabled(graded):
        run(system, questions, rounds=ROUNDS, channel=channel, speak=heard.append, share_heads=False)
    backbone, losses = system.backbones["toolcaller"], []
    for row, example in enumerate(EXAMPLES):
        prompt = system.render("toolcaller", example.question, frozenset({"reflector"}))
        ids = answer_ids(backbone, example, 1)
        blocks = [
            heard[0].inbox["reflector"][row] if isinstance(part, Slot) else backbone.embed(torch.tensor(part))
            for part in (prompt.head, *prompt.body, ids[:-1])
        ]
        h_1LD, _ = backbone.extend(backbone.start(cached=False), torch.cat(blocks)[None])
        losses.append(cross_entropy(backbone.logits(h_1LD[0, -len(ids) :]), torch.tensor(ids)))
    return torch.stack(losses)


def test_the_gradients_are_those_of_the_plain_way(tmp_path: Path) -> None:
    system, parameters = tuned_team(tmp_path)
    plain = plain_nll(system)
    expected = torch.autograd.grad(plain.mean(), list(parameters.values()))
    channel = HeardChannel(system.channel(STEPS))
    done = unroll(system, EXAMPLES, rounds=ROUNDS, channel=channel, graded=True)
    assert torch.allclose(done.nll_RB[-1], plain, rtol=1e-6)
    done.nll_RB[-1].mean().backward()
    assert max(float(gradient.abs().max()) for gradient in expected) > 1e-3
    for parameter, gradient in zip(parameters.values(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-5, atol=1e-8)
    assert all(parameter.grad is None for parameter in system.parameters())  # the links


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_where_more_trains_gradients_go_through_all_that_is_thought(
    tmp_path: Path, checkpointed: bool, shared: bool
) -> None:
    system, adapter = tuned_team(tmp_path, shared=shared)
    parameters = [*adapter.values(), *trainable(system, rounds=2).values()]
    expected = torch.autograd.grad(plain_nll(system, graded=True).mean(), parameters)
    channel = system.channel(STEPS, checkpointed=checkpointed)
    done = unroll(system, EXAMPLES, rounds=ROUNDS, channel=channel, graded=True)
    done.nll_RB[-1].mean().backward()
    assert all(float(gradient.abs().max()) > 1e-6 for gradient in expected[len(adapter) :])
    for parameter, gradient in zip(parameters, expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-5, atol=1e-8)
    assert all(parameter.grad is None for link in system.inner.values() for parameter in link.parameters())
    without = torch.autograd.grad(plain_nll(system).mean(), list(adapter.values()))
    pairs = zip(adapter.values(), without, strict=True)
    assert not all(p.grad is not None and torch.allclose(p.grad, gradient) for p, gradient in pairs)  # nothing is idle


@pytest.mark.parametrize("checkpointed", [False, True])
def test_what_a_latent_passes_back_is_clipped_question_by_question(tmp_path: Path, checkpointed: bool) -> None:
    system, adapter = tuned_team(tmp_path, shared=True)
    parameters = [*adapter.values(), *trainable(system, rounds=2).values()]
    sizes: list[float] = []
    clips: list[Clip] = []
    limit = 1e-2

    def by_hand(link: torch.nn.Module, given: object, z_BD: torch.Tensor) -> None:
        def slope(gradient: torch.Tensor) -> torch.Tensor:
            rows = []
            for g_D, z_D in zip(gradient, z_BD.detach(), strict=True):
                sizes.append(float(g_D.norm() * z_D.norm()) * len(EXAMPLES))
                rows.append(g_D * min(1.0, limit / sizes[-1]) if sizes[-1] else g_D)
            return torch.stack(rows)

        if z_BD.requires_grad:
            z_BD.register_hook(slope)

    hooks = [link.register_forward_hook(by_hand) for link in system.inner.values()]
    expected = torch.autograd.grad(plain_nll(system, graded=True).mean(), parameters)
    for hook in hooks:
        hook.remove()
    assert 0 < sum(size > limit for size in sizes) < len(sizes)  # some are clipped, and some are not

    def found(examples: Sequence[Example], clip: float) -> list[torch.Tensor]:
        clips.append(Clip(clip / len(EXAMPLES)))
        channel = system.channel(STEPS, checkpointed=checkpointed, clip=clips[-1])
        done = unroll(system, examples, rounds=ROUNDS, channel=channel, graded=True)
        return list(torch.autograd.grad(done.nll_RB[-1].sum() / len(EXAMPLES), parameters))

    def alike(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
        return all(torch.allclose(one, other, rtol=1e-5, atol=1e-8) for one, other in zip(some, others, strict=True))

    together = found(EXAMPLES, limit)
    assert alike(together, expected)
    passed = [size for size in sizes if size]
    assert clips[0].share == pytest.approx(sum(size > limit for size in passed) / len(passed))
    apart = [found([example], limit) for example in EXAMPLES]  # no question's share depends on its batch
    assert alike([torch.stack(parts).sum(0) for parts in zip(*apart, strict=True)], expected)
    assert not alike(found(EXAMPLES, 1e9), expected)
    assert clips[-1].share == 0


def test_links_that_train_with_it_change_at_a_rate_of_their_own(tmp_path: Path) -> None:
    system, out = team(tmp_path), tmp_path / "out"
    before = {name: tensor.clone() for name, tensor in system.state_dict().items()}
    sizes = units(trainable(team(tmp_path / "fresh"), rounds=2))
    settings = latent(tmp_path, links_lr=1e-3, steps=1, dev=0)
    result = train_agent(system, settings, out, resume=False, report=quiet)
    after = load_system(load_spec(str(out)), cache=tmp_path / "cache", dtype="float64").state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("inner."))
    for name, size in sizes.items():  # the first step of Adam is as long as its rate
        assert float((after[name] - before[name]).abs().max()) == pytest.approx(1e-3 * size, rel=1e-2), name
    assert result.num_links == sum(before[name].numel() for name in sizes) < result.num_parameters
    assert "trained with it, at 0.001 of their size" in (out / "README.md").read_text(encoding="utf-8")


def test_who_shares_the_answerers_model_stays_as_it_was(tmp_path: Path) -> None:
    system, fresh = team(tmp_path), team(tmp_path / "fresh")
    train_agent(system, latent(tmp_path), tmp_path / "out", resume=False, report=quiet)
    tuned, other = (system.backbones[role].model.state_dict() for role in ("toolcaller", "reflector"))
    before = fresh.backbones["reflector"].model.state_dict()
    assert all(torch.equal(other[name], before[name]) for name in before)
    assert any(not torch.equal(tuned[name], before[name]) for name in before)


def test_a_bundle_answers_as_the_team_in_which_it_was_trained(tmp_path: Path) -> None:
    system, out = team(tmp_path), tmp_path / "out"
    links = {name: tensor.clone() for name, tensor in system.state_dict().items()}
    result = train_agent(system, latent(tmp_path), out, resume=False, report=quiet)
    losses = [line["loss"] for line in read_log(out) if line["event"] == "step"]
    assert result.is_complete
    assert losses[-1] < losses[0]
    spec = load_spec(str(out))
    assert (spec.solver, spec.rounds) == (load_spec(str(tmp_path / "team.toml")).solver, ROUNDS)
    again = load_system(spec, cache=tmp_path / "cache", dtype="float64")
    assert again.notes == ()  # these are the weights that the manifest tells of
    assert all(torch.equal(tensor, links[name]) for name, tensor in again.state_dict().items())
    found, expected = (
        unroll(each, EXAMPLES, rounds=ROUNDS, channel=each.channel(STEPS), graded=True).nll_RB[-1]
        for each in (again, system)
    )
    assert torch.allclose(found, expected, atol=1e-6)
    before, after = (
        [answer.text for answer in open_solver(name, dtype="float64").solve(QUESTIONS)]
        for name in (str(tmp_path / "team.toml"), str(out))
    )
    assert after != before
    assert "it read 2 rounds of latents" in (out / "README.md").read_text(encoding="utf-8")


def test_constants_beside_links_that_train_keep_a_rate_of_their_own() -> None:
    names = ("outer.a.message_MD", "outer.b.w", "adapter")
    parameters = {name: torch.nn.Parameter(torch.full((2, 2), 3.0)) for name in names}
    settings = AgentConfig(data="x", rounds=1, channel="latent", lr=0.5, links_lr=0.25, constant_lr=2.0)
    run = Run(parameters, settings, Team(), "", dict.fromkeys(names[:2], 0.25))
    assert [unit * settings.lr for unit in run.units.values()] == [6.0, 0.75, 0.5]


def test_a_model_that_is_shared_trains_wherever_it_is(tmp_path: Path) -> None:
    system, out = team(tmp_path), tmp_path / "out"
    settings = latent(tmp_path, shared=True, curriculum=((0, 1, 2), (4, ROUNDS, STEPS)))
    train_agent(system, settings, out, resume=False, report=quiet)
    assert system.backbones["reflector"] is system.backbones["toolcaller"]
    spec = load_spec(str(out))
    assert [entry.adapter for entry in spec.roles.values()] == [out / "adapter"] * 2
    again = load_system(spec, cache=tmp_path / "cache", dtype="float64")
    found, expected = (
        unroll(each, EXAMPLES, rounds=ROUNDS, channel=each.channel(STEPS), graded=True).nll_RB[-1]
        for each in (again, system)
    )
    assert torch.allclose(found, expected, atol=1e-6)
    assert "All agents with this model are tuned" in (out / "README.md").read_text(encoding="utf-8")


def test_a_length_of_messages_is_what_trains_is_measured_and_is_in_the_bundle(tmp_path: Path) -> None:
    """As in a system whose file names it, and not as in the system's own."""
    figures = {}
    for name, own, length in (("plain", 3, None), ("shorter", 3, 1), ("file", 1, None)):
        team(tmp_path / name)
        file = tmp_path / name / "team.toml"
        file.write_text(f"latent_steps = {own}\n{file.read_text(encoding='utf-8')}", encoding="utf-8")
        system = load_system(str(file), cache=tmp_path / "cache", dtype="float64")
        settings = latent(tmp_path, steps=2, dev=2, dev_every=1, latent_steps=length)
        train_agent(system, settings, tmp_path / name / "out", resume=False, report=quiet)
        figures[name] = [line["loss"] for line in read_log(tmp_path / name / "out") if "loss" in line]
    assert figures["shorter"] == figures["file"]
    assert all(ours != plain for ours, plain in zip(figures["shorter"], figures["plain"], strict=True))
    assert [load_spec(str(tmp_path / name / "out")).latent_steps for name in figures] == [3, 1, 1]


def test_a_curriculum_is_what_its_steps_unroll(tmp_path: Path) -> None:
    losses, steps = [], team(tmp_path).spec.latent_steps
    for name, changes in (("plain", {"rounds": 1}), ("curriculum", {"curriculum": ((0, 1, steps), (2, ROUNDS, 2))})):
        settings = latent(tmp_path, **{"steps": 3, "dev": 0, **changes})
        train_agent(team(tmp_path), settings, tmp_path / name, resume=False, report=quiet)
        losses.append([line["loss"] for line in read_log(tmp_path / name) if line["event"] == "step"])
    assert losses[0][:2] == losses[1][:2]
    assert losses[0][2] != losses[1][2]


def test_all_weights_can_be_trained_behind_latents(tmp_path: Path) -> None:
    settings = latent(tmp_path, method="full", steps=2)
    train_agent(team(tmp_path), settings, tmp_path / "out", resume=False, report=quiet)
    assert open_solver(str(tmp_path / "out")).solve(QUESTIONS[:1])[0].samples


def test_links_are_kept_in_the_dtype_that_is_asked_for(tmp_path: Path) -> None:
    settings = latent(tmp_path, steps=1, save_dtype="bfloat16")
    train_agent(team(tmp_path), settings, tmp_path / "out", resume=False, report=quiet)
    links = load_file(tmp_path / "out" / "links.safetensors")
    assert {tensor.dtype for tensor in links.values()} == {torch.bfloat16}
    assert open_solver(str(tmp_path / "out")).solve(QUESTIONS[:1])[0].samples


def test_the_losses_of_earlier_rounds_count_as_much_as_they_are_told_to(tmp_path: Path) -> None:
    first = []
    for name, changes in (("last", {}), ("both", {"earlier_weight": 1.0}), ("one", {"rounds": 1})):
        settings = latent(tmp_path, **{"steps": 1, "dev": 0, "shared": True, **changes})
        train_agent(team(tmp_path), settings, tmp_path / name, resume=False, report=quiet)
        first += [line["loss"] for line in read_log(tmp_path / name) if line["event"] == "step"]
    last, both, one = first
    assert both == pytest.approx((last + one) / 2)
    assert last != pytest.approx(one)


@pytest.mark.parametrize("links_lr", [None, 1e-2])
def test_a_training_that_was_cut_off_ends_with_the_same_bits(tmp_path: Path, links_lr: float | None) -> None:
    settings = latent(
        tmp_path, steps=3, batch_size=2, save_every=2, dev=2, dev_batch=2, links_lr=links_lr, checkpointed=False
    )
    train_agent(team(tmp_path), settings, tmp_path / "whole", resume=False, report=quiet)

    with pytest.raises(KeyboardInterrupt):
        train_agent(team(tmp_path), settings, tmp_path / "cut", resume=False, report=cut_at(3))
    train_agent(team(tmp_path), settings, tmp_path / "cut", resume=True, report=quiet)
    assert same_weights(tmp_path / "whole", tmp_path / "cut")
