"""Checks of the gradients of a module."""

from __future__ import annotations

from torch import nn


def assert_every_parameter_moves(module: nn.Module) -> None:
    """Check that every parameter has a finite gradient that is not zero."""
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.count_nonzero() > 0, name


def assert_every_gradient_is_zero(module: nn.Module) -> None:
    """Check that every parameter has a gradient and that all gradients are zero."""
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.count_nonzero() == 0, name
