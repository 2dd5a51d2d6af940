"""Number formats of a training step."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.optim import Optimizer

from seamseg.errors import SettingsError
from seamseg.ops.native import has_values

PrecisionName = Literal["float32", "bf16", "fp16"]
AnyPrecision = Literal["auto", "float32", "bf16", "fp16"]
"""Precision as a user gives it; :func:`choose_precision` replaces ``auto``."""


def automatic_precision(device: torch.device) -> tuple[PrecisionName, str]:
    """Return the precision that ``auto`` means on a device, and the property of the device from which it follows.

    It is ``bf16`` if the device has instructions for it, because it is otherwise slower than float32.
    """
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        reason = f"the GPU has {'' if has_bf16 else 'no '}bf16 instructions"
        return ("bf16" if has_bf16 else "float32"), reason
    if device.type == "cpu" and torch.cpu._is_amx_tile_supported():
        return "bf16", "the processor has AMX"
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return "bf16", "the processor has AVX512_BF16 and no AMX"
    return "float32", "the processor has neither AVX512_BF16 nor AMX"


def choose_precision(name: AnyPrecision, device: torch.device) -> PrecisionName:
    """Return the precision itself, or for ``auto`` the one that suits the device."""
    return automatic_precision(device)[0] if name == "auto" else name


def prefers_channels_last(device: torch.device, precision: PrecisionName) -> bool:
    """Return whether channels last is the faster memory format.

    On GPUs, it suits tensor cores, which float32 does not use. On CPUs, convolutions are faster in it.

    Args:
        device: Device of the network.
        precision: Precision that it computes in.
    """
    return device.type == "cpu" or (device.type == "cuda" and precision != "float32")


_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Mixed precision by autocast: half-precision convolutions and linear layers, float32 weights and losses.

    Args:
        name: Precision: ``float32``, ``bf16`` or ``fp16``. fp16 scales the loss so that small gradients do not vanish,
            and skips steps whose gradients overflow until the scale is low enough.
        device: Device of the network.

    Raises:
        SeamsegError: The precision is unknown or not supported by the device.
    """

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        if name not in get_args(PrecisionName):
            raise SettingsError(f"there is no precision {name!r}; choose one of {', '.join(get_args(PrecisionName))}")
        if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise SettingsError(
                f"training.precision=bf16 needs a GPU that supports it, but {device} does not; use fp16"
            )
        if name == "fp16" and device.type == "cpu":
            raise SettingsError("training.precision=fp16 needs a GPU; on the CPU use bf16 or float32")
        self._type = _TYPES.get(name)
        self._device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context manager for the forward pass."""
        if self._type is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, self._type)

    def convert_weights(self, network: nn.Module) -> None:
        """Store the weights that autocast would convert in every forward pass in half precision, for inference.

        The results stay the same. Weights that other layers compute with keep their type.

        Args:
            network: Network whose convolutions and linear layers use their weights as they are; it is modified.
        """
        if self._type is not None:
            for layer in network.modules():
                if isinstance(layer, (_ConvNd, nn.Linear)):
                    layer.to(self._type)

    def backward(self, loss: Tensor) -> None:
        """Backpropagate a loss, scaled in fp16, and add its gradients to those of the parameters."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def gradient_norm(self, optimizer: Optimizer) -> Tensor:
        """Remove the loss scale from the gradient and return its norm; call this once before every :meth:`step`.

        Args:
            optimizer: Optimizer of parameters with a complete gradient.

        Returns:
            Zero-dimensional norm of the whole gradient; infinity or NaN if the step would ruin the parameters.
        """
        self._scaler.unscale_(optimizer)
        return nn.utils.get_total_norm([value.grad for value in _parameters(optimizer) if value.grad is not None])

    @property
    def can_lower_scale(self) -> bool:
        """Whether non-finite values in a gradient may come from the loss scale.

        If so, :meth:`step` skips the step and halves the scale. A scale below 1 cannot be the cause.
        """
        return self._scaler.is_enabled() and self._scaler.get_scale() >= 1

    def step(self, optimizer: Optimizer, clip_norm: float | None, norm: Tensor) -> None:
        """Clip the gradient and update the parameters; fp16 skips a step whose gradient overflowed.

        Args:
            optimizer: Optimizer of the parameters whose gradient is clipped.
            clip_norm: Maximum norm of the gradient; None disables clipping.
            norm: Norm of the gradient from :meth:`gradient_norm`.
        """
        # Without values, because only memory is measured, it takes the longer way.
        if clip_norm is not None and not (has_values(norm) and float(norm) <= clip_norm):
            nn.utils.clip_grads_with_norm_(_parameters(optimizer), clip_norm, norm)
        # The scaler would pass overflowed gradients to the fused SGD, which initializes its momentum from uninitialized
        # memory before it skips its first step (torch 2.14).
        if not self._scaler.is_enabled() or bool(norm.isfinite()):
            self._scaler.step(optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loss scaler; empty without a loss scale."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from :meth:`state_dict`."""
        if state:
            self._scaler.load_state_dict(state)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
