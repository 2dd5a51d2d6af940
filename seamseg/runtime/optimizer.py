"""Which parameters are trained, and which are decayed."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameter_groups(network: nn.Module, weight_decay: float, weight_decay_norm: bool) -> list[dict[str, Any]]:
    """The parameters that are not frozen, for an optimiser: those of the norms in a group of their own.

    Args:
        network: whose parameters are trained.
        weight_decay: of all parameters …
        weight_decay_norm: … or of all but the norms'.
    """
    norms: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in network.modules():
        # Norm layers are recognised by what they hold: the only vectors called weight.
        weight = getattr(module, "weight", None)
        group = norms if isinstance(weight, nn.Parameter) and weight.ndim == 1 else others
        group.extend(parameter for parameter in module.parameters(recurse=False) if parameter.requires_grad)
    return [
        {"params": others, "weight_decay": weight_decay},
        {"params": norms, "weight_decay": weight_decay if weight_decay_norm else 0.0},
    ]
