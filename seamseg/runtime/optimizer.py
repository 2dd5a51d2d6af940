"""Parameter groups, learning rate schedule and weight average."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer


def parameter_groups(network: nn.Module, weight_decay: float, weight_decay_norm: bool) -> list[dict[str, Any]]:
    """The parameters that are not frozen, for an optimizer: those of the norms in a group of their own.

    Args:
        network: whose parameters are trained.
        weight_decay: of all parameters …
        weight_decay_norm: … or of all but the norms'.
    """
    norms: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in network.modules():
        # Norm layers are recognized by what they hold: the only vectors called weight.
        weight = getattr(module, "weight", None)
        group = norms if isinstance(weight, nn.Parameter) and weight.ndim == 1 else others
        group.extend(parameter for parameter in module.parameters(recurse=False) if parameter.requires_grad)
    return [
        {"params": others, "weight_decay": weight_decay},
        {"params": norms, "weight_decay": weight_decay if weight_decay_norm else 0.0},
    ]


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


Network = TypeVar("Network", bound=nn.Module)


class WeightAverage(Generic[Network]):
    """A second network that follows the trained one slowly; it scores better than the last iterate.

    Args:
        network: that is trained.
        decay: of the average per iteration; in the beginning ``(1 + k)/(10 + k)`` if that is less, so that the first
            random weights are soon forgotten.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network)
        self.network.requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, iteration: int) -> None:
        """Moves towards the weights after iteration 1, 2, …."""
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        averages = self.network.state_dict()
        for name, value in network.state_dict().items():
            average = averages[name]
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)
