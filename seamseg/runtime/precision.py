"""The types that a training step computes in."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seamseg.errors import SettingsError

PrecisionName = Literal["float32", "bf16", "fp16"]

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Mixed precision by autocast: convolutions and linear layers in a half type, weights and losses in float32.

    Args:
        name: ``float32``, ``bf16`` or ``fp16``. fp16 scales the loss so that small gradients don't vanish, and skips
            steps whose gradients overflow until the scale is low enough.
        device: of the network.

    Raises:
        SeamsegError: there is no such type, or the device does not compute in it.
    """

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        if name not in get_args(PrecisionName):
            raise SettingsError(f"there is no precision {name!r}; choose one of {', '.join(get_args(PrecisionName))}")
        if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise SettingsError(
                f"training.precision=bf16 needs a GPU that computes in it, and {device} doesn't; use fp16"
            )
        if name == "fp16" and device.type == "cpu":
            raise SettingsError("training.precision=fp16 needs a GPU; on the CPU use bf16 or float32")
        self._type = _TYPES.get(name)
        self._device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> AbstractContextManager[Any]:
        """For the forward pass."""
        if self._type is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, self._type)

    def backward(self, loss: Tensor) -> None:
        """Adds its gradients, scaled if need be."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def gradient_norm(self, optimizer: Optimizer, network: nn.Module) -> Tensor:
        """Takes the loss scale out of the gradient; call it once in front of every :meth:`step`.

        Args:
            optimizer: Optimizer of the network's parameters.
            network: Network whose gradient is complete.

        Returns:
            Norm of the whole gradient, zero-dimensional; an infinity or NaN if the step would ruin the parameters.
        """
        self._scaler.unscale_(optimizer)
        return nn.utils.get_total_norm([value.grad for value in network.parameters() if value.grad is not None])

    @property
    def can_lower_scale(self) -> bool:
        """Whether values that are not finite in a gradient may come from the loss scale: then :meth:`step` skips the
        step and halves the scale. Below 1 the scale cannot be the cause."""
        return self._scaler.is_enabled() and self._scaler.get_scale() >= 1

    def step(self, optimizer: Optimizer, network: nn.Module, clip_norm: float | None, norm: Tensor) -> None:
        """Clips the gradient and moves the parameters; with fp16, skips a gradient that overflowed.

        Args:
            optimizer: Optimizer of the network's parameters.
            network: Network whose gradient is clipped.
            clip_norm: Largest norm of the gradient, or None.
            norm: Norm of the gradient from :meth:`gradient_norm`.
        """
        if clip_norm is not None:
            nn.utils.clip_grads_with_norm_(network.parameters(), clip_norm, norm)
        # Left to itself, the scaler hands what overflowed to the fused SGD, which makes its momentum from uninitialized
        # memory and only then skips its first step (torch 2.14).
        if not self._scaler.is_enabled() or bool(norm.isfinite()):
            self._scaler.step(optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on: the scale, or nothing."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a state."""
        if state:
            self._scaler.load_state_dict(state)
