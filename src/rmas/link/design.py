"""RecursiveLinks: the only things that train. One map (…, D_in) -> (…, D_out), in six designs.

`x` is the input, W_k and b_k weights, g = exact (erf) GELU, LN a LayerNorm. The residual path R is x itself for an
inner link (eq. 3) and W_3 x for an outer link (eq. 4), so an outer link's three matrices are proj1, proj2 and
residual_proj, named as in the released state dicts.

    linear       W_1 x                              Table 4, 1-layer
    linear_res   R + W_1 x                          Table 4, residual + 1-layer
    mlp          W_2 g(W_1 x)                       Table 4, 2-layer
    mlp_res      R + W_2 g(W_1 x)                   Table 4, residual + 2-layer; eqs. (3), (4)
    mlp_ln       LN_post(W_2 g(W_1 LN_pre(x)))      the release's trainer
    mlp_ln_res   LN_post(R + W_2 g(W_1 LN_pre(x)))  the released checkpoints

An outer link whose design ends in `+constant` adds M learned vectors to its message, one for each latent step: what
such vectors alone can do, `constant` shows.

The hidden width is D_out; for outer links with LayerNorms it is 2·D_out. Every linear layer has a bias. Both as
released; the paper states neither.
"""

from typing import Protocol, final

import torch
from torch import Tensor, nn

from rmas.designs import CONSTANT, FROM_CONSTANT, SOFT_TOKEN, Place, check_design, is_constant
from rmas.errors import LinkError
from rmas.precision import widened

_BLOCK = 2**19  # logits whose softmax each core takes at once


@final
class Link(nn.Module):
    """An inner or outer RecursiveLink. h (…, D_in) -> z (…, D_out), computed in the link's dtype, returned in h's.

    Starts with PyTorch's default initialisation; `rmas.link.start` writes the others into it.
    """

    def __init__(self, design: str, place: Place, d_in: int, d_out: int, *, latent_steps: int = 0) -> None:
        super().__init__()
        if place == "inner" and d_in != d_out:
            raise LinkError(f"inner link {d_in} -> {d_out}: an inner link keeps its width. Use an outer link.")
        self.design, self.place, self.d_in, self.d_out = design, place, d_in, d_out
        axes = check_design(design)
        if axes.constant and place == "inner":
            raise LinkError(f"inner link {design}: only an outer link has a constant beside it. Drop the ending.")
        hidden = d_out if axes.layers == 1 else (2 * d_out if axes.norms and place == "outer" else d_out)
        self.proj1 = nn.Linear(d_in, hidden)
        self.proj2 = nn.Linear(hidden, d_out) if axes.layers == 2 else None
        self.residual_proj = nn.Linear(d_in, d_out) if axes.residual and place == "outer" else None
        self.pre_norm = nn.LayerNorm(d_in) if axes.norms else None
        self.post_norm = nn.LayerNorm(d_out) if axes.norms else None
        self.adds_input = axes.residual and place == "inner"
        self.message_MD = nn.Parameter(torch.zeros(latent_steps, d_out)) if axes.constant else None

    def forward(self, h: Tensor) -> Tensor:
        x = h.to(self.proj1.weight.dtype)
        y = self.proj1(x if self.pre_norm is None else self.pre_norm(x))
        if self.proj2 is not None:
            y = self.proj2(nn.functional.gelu(y))
        if self.residual_proj is not None:
            y = y + self.residual_proj(x)
        elif self.adds_input:
            y = y + x
        z: Tensor = y if self.post_norm is None else self.post_norm(y)
        if self.message_MD is not None:
            z = z + _first(self.message_MD, z.shape[-2])
        return z.to(h.dtype)

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def extra_repr(self) -> str:
        return f"{self.design}, {self.place}, {self.d_in} -> {self.d_out}"


class Head(Protocol):
    """What a soft token needs of a backbone."""

    def logits(self, h: Tensor) -> Tensor:
        """h (…, D) -> logits (…, V)."""

    def expected_embedding(self, p: Tensor) -> Tensor:
        """p (…, V), each row a distribution -> (…, D)."""


@final
class SoftToken(nn.Module):
    """The training-free inner link that needs no fit: the embedding expected under softmax(logits(h) / τ).

    Exact where a cheap link only approximates, and slower: every latent step pays for the vocabulary head.
    It holds no parameter. h (…, D) -> z (…, D), h's dtype.
    """

    def __init__(self, head: Head, tau: float = 1.0) -> None:
        super().__init__()
        if not tau > 0:
            raise LinkError(f"soft token: tau is {tau}, expected a number above 0.")
        self.head, self.tau = head, tau

    def forward(self, h: Tensor) -> Tensor:
        logits = self.head.logits(h)
        by_block = logits.device.type == "cpu" and not logits.requires_grad and logits.is_contiguous()
        p = _softmax_by_block(logits, self.tau) if by_block else (widened(logits) / self.tau).softmax(-1)
        return self.head.expected_embedding(p).to(h.dtype)

    @property
    def num_parameters(self) -> int:
        return 0


@final
class ConstantMessage(nn.Module):
    """An outer link that hears nothing: M learned vectors of the receiver's width, the same for every question.

    `through`: a link that makes these vectors of others, of its own input's width. Then as many numbers train as with
    messages, and more: the reparametrisation of prefix tuning (Li and Liang 2021, section 4.3).
    What a system gains with it, it gains without any message. z (B, M', …) -> (B, M', D), M' at most M.
    """

    def __init__(self, latent_steps: int, d_out: int, *, through: Link | None = None) -> None:
        super().__init__()
        self.message_MD = nn.Parameter(torch.zeros(latent_steps, d_out if through is None else through.d_in))
        self.through = through

    def forward(self, z: Tensor) -> Tensor:
        batch, steps = z.shape[:2]
        message = _first(self.message_MD, steps)
        return (message if self.through is None else self.through(message)).expand(batch, -1, -1)

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def outer_link(design: str, d_in: int, d_out: int, *, latent_steps: int) -> Link | ConstantMessage:
    """An outer link of any design that a system file may name. `latent_steps`: M, of a learned constant."""
    if design == CONSTANT:
        return ConstantMessage(latent_steps, d_out)
    if is_constant(design):
        through = Link(design.removeprefix(FROM_CONSTANT), "outer", d_in, d_out)
        return ConstantMessage(latent_steps, d_out, through=through)
    return Link(design, "outer", d_in, d_out, latent_steps=latent_steps)


def _softmax_by_block(logits: Tensor, tau: float) -> Tensor:
    """softmax(logits / τ) (…, V) in the logits' dtype, a few rows a core at a time: what its cache holds in float32."""
    rows = logits.reshape(-1, logits.shape[-1])
    p = torch.empty_like(rows)
    size = torch.get_num_threads() * max(1, _BLOCK // rows.shape[-1])
    for block, out in zip(rows.split(size), p.split(size), strict=True):
        out.copy_((widened(block) / tau).softmax(-1))
    return p.reshape(logits.shape)


def _first(message_MD: Tensor, steps: int) -> Tensor:
    if steps > (length := len(message_MD)):
        raise LinkError(f"a constant of {length} vectors does not last for {steps} latent steps. Ask for fewer.")
    return message_MD[:steps]


def count_parameters(design: str, place: Place, d_in: int, d_out: int, *, latent_steps: int = 0) -> int:
    """Parameters of a link, without building it. `latent_steps`: M, which only a constant message needs."""
    if design == SOFT_TOKEN:
        return 0
    with torch.device("meta"):
        if place == "inner":
            return Link(design, place, d_in, d_out).num_parameters
        return outer_link(design, d_in, d_out, latent_steps=latent_steps).num_parameters
