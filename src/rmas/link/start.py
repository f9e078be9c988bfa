"""Starts: what a link holds before any training. All are closed-form, none draws a random number.

An affine map y = A x + b is written into a design exactly where the design can hold it:

- a residual path that is a matrix (outer links) takes A, and the MLP beside it starts at zero;
- an inner residual path is x itself, so `linear_res` takes A - I in its matrix and `mlp_res` in its MLP;
- a 2-layer MLP without norms holds A by working where GELU is straight: g(u + 6) = u + 6 to 1e-6 for |u| <= 1;
- a design that ends in a LayerNorm keeps only the direction; its gain carries the norm. An inner `mlp_ln_res` has
  no matrix on its residual path at all: its gain and bias are fitted, one dimension at a time, and its MLP is zero.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from rmas.link.design import Link

_SHIFT = 6.0  # where exact GELU is the identity to 1e-6 within ±1


class Embedder(Protocol):
    """What a constant message needs of a backbone for its start."""

    @property
    def vocabulary_size(self) -> int: ...

    def embed(self, ids_BL: Tensor) -> Tensor:
        """ids (…,) -> x (…, D)."""


class Affine(NamedTuple):
    """y = A x + b, float64. A (D_out, D_in), b (D_out,)."""

    matrix: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x.double() @ self.matrix.T + self.bias

    def scaled(self, factor: float) -> "Affine":
        return Affine(self.matrix * factor, self.bias * factor)


def fit_affine(x_ND: Tensor, y_NE: Tensor, w_N: Tensor | None = None, *, strength: float = 0.1) -> Affine:
    """Ridge regression y ≈ A x + b in closed form, float64, with means taken out first; `w_N` weighs the rows.

    `strength` is relative to the mean variance of x, so that it means the same at every scale. 0.1 did best of
    1e-3, 1e-2, 0.1 and 1 on text held out from the calibration (LOG.md, 2026-11-21).
    """
    x_ND, y_NE, w_N = x_ND.double(), y_NE.double(), _weights(x_ND, w_N)
    x_mean, y_mean = w_N @ x_ND / w_N.sum(), w_N @ y_NE / w_N.sum()
    root_N1 = w_N.sqrt()[:, None]
    x_ND, y_NE = root_N1 * (x_ND - x_mean), root_N1 * (y_NE - y_mean)
    gram_DD = x_ND.T @ x_ND
    ridge = strength * gram_DD.diagonal().mean().clamp(min=torch.finfo(torch.float64).tiny)
    gram_DD.diagonal().add_(ridge)
    matrix_ED = torch.linalg.solve(gram_DD, x_ND.T @ y_NE).T
    return Affine(matrix_ED, y_mean - matrix_ED @ x_mean)


def mean_norm(x_ND: Tensor, w_N: Tensor | None = None) -> float:
    """The mean Euclidean length of the rows, weighed by `w_N`."""
    w_N = _weights(x_ND, w_N)
    return float(w_N @ x_ND.double().norm(dim=-1) / w_N.sum())


def _weights(x_ND: Tensor, w_N: Tensor | None) -> Tensor:
    return torch.ones(len(x_ND), dtype=torch.float64, device=x_ND.device) if w_N is None else w_N.double()


@torch.no_grad()
def write_affine(link: Link, affine: Affine, x_ND: Tensor, y_NE: Tensor, w_N: Tensor | None = None) -> None:
    """Start `link` as `affine`, fitted on inputs x_ND and targets y_NE; its outputs get the targets' mean norm."""
    norm = mean_norm(y_NE, w_N)
    if link.post_norm is None:
        affine = affine.scaled(norm / mean_norm(affine(x_ND), w_N))
    if link.residual_proj is not None:
        _set(link.residual_proj, affine.matrix, affine.bias)
        _zero(link.proj2 if link.proj2 is not None else link.proj1)
    elif link.adds_input and link.post_norm is not None:
        _zero(link.proj2)
        _fit_gain(link, x_ND, y_NE)
    else:
        _set_branch(link, affine, x_ND)
    if link.post_norm is not None:
        factor = norm / mean_norm(link(x_ND.to(link.proj1.weight.dtype)), w_N)
        link.post_norm.weight.mul_(factor)
        link.post_norm.bias.mul_(factor)


def left_to_chance(link: Link) -> set[str]:
    """The tensors of a link just started that are still as they were drawn: a first layer whose second says nothing
    yet, and a constant.
    """
    names = set() if link.message_MD is None else {"message_MD"}
    if link.proj2 is not None and not link.proj2.weight.any():
        names |= {"proj1.weight", "proj1.bias"}
    return names


@torch.no_grad()
def write_identity(link: Link) -> None:
    """Start `link` near the identity (widths cut or padded with zeros); designs with LayerNorms keep the direction."""
    eye = torch.eye(link.d_out, link.d_in, dtype=torch.float64)
    affine = Affine(eye, torch.zeros(link.d_out, dtype=torch.float64))
    if link.residual_proj is not None:
        _set(link.residual_proj, affine.matrix, affine.bias)
        _zero(link.proj2 if link.proj2 is not None else link.proj1)
    elif link.adds_input:
        _zero(link.proj2 if link.proj2 is not None else link.proj1)
    else:
        _set_branch(link, affine, eye[:1] * 100)


@torch.no_grad()
def write_constant(message_MD: Tensor, receiver: Embedder, *, seed: int) -> None:
    """Start a constant message as the embeddings of random tokens of the receiver: prompt tuning's usual start."""
    generator = torch.Generator().manual_seed(seed)
    ids_M = torch.randint(receiver.vocabulary_size, (len(message_MD),), generator=generator)
    message_MD.copy_(receiver.embed(ids_M))


@torch.no_grad()
def hush(link: Link, share: float = 0.1) -> None:
    """Let a link say `share` of what its start says, beside a constant that the message is to be like at first."""
    ends = [link.post_norm] if link.post_norm is not None else [link.proj2 or link.proj1, link.residual_proj]
    for end in ends:
        if end is not None:
            end.weight.mul_(share)
            end.bias.mul_(share)


def _set_branch(link: Link, affine: Affine, x_ND: Tensor) -> None:
    """Let proj1 (and proj2) compute `affine`, less the input where the residual path adds it again."""
    matrix, bias = affine
    if link.adds_input:
        matrix = matrix - torch.eye(link.d_out, dtype=torch.float64)
    if link.proj2 is None:
        _set(link.proj1, matrix, bias)
        return
    if link.pre_norm is not None:  # the branch sees x divided by its own spread
        matrix = matrix * float(x_ND.double().std(-1, correction=0).mean())
        x_ND = nn.functional.layer_norm(x_ND.double(), (link.d_in,))
    reach = float((x_ND.double() @ matrix.T).abs().max().clamp(min=1e-12))
    spare = link.proj1.out_features - link.d_out  # hidden units beyond D_out stay at zero
    _set(link.proj1, nn.functional.pad(matrix / reach, (0, 0, 0, spare)), torch.full((link.d_out + spare,), _SHIFT))
    out = nn.functional.pad(torch.eye(link.d_out, dtype=torch.float64) * reach, (0, spare))
    _set(link.proj2, out, bias - reach * _SHIFT)


def _fit_gain(link: Link, x_ND: Tensor, y_NE: Tensor) -> None:
    """Least squares of the target on the normalised input, one dimension at a time, into the last LayerNorm."""
    assert link.post_norm is not None
    u_ND, y_NE = nn.functional.layer_norm(x_ND.double(), (link.d_in,)), y_NE.double()
    u_mean, y_mean = u_ND.mean(0), y_NE.mean(0)
    covariance = ((u_ND - u_mean) * (y_NE - y_mean)).mean(0)
    gain = covariance / (u_ND - u_mean).square().mean(0).clamp(min=1e-12)
    link.post_norm.weight.copy_(gain)
    link.post_norm.bias.copy_(y_mean - gain * u_mean)


def _set(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def _zero(layer: nn.Linear | None) -> None:
    assert layer is not None
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
