"""First thoughts that are kept are those that would be thought again."""

from typing import Any

import pytest
import torch

from rmas.engine import Heads, LatentChannel
from rmas.errors import ConfigError
from rmas.train.data import Example
from rmas.train.kept import KeptThoughts, first_roles, keep_thoughts
from rmas.train.objective import outer_loss
from train_zoo import EXAMPLES, gradients, quiet, trainer_of
from zoo import LOOPS, Recorder, assert_close, snapshot, tiny_system

FIRST = {
    "sequential": ("planner",),
    "mixture": ("math", "code", "science"),
    "distillation": ("expert",),
    "deliberation": ("reflector",),
    "debate": ("pro", "con"),
    "ring": ("scout",),
    "looped": ("solver",),
}


@pytest.mark.parametrize("pattern", LOOPS)
def test_the_first_roles_are_those_that_nobody_has_written_to(pattern: str) -> None:
    system = tiny_system(pattern, ["llama"]).requires_grad_(False)
    assert first_roles(system) == FIRST[pattern]


def test_a_role_whose_inner_link_trains_is_not_kept() -> None:
    system = tiny_system("debate", ["llama"]).requires_grad_(False)
    system.inner["pro"].requires_grad_(True)
    assert first_roles(system) == ("con",)


@pytest.mark.parametrize("pattern", ["sequential", "debate"])
@pytest.mark.parametrize("rounds", [1, 2])
def test_kept_thoughts_give_the_loss_and_gradients_of_thoughts_made_anew(pattern: str, rounds: int) -> None:
    def run(*, keeps: bool) -> tuple[float, dict[str, torch.Tensor]]:
        system = tiny_system(pattern, ["llama", "gemma3_text"])
        trainer = trainer_of(system, rounds=rounds, keep_thoughts=keeps)
        if keeps:
            trainer.keep(quiet)
        return trainer.step(0).loss, gradients(system)

    loss, plain = run(keeps=False)
    same_loss, kept = run(keeps=True)
    assert same_loss == pytest.approx(loss, abs=1e-9)
    assert plain.keys() == kept.keys()
    for name, gradient in plain.items():
        assert_close(kept[name], gradient, 1e-7)


@pytest.mark.parametrize(
    ("pattern", "families", "changes"),
    [
        ("sequential", ["llama", "gemma3_text", "qwen2"], {}),
        ("mixture", ["llama", "gemma3_text"], {"earlier_weight": 0.5, "checkpointed": True}),
        ("deliberation", ["qwen3_5_text"], {"micro_batch": 1}),
        ("deliberation", ["llama"], {"objective": "teacher_forced"}),
    ],
)
def test_kept_heads_train_the_same_links_and_are_read_once(
    pattern: str, families: list[str], changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over two epochs of one batch, through a curriculum that lengthens the rollout."""
    reads: list[int] = []
    plainly = Heads._read

    def counted(self: Heads, *given: Any) -> Any:
        reads.append(1)
        return plainly(self, *given)

    monkeypatch.setattr(Heads, "_read", counted)

    def train(*, keeps: bool) -> tuple[dict[str, torch.Tensor], int]:
        system = tiny_system(pattern, families)
        trainer = trainer_of(system, keep_heads=keeps, curriculum=((0, 1, 1), (1, 2, 2)), **changes)
        optimizer = torch.optim.SGD(trainer.parameters.values(), lr=1e-2)
        reads.clear()
        for number in range(2):
            optimizer.zero_grad()
            trainer.step(number)
            optimizer.step()
        return snapshot(system.state_dict()), len(reads)

    (plain, many), (kept, few) = train(keeps=False), train(keeps=True)
    assert (many, few) == (
        2 * few,
        len(tiny_system(pattern, families).pattern.roles) * (4 if "micro_batch" in changes else 1),
    )
    for name, value in plain.items():
        assert_close(kept[name], value, 1e-7)


def kept_of(examples: tuple[Example, ...], *, latent_steps: int = 3) -> KeptThoughts:
    system = tiny_system("deliberation", ["llama"]).requires_grad_(False)
    return keep_thoughts(system, examples, latent_steps=latent_steps, batch_size=2, report=quiet)


def test_a_shorter_rollout_is_the_beginning_of_a_kept_one() -> None:
    system = tiny_system("deliberation", ["llama"]).requires_grad_(False)
    channel = Recorder(LatentChannel(latent_steps=2, known=kept_of(EXAMPLES)))
    plain = Recorder(LatentChannel(latent_steps=2))
    for recorder in (channel, plain):
        outer_loss(system, EXAMPLES, rounds=1, channel=recorder)
    ((_, ours),), ((_, theirs),) = channel.latents, plain.latents
    assert_close(ours, theirs, 1e-7)


def test_a_longer_rollout_or_an_unknown_question_is_thought_anew() -> None:
    system = tiny_system("deliberation", ["llama"]).requires_grad_(False)
    for kept, steps in ((kept_of(EXAMPLES), 4), (kept_of(EXAMPLES[:2]), 3)):
        ours = Recorder(LatentChannel(latent_steps=steps, known=kept))
        plain = Recorder(LatentChannel(latent_steps=steps))
        for recorder in (ours, plain):
            outer_loss(system, EXAMPLES, rounds=1, channel=recorder)
        assert torch.equal(ours.latents[0][1], plain.latents[0][1])


def test_the_same_examples_keep_the_same_bits() -> None:
    first, again = kept_of(EXAMPLES), kept_of(EXAMPLES)
    assert first.thoughts.keys() == again.thoughts.keys()
    assert all(torch.equal(z, again.thoughts[key]) for key, z in first.thoughts.items())


def test_keeping_is_refused_where_nothing_stays_the_same() -> None:
    trainer = trainer_of(tiny_system("sequential"), keep_thoughts=True, train_inner=True)
    with pytest.raises(ConfigError, match="keep_thoughts is set, but no agent's first thought stays the same"):
        trainer.keep(quiet)
    with pytest.raises(ConfigError, match="keep_thoughts is set, but every message is a constant"):
        trainer_of(tiny_system("sequential", outer="constant"), keep_thoughts=True, latent_steps=None)
