"""Id maps: their ids looked up in a list, their pixels resampled."""

from __future__ import annotations

import torch
from torch import Tensor

from seamseg.ops import native


def find_ids(ids: Tensor, known: Tensor) -> Tensor:
    """Where each id of a map stands in a list.

    Args:
        ids: H×W int32 on the CPU.
        known: K int32, ascending.

    Returns:
        H×W int32 in 0 … K−1; −1 for ids that are not in the list.

    Raises:
        ValueError: a tensor has another type or shape, or the list is not in order.
        ImportError: the native library is not built.
    """
    native.require("find_ids", _found)
    try:
        found: Tensor = torch.ops.seamseg.find_ids(ids, known)
    except RuntimeError as error:
        raise native.argument_error(error, "find_ids") from None
    return found


def take_pixels(ids: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels where rows and columns cross, ``ids[rows][:, columns]`` in one pass: resampling, cropping, mirroring.

    Args:
        ids: H×W int32 on the CPU.
        rows: h int64 in 0 … H−1, in any order.
        columns: w int64 in 0 … W−1, in any order.

    Returns:
        h×w int32.

    Raises:
        ValueError: a tensor has another type or shape, or a row or column is not in the map.
        ImportError: the native library is not built.
    """
    native.require("take_pixels", _taken)
    try:
        taken: Tensor = torch.ops.seamseg.take_pixels(ids, rows, columns)
    except RuntimeError as error:
        raise native.argument_error(error, "take_pixels") from None
    return taken


def _found(ids: Tensor, known: Tensor) -> Tensor:
    return ids.new_empty(tuple(ids.shape))


def _taken(ids: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return ids.new_empty((rows.shape[0], columns.shape[0]))
