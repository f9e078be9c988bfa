"""Numbers that are too small for a float32 to hold whole."""

import torch

from rmas.precision import flushed


def is_flushing() -> bool:
    return bool(torch.tensor(1e-39) * 1.0 == 0)


def test_small_numbers_are_zero_inside_and_as_before_after() -> None:
    assert not is_flushing()
    with flushed():
        assert is_flushing()
        with flushed():
            assert is_flushing()
        assert is_flushing()
    assert not is_flushing()


def test_gradients_that_small_are_zero_and_others_the_same() -> None:
    weights = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))

    def gradient(scale: float) -> torch.Tensor:
        x = torch.ones(2, 8, requires_grad=True)
        return torch.autograd.grad(x @ weights, x, torch.full((2, 8), scale))[0]

    plain = gradient(1.0)
    assert (gradient(1e-40) != 0).any()
    with flushed():
        assert torch.equal(gradient(1.0), plain)
        assert not (gradient(1e-40) != 0).any()
