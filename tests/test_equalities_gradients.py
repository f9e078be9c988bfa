"""The equalities that training stands on: gradients through the same `run` that answers questions."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rmas.engine import LastTurn, LatentChannel, run, teacher_force
from rmas.system import System
from zoo import (
    FAMILIES,
    HYBRID,
    QUESTIONS,
    M,
    assert_close,
    backbone,
    greedily,
    snapshot,
    tiny_system,
    tolerance,
)

MIXED = ("llama", "gemma3_text", "qwen2")
THROUGH_CACHE = [family for family in FAMILIES if family not in HYBRID]
T = 4
PAIR = QUESTIONS[:2]


def cross_entropy(*, cached: bool = True) -> Callable[[LastTurn], Tensor]:
    """A `speak` that returns the loss of fixed targets: what training does."""
    targets_BT = torch.arange(len(PAIR) * T).reshape(-1, T) + 65

    def loss(last: LastTurn) -> Tensor:
        logits_BTV = teacher_force(last.agent.backbone, last.read(cached=cached), targets_BT)
        return nn.functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())

    return loss


def loss_and_gradients(
    system: System, channel: LatentChannel, *, share_heads: bool = True, rounds: int = 2
) -> tuple[Tensor, dict[str, Tensor]]:
    speak = cross_entropy(cached=channel.cached)
    loss = run(system, PAIR, rounds=rounds, channel=channel, speak=speak, share_heads=share_heads)
    names, parameters = zip(*system.named_parameters(), strict=True)
    return loss.detach(), dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def assert_same_gradients(ours: dict[str, Tensor], theirs: dict[str, Tensor], atol: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        assert_close(gradient, theirs[name], atol)


# 1. cached = recomputed


@pytest.mark.parametrize("family", THROUGH_CACHE)
def test_gradients_through_the_cache_equal_recomputed_gradients(family: str) -> None:
    system = tiny_system("deliberation", [family])
    loss, cached = loss_and_gradients(system, LatentChannel(latent_steps=M))
    slow_loss, recomputed = loss_and_gradients(system, LatentChannel(latent_steps=M, cached=False), share_heads=False)
    assert_close(loss, slow_loss, tolerance(family))
    assert_same_gradients(cached, recomputed, tolerance(family))
    assert all(gradient.abs().max() > 0 for gradient in cached.values())


@pytest.mark.parametrize("family", HYBRID)
def test_recomputed_gradients_do_not_depend_on_shared_heads(family: str) -> None:
    """The families that must recompute: the shared head must not bring a cache back in."""
    system = tiny_system("deliberation", [family])
    channel = LatentChannel(latent_steps=2, cached=False)
    loss, shared = loss_and_gradients(system, channel)
    whole_loss, whole = loss_and_gradients(system, channel, share_heads=False)
    assert_close(loss, whole_loss, tolerance(family))
    assert_same_gradients(shared, whole, tolerance(family))


@pytest.mark.parametrize("family", HYBRID)
def test_a_family_whose_cache_stops_gradients_recomputes_by_itself(family: str) -> None:
    system = tiny_system("deliberation", [family])
    loss, gradients = loss_and_gradients(system, LatentChannel(latent_steps=2))
    slow_loss, slow = loss_and_gradients(system, LatentChannel(latent_steps=2, cached=False))
    assert_close(loss, slow_loss, tolerance(family))
    assert_same_gradients(gradients, slow, tolerance(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_the_slope_of_the_loss(family: str) -> None:
    """Along one direction in the space of all links, against a central difference."""
    system = tiny_system("deliberation", [family])
    channel = LatentChannel(latent_steps=2, cached=backbone(family).grad_through_cache)
    _, gradients = loss_and_gradients(system, channel)
    generator = torch.Generator().manual_seed(0)
    direction = {name: torch.randn(g.shape, generator=generator, dtype=g.dtype) for name, g in gradients.items()}
    step = 1e-3
    sides = []
    for sign in (1, -1):
        with torch.no_grad():
            for name, parameter in system.named_parameters():
                parameter.add_(direction[name], alpha=sign * step)
            sides.append(run(system, PAIR, rounds=2, channel=channel, speak=cross_entropy(cached=channel.cached)))
            for name, parameter in system.named_parameters():
                parameter.sub_(direction[name], alpha=sign * step)
    slope = sum((gradients[name] * direction[name]).sum() for name in gradients)
    measured = (sides[0] - sides[1]) / (2 * step)
    torch.testing.assert_close(measured, slope, rtol=1e-2, atol=1e-4)


# 3. training forward = inference forward


@pytest.mark.parametrize("family", FAMILIES)
def test_teacher_forced_logits_choose_the_greedy_tokens(family: str) -> None:
    system = tiny_system("deliberation", [family])
    channel = LatentChannel(latent_steps=M)
    with torch.inference_mode():
        end = run(system, PAIR, rounds=2, channel=channel, speak=greedily(6))
    for i, ids in enumerate(end.ids):
        question, ids_1T = PAIR[i], torch.tensor([ids])
        chosen = run(
            system,
            [question],
            rounds=2,
            channel=LatentChannel(latent_steps=M, cached=backbone(family).grad_through_cache),
            speak=lambda last, ids_1T=ids_1T: teacher_force(last.agent.backbone, last.read(cached=False), ids_1T),  # type: ignore[misc]
        )
        assert chosen.argmax(-1).tolist() == [ids]


# 5. checkpointed = plain


@pytest.mark.parametrize("share_heads", [True, False])
@pytest.mark.parametrize(
    ("pattern", "families"), [("sequential", MIXED), ("mixture", MIXED), ("deliberation", tuple(HYBRID))]
)
def test_checkpointed_turns_give_exactly_the_plain_loss_and_gradients(
    pattern: str, families: tuple[str, ...], share_heads: bool
) -> None:
    system = tiny_system(pattern, families)
    cached = all(backbone(family).grad_through_cache for family in families)
    plain = LatentChannel(latent_steps=2, cached=cached)
    checkpointed = LatentChannel(latent_steps=2, cached=cached, checkpointed=True)
    loss, gradients = loss_and_gradients(system, plain, share_heads=share_heads)
    same_loss, same_gradients = loss_and_gradients(system, checkpointed, share_heads=share_heads)
    assert torch.equal(loss, same_loss)
    assert gradients.keys() == same_gradients.keys()
    assert all(torch.equal(gradient, same_gradients[name]) for name, gradient in gradients.items())


# 8. after a training step every link moved, and nothing else


@pytest.mark.parametrize("pattern", ["sequential", "mixture", "distillation", "deliberation"])
def test_one_training_step_moves_every_link_and_no_frozen_tensor(pattern: str) -> None:
    system = tiny_system(pattern, MIXED)
    links = snapshot(dict(system.named_parameters()))
    models = {backbone.name: backbone.model for backbone in system.backbones.values()}
    frozen = {name: snapshot(model.state_dict()) for name, model in models.items()}
    optimiser = torch.optim.SGD(system.parameters(), lr=0.1)
    loss = run(system, PAIR, rounds=2, channel=LatentChannel(latent_steps=M), speak=cross_entropy())
    loss.backward()
    optimiser.step()
    for name, parameter in system.named_parameters():
        assert not torch.equal(parameter, links[name]), name
    for name, model in models.items():
        assert all(torch.equal(tensor, frozen[name][key]) for key, tensor in model.state_dict().items())
        assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())


def test_a_training_step_lowers_the_loss() -> None:
    system = tiny_system("sequential", MIXED)
    optimiser = torch.optim.SGD(system.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        optimiser.zero_grad()
        loss = run(system, PAIR, rounds=2, channel=LatentChannel(latent_steps=M), speak=cross_entropy())
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
