"""Parameter groups, AdamW, learning rate schedule and weight averaging."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer


def parameter_groups(network: nn.Module, weight_decay: float, weight_decay_norm: bool) -> list[dict[str, Any]]:
    """Return the trainable parameters as groups for an optimizer, with norm parameters in their own group.

    Args:
        network: Network to train.
        weight_decay: Weight decay of all parameters except those of norms.
        weight_decay_norm: Whether it also applies to the parameters of norms.
    """
    norms: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in network.modules():
        # Norm layers are the only ones with a vector named weight.
        weight = getattr(module, "weight", None)
        group = norms if isinstance(weight, nn.Parameter) and weight.ndim == 1 else others
        group.extend(parameter for parameter in module.parameters(recurse=False) if parameter.requires_grad)
    return [
        {"params": others, "weight_decay": weight_decay},
        {"params": norms, "weight_decay": weight_decay if weight_decay_norm else 0.0},
    ]


class DenseAdamW(AdamW):
    """AdamW that updates weights in channels last as fast as contiguous ones.

    PyTorch's fused kernel copies one tensor of each weight that is not contiguous (2.14), which takes longer than the
    update. Here, it gets views of the same memory that are contiguous. The state keeps the shape of the weights.
    """

    def _init_group(
        self,
        group: dict[str, Any],
        params_with_grad: list[Tensor],
        grads: list[Tensor],
        exp_avgs: list[Tensor],
        exp_avg_sqs: list[Tensor],
        *others: Any,
    ) -> bool:
        has_complex: bool = super()._init_group(  # type: ignore[no-untyped-call]
            group, params_with_grad, grads, exp_avgs, exp_avg_sqs, *others
        )
        for index, parameter in enumerate(params_with_grad):
            if parameter.is_contiguous() or not parameter.is_contiguous(memory_format=torch.channels_last):
                continue
            for tensors in (params_with_grad, grads, exp_avgs, exp_avg_sqs):
                tensor = tensors[index].detach().contiguous(memory_format=torch.channels_last)
                tensors[index] = tensor.permute(0, 2, 3, 1)
        return has_complex


Decay = Callable[[int], float]
"""Function that maps the iteration 1, 2, … to a factor on the learning rate."""


def poly_decay(power: float, num_iterations: int) -> Decay:
    """Return the decay ``(1 − (k − 1)/K) ** power`` for iteration k of K; the last factor is positive."""
    return lambda iteration: (1 - (iteration - 1) / num_iterations) ** power


def step_decay(milestones: Sequence[int], gamma: float) -> Decay:
    """Return a decay that multiplies by ``gamma`` at each milestone."""
    return lambda iteration: float(gamma ** sum(iteration >= milestone for milestone in milestones))


def cosine_decay(num_iterations: int) -> Decay:
    """Return a decay that follows half a cosine from 1 toward 0."""
    return lambda iteration: 0.5 * (1 + math.cos(math.pi * (iteration - 1) / num_iterations))


@dataclass(frozen=True)
class LearningRate:
    """Learning rate schedule with a linear warmup followed by a decay.

    Attributes:
        lr: Base learning rate.
        decay: Decay factor as a function of the iteration; it also applies during the warmup.
        warmup_iterations: Number of iterations of the warmup; 0 disables it.
        warmup_factor: Initial factor of the warmup, which rises linearly to 1.
    """

    lr: float
    decay: Decay
    warmup_iterations: int
    warmup_factor: float

    def __call__(self, iteration: int) -> float:
        """Return the learning rate of iteration 1, 2, …."""
        warmup = 1.0
        if iteration <= self.warmup_iterations:
            warmup = self.warmup_factor + (1 - self.warmup_factor) * iteration / self.warmup_iterations
        return self.lr * warmup * self.decay(iteration)

    def apply(self, optimizer: Optimizer, iteration: int) -> float:
        """Set the learning rate of all parameters and return it."""
        rate = self(iteration)
        for group in optimizer.param_groups:
            group["lr"] = rate
        return rate


class WeightAverage:
    """Exponential moving average of the weights, as a second network; it scores better than the last iterate.

    Args:
        network: Trained network, whose tensors have to stay where they are.
        decay: Decay of the average per iteration k. It is at most ``(1 + k)/(10 + k)``, so that the random initial
            weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network)
        self.network.requires_grad_(False)
        self._counts: list[tuple[Tensor, Tensor]] = []
        self._values: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        # A step changes tensors in place, so they are looked up once.
        averages = self.network.state_dict()
        for name, value in network.state_dict().items():
            average = averages[name]
            if average.is_floating_point():
                olds, news = self._values.setdefault(average.dtype, ([], []))
                olds.append(average)
                news.append(value)
            else:
                self._counts.append((average, value))

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Update the average with the weights of the trained network after iteration 1, 2, …."""
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        for average, value in self._counts:
            average.copy_(value)
        for olds, news in self._values.values():
            torch._foreach_lerp_(olds, news, 1 - decay)
