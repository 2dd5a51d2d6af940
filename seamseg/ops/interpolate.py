"""Class scores read off at any image size without the enlarged scores ever existing whole.

At 65 classes and 1920×2560 pixels the enlarged scores of one image are 1.3 GB; here every pixel keeps the best score it
has seen, class after class, in a register.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from seamseg.ops import native
from seamseg.structures import SemanticLogits, Size

_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def class_map(semantics: SemanticLogits, output_size: Size) -> Tensor:
    """The class with the largest score in every pixel of the image's valid part, seen at ``output_size``.

    The scores are interpolated bilinearly (corners not aligned) straight to the output; with ``output_size`` equal to
    the valid size this is up-sampling to the padded size, cropping and taking the arg-max (Porzi et al. 2019, the
    semantic head in inference).

    Args:
        semantics: C×h×w scores of one padded image.
        output_size: height and width of the result.

    Returns:
        Height × width int64, on the device of the scores: the smallest class among equal scores. An infinite score is
        infinite wherever its weight is not 0; the sum of +∞ and −∞ is NaN, as is anything with NaN. NaN counts as less
        than all numbers, and where all classes are NaN the class is 0. Scores of other types than float32, bfloat16
        and float16 are rounded to float32.

    Raises:
        ValueError: there are no scores.
        ImportError: the native library is not built.
    """
    native.require("class_map", _shape)
    logits = semantics.logits
    scores = logits.to(native.device_with_kernels(logits.device), logits.dtype if logits.dtype in _TYPES else _TYPES[0])
    try:
        classes: Tensor = torch.ops.seamseg.class_map(
            scores, _step(semantics, output_size, 0), _step(semantics, output_size, 1), *output_size
        )
    except RuntimeError as error:
        raise native.argument_error(error, "class_map") from None
    return classes.to(logits.device)


def resample(scores: Tensor, size: Size) -> Tensor:
    """C×h×w floating-point scores at another size, interpolated bilinearly (corners not aligned).

    Infinities count as the largest finite numbers and NaN as the lowest one: the weight 0 times them would be NaN in
    PyTorch, also at positions beside them.
    """
    finite = torch.nan_to_num(scores, nan=torch.finfo(scores.dtype).min)
    return functional.interpolate(finite[None], size, mode="bilinear", align_corners=False)[0]


def _step(semantics: SemanticLogits, output_size: Size, axis: int) -> float:
    """How many scores lie between two neighbours of the output along an axis."""
    num_scores = semantics.logits.shape[1 + axis]
    return semantics.size[axis] / max(output_size[axis], 1) * (num_scores / semantics.padded_size[axis])


def _shape(logits: Tensor, row_step: float, column_step: float, height: int, width: int) -> Tensor:
    return logits.new_empty((height, width), dtype=torch.int64)
