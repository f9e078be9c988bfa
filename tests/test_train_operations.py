"""Operations are counted as they run: forward, backward, inside a function of our own, and again in a checkpoint."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rmas.train.operations import Operations

N, D, E = 5, 3, 7  # rows, width in, width out
FORWARD = 2 * N * D * E


def test_a_linear_map_takes_two_operations_a_weight_and_row_and_as_many_for_each_gradient() -> None:
    link, x_ND = nn.Linear(D, E), torch.randn(N, D, requires_grad=True)
    with Operations() as counted:
        y_NE = link(x_ND)
    assert counted.total == FORWARD
    with Operations() as counted:
        y_NE.sum().backward()
    assert counted.total == 2 * FORWARD


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_what_keeps_no_gradient_counts_as_well(mode: Callable[[], AbstractContextManager[None]]) -> None:
    with mode(), Operations() as counted:
        nn.Linear(D, E)(torch.randn(N, D))
    assert counted.total == FORWARD


def test_a_frozen_map_takes_no_gradient_of_its_weights() -> None:
    link, x_ND = nn.Linear(D, E).requires_grad_(False), torch.randn(N, D, requires_grad=True)
    with Operations() as counted:
        link(x_ND).sum().backward()
    assert counted.total == 2 * FORWARD


def test_a_checkpoint_runs_forward_twice() -> None:
    link, x_ND = nn.Linear(D, E).requires_grad_(False), torch.randn(N, D, requires_grad=True)
    with Operations() as counted:
        checkpoint(lambda x_ND: link(x_ND).sin(), x_ND, use_reentrant=False).sum().backward()
    assert counted.total == 3 * FORWARD


def test_a_gradient_taken_inside_a_forward_pass_counts() -> None:
    class Inside(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x_ND: Tensor, weight_ED: Tensor) -> Tensor:
            with torch.enable_grad():
                x_ND = x_ND.detach().requires_grad_()
                (slope_ND,) = torch.autograd.grad((x_ND @ weight_ED.T).sum(), x_ND)
            return slope_ND

    with Operations() as counted:
        Inside.apply(torch.randn(N, D, requires_grad=True), torch.randn(E, D))  # type: ignore[no-untyped-call]
    assert counted.total == 2 * FORWARD


def test_counting_changes_no_number() -> None:
    link, x_ND = nn.Linear(D, E), torch.randn(N, D)
    plain_NE = link(x_ND)
    with Operations():
        counted_NE = link(x_ND)
    assert torch.equal(plain_NE, counted_NE)
