"""Controls: the same run with what the messages say taken away. What still works then did not need them.

shuffled    every question reads the messages of another one of its batch
mean        every question reads the mean of the other questions' messages, position by position
rotated     every vector is turned by one random rotation, the same for all: lengths and angles stay, directions do not
covariance  every vector is drawn from a Gaussian with the mean and covariance of the batch's vectors
noise       every vector is replaced by Gaussian noise of its own length
zeroed      every message is zero vectors

`B` batch, `M` latent steps, `D` width. The first two and `covariance` depend on which questions share a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from torch import Generator, Tensor

from rmas.backbone import Backbone
from rmas.conversation import Prompt
from rmas.engine.channel import Around, Thought
from rmas.engine.turn import Agent, Heads, Inbox, Payload
from rmas.errors import ConfigError
from rmas.settings import Control, Sampling, check_control


@final
@dataclass(frozen=True, kw_only=True)
class Controlled(Around):
    """A channel whose messages lose their content on every edge.

    Shuffling turns the batch by one place at each hop, so that what a question knew comes back to it only after as
    many hops as the batch has rows: use batches of more rows than a run has turns. Draws depend on `seed`, the turn
    and the question alone. Messages of unequal length (of text, or where thoughts halt) can be shuffled and zeroed.
    """

    control: Control
    seed: int = 0

    def __post_init__(self) -> None:
        check_control(self.control)

    def think(self, agent: Agent, prompts: Sequence[Prompt], inbox: Inbox, heads: Heads | None, salt: str) -> Thought:
        thought = self.channel.think(agent, prompts, inbox, heads, salt)
        thought = thought._replace(salts=tuple(f"{salt} {prompt.head}" for prompt in prompts))
        if self.control not in ("shuffled", "mean") or thought.message is None:
            return thought
        if len(prompts) < 2:
            raise ConfigError(
                f"control is {self.control}, but this batch holds one question. Ask two or more together."
            )
        if self.control == "mean":
            return thought
        if isinstance(thought.message, Tensor):
            return thought._replace(message=thought.message.roll(1, dims=0))
        return thought._replace(message=[*thought.message[-1:], *thought.message[:-1]])

    def carry(self, link: Callable[[Tensor], Tensor], thought: Thought, receiver: Backbone) -> Payload:
        payload = self.channel.carry(link, thought, receiver)
        if self.control == "shuffled":
            return payload
        if self.control == "zeroed":
            return torch.zeros_like(payload) if isinstance(payload, Tensor) else [torch.zeros_like(z) for z in payload]
        if not isinstance(payload, Tensor):
            raise ConfigError(
                f"control is {self.control}, which is for latents of one length. With text, or where thoughts halt, "
                "use shuffled or zeroed."
            )
        generators = [Sampling(seed=self.seed).generators(salt)[0] for salt in thought.salts]
        return _VOIDED[self.control](payload, generators, self.seed).to(payload)


def _mean(z_BMD: Tensor, generators: Sequence[Generator], seed: int) -> Tensor:
    others_BMD: Tensor = (z_BMD.sum(0, keepdim=True) - z_BMD) / (len(z_BMD) - 1)
    return others_BMD


def _rotated(z_BMD: Tensor, generators: Sequence[Generator], seed: int) -> Tensor:
    turned_BMD: Tensor = z_BMD @ _rotation(z_BMD.shape[-1], seed).to(z_BMD)
    return turned_BMD


def _covariance(z_BMD: Tensor, generators: Sequence[Generator], seed: int) -> Tensor:
    """A random mixture of the centred vectors has their covariance, without a D x D matrix."""
    z_ND = z_BMD.flatten(0, 1).float()
    mean_D = z_ND.mean(0)
    mixture_BMN = _draw((z_BMD.shape[1], len(z_ND)), generators, z_ND)
    drawn_BMD: Tensor = mean_D + mixture_BMN @ (z_ND - mean_D) / len(z_ND) ** 0.5
    return drawn_BMD


def _noise(z_BMD: Tensor, generators: Sequence[Generator], seed: int) -> Tensor:
    noise_BMD = _draw(tuple(z_BMD.shape[1:]), generators, z_BMD)
    scale_BM1: Tensor = z_BMD.norm(dim=-1, keepdim=True) / noise_BMD.norm(dim=-1, keepdim=True)
    return noise_BMD * scale_BM1


_VOIDED: Mapping[Control, Callable[[Tensor, Sequence[Generator], int], Tensor]] = {
    "mean": _mean,
    "rotated": _rotated,
    "covariance": _covariance,
    "noise": _noise,
}


NEED_ONE_LENGTH = frozenset(_VOIDED)  # of all messages of a batch


def _draw(shape: tuple[int, ...], generators: Sequence[Generator], like: Tensor) -> Tensor:
    """Standard normal numbers, (B, *shape), each row from its own generator."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(like)


@lru_cache(maxsize=8)
def _rotation(width: int, seed: int) -> Tensor:
    """A random orthogonal matrix (D, D), drawn evenly: the Q of a Gaussian matrix, its signs made unique."""
    q_DD, r_DD = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)))
    rotation_DD: Tensor = q_DD * r_DD.diagonal().sign()
    return rotation_DD
