"""The learning rate over the iterations, as a factor of its full value."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch.optim import Optimizer

Decay = Callable[[int], float]
"""Iteration 1, 2, … to a factor."""


def poly_decay(power: float, num_iterations: int) -> Decay:
    """``(1 − (k − 1)/K)`` to a power, so that the last iteration still learns."""
    return lambda iteration: (1 - (iteration - 1) / num_iterations) ** power


def step_decay(milestones: Sequence[int], gamma: float) -> Decay:
    """Times ``gamma`` from each milestone on."""
    return lambda iteration: float(gamma ** sum(iteration >= milestone for milestone in milestones))


def cosine_decay(num_iterations: int) -> Decay:
    """Half a cosine, from 1 towards 0."""
    return lambda iteration: 0.5 * (1 + math.cos(math.pi * (iteration - 1) / num_iterations))


@dataclass(frozen=True)
class LearningRate:
    """A decay behind a linear warm-up.

    Attributes:
        lr: the full rate.
        decay: its factor at iteration 1, 2, ….
        warmup_iterations: during which another factor rises linearly …
        warmup_factor: … from here to 1.
    """

    lr: float
    decay: Decay
    warmup_iterations: int
    warmup_factor: float

    def __call__(self, iteration: int) -> float:
        """The rate of iteration 1, 2, …."""
        warmup = 1.0
        if iteration <= self.warmup_iterations:
            warmup = self.warmup_factor + (1 - self.warmup_factor) * iteration / self.warmup_iterations
        return self.lr * warmup * self.decay(iteration)

    def apply(self, optimizer: Optimizer, iteration: int) -> float:
        """Sets the rate of all parameters and returns it."""
        rate = self(iteration)
        for group in optimizer.param_groups:
            group["lr"] = rate
        return rate
