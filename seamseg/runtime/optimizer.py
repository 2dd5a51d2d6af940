"""Which parameters are trained, and how."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD


def make_sgd(
    network: nn.Module, lr: float, momentum: float, nesterov: bool, weight_decay: float, weight_decay_norm: bool
) -> SGD:
    """Stochastic gradient descent over the parameters that are not frozen.

    Args:
        network: whose one-dimensional ``weight`` and ``bias`` of norm layers form a group of their own.
        lr, momentum, nesterov: as in :class:`torch.optim.SGD`.
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
    groups = [
        {"params": others, "weight_decay": weight_decay},
        {"params": norms, "weight_decay": weight_decay if weight_decay_norm else 0.0},
    ]
    return SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0)
