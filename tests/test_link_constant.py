"""Outer links with a learned constant beside them: message = link(thought) + constant."""

from pathlib import Path

import pytest
import torch

from rmas.engine import LatentChannel
from rmas.errors import CheckpointError, ConfigError, LinkError
from rmas.link import LINKS, ConstantMessage, Link, count_parameters, hush
from rmas.system import System, load_system
from rmas.train.objective import outer_loss
from rmas.train.outer import take_constants, trainable
from rmas.train.run import units
from train_zoo import EXAMPLES, PAIR, WORDS, gradients
from zoo import assert_close, noise, tiny_system


@pytest.mark.parametrize("design", LINKS)
def test_the_constant_is_added_step_by_step(design: str) -> None:
    link = Link(f"{design}+constant", "outer", 6, 4, latent_steps=3).double()
    plain = Link(design, "outer", 6, 4).double()
    plain.load_state_dict({name: value for name, value in link.state_dict().items() if name != "message_MD"})
    assert link.message_MD is not None
    torch.nn.init.normal_(link.message_MD)
    for steps in (1, 3):
        x = noise(2, steps, 6)
        assert_close(link(x), plain(x) + link.message_MD[:steps], 1e-12)
    with pytest.raises(LinkError, match="a constant of 3 vectors does not last for 4 latent steps"):
        link(noise(2, 4, 6))


@pytest.mark.parametrize("design", LINKS)
def test_its_parameters_are_counted(design: str) -> None:
    plain = count_parameters(design, "outer", 6, 4)
    assert count_parameters(f"{design}+constant", "outer", 6, 4, latent_steps=3) == plain + 12


def test_an_inner_link_has_none() -> None:
    with pytest.raises(LinkError, match="only an outer link has a constant beside it"):
        Link("linear+constant", "inner", 6, 6)


@pytest.mark.parametrize("design", LINKS)
def test_a_hushed_link_says_a_tenth_of_what_it_would(design: str) -> None:
    link = Link(design, "outer", 6, 4).double()
    x = noise(2, 3, 6)
    before = link(x).detach()
    hush(link)
    assert_close(link(x), before / 10, 1e-9)


def system_file(folder: Path, outer: str, name: str) -> System:
    (folder / f"{name}.toml").write_text(PAIR.replace('start = "identity"', f'start = "identity"\nouter = "{outer}"'))
    (folder / "words.toml").write_text(WORDS)
    return load_system(str(folder / f"{name}.toml"), cache=folder / "cache")


def test_such_a_system_starts_like_its_constant_and_trains_both(tmp_path: Path) -> None:
    system = system_file(tmp_path, "linear+constant", "both")
    constant = system_file(tmp_path, "constant", "alone")
    for name, link in system.outer.items():
        ours, theirs = link.message_MD, constant.outer[name].message_MD
        assert isinstance(ours, torch.Tensor)
        assert isinstance(theirs, torch.Tensor)
        assert torch.equal(ours, theirs)
    outer_loss(system, EXAMPLES[:2], rounds=1, channel=LatentChannel(latent_steps=2)).sum().backward()
    names = gradients(system).keys()
    assert {"outer.reflector->toolcaller.message_MD", "outer.reflector->toolcaller.proj1.weight"} <= names


def test_the_units_of_link_and_constant_are_their_own() -> None:
    system = tiny_system("deliberation", ["llama"], outer="linear+constant")
    for link in system.outer.values():
        assert isinstance(link, Link)
        link.message_MD = torch.nn.Parameter(torch.full((2, link.d_out), 0.5, dtype=torch.float64))
    found = units(trainable(system, rounds=2))
    assert found["outer.reflector->toolcaller.message_MD"] == pytest.approx(0.5)
    weight = system.state_dict()["outer.reflector->toolcaller.proj1.weight"]
    assert found["outer.reflector->toolcaller.proj1.weight"] == pytest.approx(float(weight.square().mean().sqrt()))


def test_constants_are_taken_from_a_bundle_of_the_same_edges(tmp_path: Path) -> None:
    from rmas.checkpoint import save_system

    constant = system_file(tmp_path, "constant", "alone")
    for link in constant.outer.values():
        assert isinstance(link, ConstantMessage)
        torch.nn.init.normal_(link.message_MD)
    save_system(constant, tmp_path / "bundle")
    system = system_file(tmp_path, "linear+constant", "both")
    before = system.state_dict()["outer.reflector->toolcaller.proj1.weight"].clone()
    take_constants(system, tmp_path / "bundle")
    for name, link in system.outer.items():
        found, expected = link.message_MD, constant.outer[name].message_MD
        assert isinstance(found, torch.Tensor)
        assert isinstance(expected, torch.Tensor)
        assert_close(found, expected, 1e-6)
    assert torch.equal(system.state_dict()["outer.reflector->toolcaller.proj1.weight"], before)


def test_constants_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    from rmas.checkpoint import save_system

    plain = system_file(tmp_path, "linear", "plain")
    save_system(plain, tmp_path / "bundle")
    both = system_file(tmp_path, "linear+constant", "both")
    with pytest.raises(CheckpointError, match=r"message_MD is none, expected \(2, "):
        take_constants(both, tmp_path / "bundle")
    with pytest.raises(CheckpointError, match="no bundle with constants"):
        take_constants(both, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no outer link has any: give an edge the design linear"):
        take_constants(plain, tmp_path / "bundle")
