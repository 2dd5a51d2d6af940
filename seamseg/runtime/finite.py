"""Search for infinities and NaNs in the losses and the state of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seamseg.structures import Batch

REMEDY = (
    "Pass --resume with optimizer.clip_norm set, or set lower, to retry from the last checkpoint; or start a new run "
    "with a lower optimizer.lr or a longer schedule.warmup.iterations"
)
"""What to do about a run that diverges."""


def nonfinite_tensors(state: Any) -> list[str]:
    """Dotted names of the tensors in a nested state that hold an infinity or a NaN.

    Args:
        state: Mappings and sequences of tensors; other values are not looked at.
    """
    tensors = [(name, tensor) for name, tensor in _tensors(state, "") if tensor.is_floating_point() and tensor.numel()]
    finite = [tensor.isfinite().all() for _, tensor in tensors]  # read at the end: a GPU need not be waited for
    return [name for (name, _), fine in zip(tensors, finite, strict=True) if not fine]


def check_finite(what: str, state: Any) -> None:
    """Refuses a state that must not be written.

    Args:
        what: Name of the file or object, the subject of the error message.
        state: As in :func:`nonfinite_tensors`.

    Raises:
        FloatingPointError: A tensor of the state holds an infinity or a NaN.
    """
    if names := nonfinite_tensors(state):
        raise FloatingPointError(f"{what} has infinities or NaNs in {some_of(names)}")


def some_of(names: list[str]) -> str:
    """The first name and the number of the others."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def describe_nonfinite_losses(values: list[dict[str, Tensor]], batches: list[Batch], iteration: int) -> str:
    """Which losses of a step are infinite or NaN, and on which images.

    Args:
        values: Losses by name, and their ``total``, of each batch.
        batches: Batches of the step.
        iteration: Number of the step.

    Returns:
        A part of a sentence, or the empty string if all losses are finite.
    """
    if bool(torch.stack([losses["total"] for losses in values]).isfinite().all()):
        return ""
    found = []
    for losses, batch in zip(values, batches, strict=True):
        wrong = [f"{name}={float(loss)}" for name, loss in losses.items() if not math.isfinite(loss)]
        if wrong:
            single = [loss for loss in wrong if not loss.startswith("total=")] or wrong
            found.append(f"{', '.join(single)} on the images {list(batch.image_ids)}")
    return f"iteration {iteration}: {'; '.join(found)}"


def _tensors(state: Any, prefix: str) -> list[tuple[str, Tensor]]:
    if isinstance(state, torch.Tensor):
        return [(prefix, state)]
    if isinstance(state, Mapping):
        entries = list(state.items())
    else:
        entries = list(enumerate(state)) if isinstance(state, (list, tuple)) else []
    return [found for key, value in entries for found in _tensors(value, f"{prefix}.{key}" if prefix else str(key))]
