"""The types that a training step computes in."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

PrecisionName = Literal["float32", "bf16", "fp16"]

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Mixed precision by autocast: convolutions and linear layers in a half type, weights and losses in float32.

    Args:
        name: ``float32``, ``bf16`` or ``fp16``; the last one scales the loss so that small gradients don't vanish, and
            skips steps whose gradients overflow.
        device: of the network.

    Raises:
        ValueError: there is no such type, or the device does not compute in it.
    """

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        if name not in get_args(PrecisionName):
            raise ValueError(f"there is no precision {name!r}; choose one of {', '.join(get_args(PrecisionName))}")
        if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise ValueError(f"training.precision=bf16 needs a GPU that computes in it, and {device} doesn't; use fp16")
        if name == "fp16" and device.type == "cpu":
            raise ValueError("training.precision=fp16 needs a GPU; on the CPU use bf16 or float32")
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

    def step(self, optimizer: Optimizer, network: nn.Module, clip_norm: float | None) -> None:
        """Clips the gradient and moves the parameters.

        Args:
            optimizer: of the network's parameters.
            network: whose gradient is clipped.
            clip_norm: its largest norm, or None.
        """
        if clip_norm is not None:
            self._scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
        self._scaler.step(optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on: the scale, or nothing."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a state."""
        if state:
            self._scaler.load_state_dict(state)
