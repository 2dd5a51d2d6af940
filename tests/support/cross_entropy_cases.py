"""Cases of the cross-entropy of the hardest pixels, compared with the complete upsampled logits in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from oracles.bootstrapped_cross_entropy import bootstrapped_cross_entropy as oracle
from torch import Tensor

from seamseg.ops.bootstrapped_cross_entropy import bootstrapped_cross_entropy

VOID = 255
Size = tuple[int, int]
Case = tuple[int, Size, list[Size], Size]
"""Number of classes, size of the logits, sizes of the images, and their padded size."""


def random_case(
    num_classes: int, small: Size, sizes: list[Size], dtype: torch.dtype = torch.float32, spread: float = 3
) -> tuple[Tensor, list[Tensor]]:
    """Return logits, and targets with one void pixel in ten."""
    generator = torch.Generator().manual_seed(num_classes)
    logits = torch.randn(len(sizes), num_classes, *small, generator=generator) * spread
    targets = [torch.randint(0, num_classes, size, generator=generator) for size in sizes]
    for target in targets:
        target[torch.rand(target.shape, generator=generator) < 0.1] = VOID
    return logits.to(dtype), targets


def values_and_gradient(function: Callable[..., Tensor], logits: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    """Return the losses, and the gradient of their sum with weights 1, 2, …"""
    leaf = logits.detach().clone().requires_grad_()
    losses = function(leaf, *arguments)
    (losses * torch.arange(1, len(losses) + 1, dtype=losses.dtype, device=losses.device)).sum().backward()
    return losses.detach(), leaf.grad


CASES: dict[str, Case] = {
    "scale 8": (5, (4, 6), [(32, 48), (25, 41)], (32, 48)),
    "scale 4, more classes than lanes": (37, (9, 17), [(36, 68)], (36, 68)),
    "odd sizes": (3, (5, 7), [(11, 30), (23, 3), (1, 1)], (23, 31)),
    "one class": (1, (3, 3), [(9, 12)], (12, 12)),
    "one score": (4, (1, 1), [(5, 18)], (6, 20)),
    "same size": (4, (6, 20), [(6, 20)], (6, 20)),
    "smaller than the logits": (4, (13, 40), [(5, 9)], (6, 10)),
    "most classes": (255, (2, 3), [(5, 19)], (8, 24)),
}


Emphasis = tuple[bool, float]
"""Whether there are class weights, and the exponent of the focal loss."""
NOTHING: Emphasis = (False, 0.0)
EMPHASES: dict[str, Emphasis] = {
    "weights": (True, 0.0),
    "focal": (False, 2.0),
    "weights and a small exponent": (True, 0.5),
}


def class_weights(num_classes: int) -> Tensor:
    """Return weights with one of 0."""
    weights = torch.rand(num_classes, generator=torch.Generator().manual_seed(1)) * 4
    weights[num_classes // 2] = 0
    return weights


def check_case(case: Case, fraction: float, dtype: torch.dtype, emphasis: Emphasis = NOTHING) -> None:
    """Compare losses and gradients up to rounding."""
    num_classes, small, sizes, padded = case
    logits, targets = random_case(num_classes, small, sizes, dtype)
    rest = (targets, padded, fraction, class_weights(num_classes) if emphasis[0] else None, emphasis[1])
    found, gradient = values_and_gradient(bootstrapped_cross_entropy, logits, *rest)
    exact, expected = values_and_gradient(oracle, logits.double(), *rest)
    is_double = dtype == torch.float64
    assert found.dtype == (dtype if is_double else torch.float32)
    assert gradient.dtype == dtype
    precision = torch.finfo(dtype).eps if is_double else max(torch.finfo(dtype).eps, 2e-7)
    torch.testing.assert_close(found.double(), exact, rtol=1e-12 if is_double else 3e-6, atol=1e-6)
    tolerance = 20 * precision * max(0.01, float(expected.abs().max()))
    torch.testing.assert_close(gradient.double(), expected, rtol=8 * precision, atol=tolerance)


def check_all() -> None:
    """Check all kernels of this process."""
    for case in CASES.values():
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            check_case(case, 0.5, dtype)
            check_case(case, 0.5, dtype, EMPHASES["weights and a small exponent"])
    for spread in (1e3, 1e20):
        check_large_logits(spread)


def check_large_logits(spread: float) -> None:
    """Compare where powers overflow."""
    logits, targets = random_case(6, (4, 5), [(16, 20)], spread=spread)
    found, gradient = values_and_gradient(bootstrapped_cross_entropy, logits, targets, (16, 20), 0.5)
    exact, expected = values_and_gradient(oracle, logits.double(), targets, (16, 20), 0.5)
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)
    # The rounding of such logits changes the smaller probabilities, which are still in [0, 1].
    tolerance = min(spread * 1e-6, 2) * float(expected.abs().max())
    torch.testing.assert_close(gradient.double(), expected, rtol=0, atol=tolerance)
