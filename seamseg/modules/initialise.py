"""First values of the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import init

OUTPUT_GAINS: Mapping[str, float] = {
    "conv_obj": 0.01,
    "conv_bbx": 0.01,
    "roi_cls": 0.01,
    "roi_bbx": 0.001,
    "roi_msk": 0.01,
    "conv_sem": 0.1,
}
"""Gain of the layers that speak first: small, so that the first losses are those of an uninformed guess."""


@torch.no_grad()
def initialise(network: nn.Module, activation: str, slope: float, generator: torch.Generator) -> None:
    """Xavier-normal weights with the activation's gain, zero biases; norms are left as they are made, the identity.

    Args:
        network: changed in place.
        activation, slope: what follows the hidden layers.
        generator: of all random numbers.
    """
    hidden_gain = init.calculate_gain("leaky_relu", slope) if activation == "leaky_relu" else 1.0
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            gain = OUTPUT_GAINS.get(name.rpartition(".")[2], hidden_gain)
            init.xavier_normal_(module.weight, gain, generator=generator)
            if module.bias is not None:
                init.zeros_(module.bias)
