"""Whether training can move all of a network."""

from __future__ import annotations

from torch import nn


def assert_every_parameter_moves(module: nn.Module) -> None:
    """A gradient on every parameter, and not a zero one."""
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.count_nonzero() > 0, name


def assert_every_gradient_is_zero(module: nn.Module) -> None:
    """A gradient on every parameter, all of them zero."""
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.count_nonzero() == 0, name
