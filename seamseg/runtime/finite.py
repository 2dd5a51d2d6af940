"""Detection of infinities and NaNs in the losses and the state of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seamseg.structures import ImageId

REMEDY = (
    "Pass --resume with optimizer.clip_norm set, or set lower, to retry from the last checkpoint; or start a new run "
    "with a lower optimizer.lr or a longer schedule.warmup.iterations"
)
"""Advice for a run that diverges."""


def nonfinite_tensors(state: Any) -> list[str]:
    """Return the dotted names of the tensors in a nested state that contain an infinity or a NaN.

    Args:
        state: Nested mappings and sequences of tensors; other values are ignored.
    """
    tensors = [(name, tensor) for name, tensor in _tensors(state, "") if tensor.is_floating_point() and tensor.numel()]
    finite = [tensor.isfinite().all() for _, tensor in tensors]  # read at the end, to wait for a GPU only once
    return [name for (name, _), fine in zip(tensors, finite, strict=True) if not fine]


def check_finite(what: str, state: Any) -> None:
    """Check that a state may be written.

    Args:
        what: Name of the file or object, used as the subject of the error message.
        state: Nested mappings and sequences of tensors.

    Raises:
        FloatingPointError: A tensor of the state contains an infinity or a NaN.
    """
    if names := nonfinite_tensors(state):
        raise FloatingPointError(f"{what} has infinities or NaNs in {some_of(names)}")


def some_of(names: list[str]) -> str:
    """Return the first name and the number of remaining names."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def describe_nonfinite_losses(values: list[dict[str, Tensor]], images: list[Sequence[ImageId]], iteration: int) -> str:
    """Describe which losses of a step are infinite or NaN, and for which images.

    Args:
        values: Losses by name for each batch, including their ``total``.
        images: Ids of the images of each batch of the step.
        iteration: Number of the step.

    Returns:
        Part of a sentence, or the empty string if all losses are finite.
    """
    if bool(torch.stack([losses["total"] for losses in values]).isfinite().all()):
        return ""
    descriptions = []
    for losses, image_ids in zip(values, images, strict=True):
        nonfinite = [f"{name}={float(loss)}" for name, loss in losses.items() if not math.isfinite(loss)]
        if nonfinite:
            single = [loss for loss in nonfinite if not loss.startswith("total=")] or nonfinite
            descriptions.append(f"{', '.join(single)} on the images {list(image_ids)}")
    return f"iteration {iteration}: {'; '.join(descriptions)}"


def _tensors(state: Any, prefix: str) -> list[tuple[str, Tensor]]:
    if isinstance(state, torch.Tensor):
        return [(prefix, state)]
    if isinstance(state, Mapping):
        entries = list(state.items())
    else:
        entries = list(enumerate(state)) if isinstance(state, (list, tuple)) else []
    return [named for key, value in entries for named in _tensors(value, f"{prefix}.{key}" if prefix else str(key))]
