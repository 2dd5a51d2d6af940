"""Merging of the class scores that several passes over one image give, as in test-time augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from seamseg.ops.fusion import resample, resample_rows
from seamseg.structures import Size

Merge: TypeAlias = Literal["logits", "mean", "max", "vote"]
"""Way to merge passes: mean of their logits, mean or maximum of their probabilities, or votes for a class."""

MERGES: tuple[Merge, ...] = get_args(Merge)

STRIP_BYTES = 1 << 22
"""Maximum size of the class scores of one strip of rows in float32. All rows at once would take gigabytes."""


def mean_logits(passes: Sequence[Tensor]) -> Tensor:
    """Average the logits of all passes on the finest of their grids.

    This is the geometric mean of the probabilities, up to a factor that all classes of a pixel share.

    Args:
        passes: Logits of each pass, C×h×w, all covering the same image.
    """
    grid = max(((one.shape[1], one.shape[2]) for one in passes), key=lambda shape: shape[0] * shape[1])
    return torch.stack([resample(one, grid) for one in passes]).mean(dim=0)


def merged_classes(passes: Sequence[Tensor], merge: Merge, output_size: Size) -> Tensor:
    """Return the class of every pixel according to all passes, merged at the size of the output.

    These are the ways of the published semantic network (Rota Bulò et al., "In-Place Activated BatchNorm", CVPR 2018):
    the logits of each pass are resampled bilinearly to the output and turned into probabilities there. Then the class
    with the largest ``mean`` or ``max`` over the passes is chosen, or the one that most passes ``vote`` for. Strips of
    rows are computed one after another, so the scores of a whole image never exist.

    Args:
        passes: Logits of each pass, C×h×w, all covering the same image.
        merge: ``mean``, ``max`` or ``vote``.
        output_size: Height and width of the result.

    Returns:
        Height × width int64 on the device of the logits; the smallest class wins a tie.
    """
    height, width = output_size
    num_rows = max(1, STRIP_BYTES // (4 * len(passes[0]) * width))
    strips = (range(start, min(start + num_rows, height)) for start in range(0, height, num_rows))
    return torch.cat([_merged_strip(passes, merge, rows, output_size).argmax(dim=0) for rows in strips])


def _merged_strip(passes: Sequence[Tensor], merge: Merge, rows: range, output_size: Size) -> Tensor:
    """Return the sum (with the same arg-max as the mean) or the maximum of all passes: C×rows×width."""
    total: Tensor | None = None
    for logits in passes:
        scores = resample_rows(logits, rows, output_size)
        values = _votes(scores) if merge == "vote" else scores.softmax(dim=0)
        if total is None:
            total = values
        elif merge == "max":
            torch.maximum(total, values, out=total)
        else:
            total += values
    assert total is not None, "an image has at least one pass"
    return total


def _votes(scores: Tensor) -> Tensor:
    """Return 1 for the best class of every pixel and 0 for the others; overwrites the scores."""
    best = scores.argmax(dim=0, keepdim=True)
    return scores.zero_().scatter_(0, best, 1.0)
