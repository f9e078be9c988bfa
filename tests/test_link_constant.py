"""Outer links with a learned constant beside them: message = link(thought) + constant."""

from pathlib import Path

import pytest
import torch

from rmas.checkpoint import save_system
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


def system_file(folder: Path, outer: str, name: str, *, start: str = "identity") -> System:
    (folder / f"{name}.toml").write_text(PAIR.replace('start = "identity"', f'start = "{start}"\nouter = "{outer}"'))
    (folder / "words.toml").write_text(WORDS)
    return load_system(str(folder / f"{name}.toml"), cache=folder / "cache")


@pytest.mark.parametrize("design", LINKS)
def test_learned_vectors_may_go_through_a_link_and_are_all_that_it_reads(design: str) -> None:
    through = Link(design, "outer", 6, 4)
    constant = ConstantMessage(3, 4, through=through).double()
    torch.nn.init.normal_(constant.message_MD)
    assert constant.message_MD.shape == (3, 6)
    for steps in (1, 3):
        found = constant(noise(2, steps, 0))
        assert_close(found, through(constant.message_MD[:steps]).expand(2, -1, -1), 1e-12)
    plain = count_parameters(design, "outer", 6, 4)
    expected = count_parameters(f"constant_{design}", "outer", 6, 4, latent_steps=3)
    assert constant.num_parameters == expected == plain + 18


@pytest.mark.parametrize("start", ["identity", "align"])
def test_a_system_of_such_constants_trains_them_and_is_a_bundle(tmp_path: Path, start: str) -> None:
    system = system_file(tmp_path, "constant_linear", "through", start=start)
    plain = system_file(tmp_path, "linear", "plain", start=start)
    assert system.spec.is_constant
    assert system.spec.has_constant
    for edge in system.pattern.edges:
        outer = system.outer[str(edge)]
        assert isinstance(outer, ConstantMessage)
        assert outer.through is not None
        link = plain.outer[str(edge)]
        assert isinstance(link, Link)
        assert torch.equal(outer.through.proj1.weight, link.proj1.weight)
        rows = system.backbones[edge.source].embed(torch.arange(system.backbones[edge.source].vocabulary_size))
        assert all(any(torch.equal(row, other) for other in rows.float()) for row in outer.message_MD)
    outer_loss(system, EXAMPLES[:2], rounds=1, channel=system.channel(2)).sum().backward()
    names = gradients(system).keys()
    assert {"outer.reflector->toolcaller.message_MD", "outer.reflector->toolcaller.through.proj1.weight"} <= names
    save_system(system, tmp_path / "bundle")
    again = load_system(str(tmp_path / "bundle"), cache=tmp_path / "cache")
    for name, tensor in system.state_dict().items():
        assert_close(again.state_dict()[name], tensor, 1e-6)


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
    plain = system_file(tmp_path, "linear", "plain")
    save_system(plain, tmp_path / "bundle")
    both = system_file(tmp_path, "linear+constant", "both")
    with pytest.raises(CheckpointError, match=r"message_MD is none, expected \(2, "):
        take_constants(both, tmp_path / "bundle")
    with pytest.raises(CheckpointError, match="no bundle with constants"):
        take_constants(both, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no outer link has any: give an edge the design linear"):
        take_constants(plain, tmp_path / "bundle")
