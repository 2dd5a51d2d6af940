"""Support for layers in checkpoints, which run a part of a network again in the backward pass."""

from __future__ import annotations

import torch
from torch import Tensor


def is_recomputing() -> bool:
    """Return whether a checkpoint of any kind is running layers again."""
    # Layers run within a backward pass only then. Outside of one, autograd has no task.
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def note_versions(holder: Tensor, dirty: Tensor, *others: Tensor) -> None:
    """Remember, in a recomputation, the versions of tensors that a layer saves.

    Autograd does not compare versions of what checkpoints save, so gradients of a tensor that a later operation
    overwrites would silently be wrong.

    Args:
        holder: Saved tensor that requires no gradient, which the checkpoint returns as the same object.
        dirty: Saved tensor that the layer overwrites, which autograd counts as a version when the layer returns.
        others: Other saved tensors.
    """
    if is_recomputing():
        holder.__dict__["saved_versions"] = [dirty._version + 1, *(tensor._version for tensor in others)]


def check_versions(holder: Tensor, *tensors: Tensor) -> None:
    """Check that nothing has overwritten the tensors since :func:`note_versions`.

    Raises:
        RuntimeError: Something has, as autograd raises it outside of a checkpoint.
    """
    if torch.compiler.is_compiling() or "saved_versions" not in holder.__dict__:
        return
    versions: list[int] = holder.__dict__["saved_versions"]
    if any(tensor._version > version for tensor, version in zip(tensors, versions, strict=True)):
        raise RuntimeError(
            "the output or the residual of an in-place norm has been modified by an inplace operation in a checkpoint, "
            "but the gradient needs its values; use the operation that is not in place"
        )
