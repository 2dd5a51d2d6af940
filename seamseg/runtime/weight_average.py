"""Exponential moving average of the weights (Polyak and Juditsky, 1992)."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

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
