"""Class scores read off at any image size without the enlarged scores ever existing whole.

At 65 classes and 1920×2560 pixels the enlarged scores of one image are 1.3 GB; in bands of rows a few MB do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.structures import SemanticLogits, Size

_BAND_VALUES = 1 << 22  # 16 MB of float32: small enough for a cache, large enough that Python does not count


def class_map(semantics: SemanticLogits, output_size: Size) -> Tensor:
    """The class with the largest score in every pixel of the image's valid part, seen at ``output_size``.

    The scores are interpolated bilinearly (corners not aligned) straight to the output; with ``output_size`` equal to
    the valid size this is up-sampling to the padded size, cropping and taking the arg-max (Porzi et al. 2019, the
    semantic head in inference).

    Args:
        semantics: C×h×w scores of one padded image.
        output_size: height and width of the result.

    Returns:
        Height × width int64, the smallest class among equal scores.
    """
    logits = semantics.logits
    num_classes, height, width = logits.shape
    device = logits.device
    rows = _taps(height, semantics.padded_size[0], semantics.size[0], output_size[0], device)
    columns = _taps(width, semantics.padded_size[1], semantics.size[1], output_size[1], device)
    classes = torch.empty(output_size, dtype=torch.int64, device=device)
    band = max(1, _BAND_VALUES // (num_classes * output_size[1]))
    for start in range(0, output_size[0], band):
        part = slice(start, start + band)
        classes[part] = _interpolate_band(logits, rows[part], columns).argmax(0)
    return classes


@dataclass(frozen=True)
class _Taps:
    """The two neighbours of every output position along one axis.

    Attributes:
        before, after: n int64, indices of the neighbours.
        fraction: n float32, the share of ``after``.
    """

    before: Tensor
    after: Tensor
    fraction: Tensor

    def __getitem__(self, part: slice) -> _Taps:
        return _Taps(self.before[part], self.after[part], self.fraction[part])


def _taps(num_scores: int, padded: int, valid: int, output: int, device: torch.device) -> _Taps:
    """Neighbours along an axis whose ``num_scores`` values span ``padded`` pixels, of which ``valid`` are shown."""
    step = (valid / output) * (num_scores / padded)
    position = ((torch.arange(output, dtype=torch.float64) + 0.5) * step - 0.5).clamp(0, num_scores - 1)
    before = position.floor().long()
    after = (before + 1).clamp(max=num_scores - 1)
    return _Taps(before.to(device), after.to(device), (position - before).float().to(device))


def _interpolate_band(logits: Tensor, rows: _Taps, columns: _Taps) -> Tensor:
    """C × rows × columns float32 scores; only the source rows that the band touches are widened."""
    first, last = int(rows.before[0]), int(rows.after[-1])
    source = logits[:, first : last + 1].float()
    wide = _mix(source[:, :, columns.before], source[:, :, columns.after], columns.fraction)
    return _mix(wide[:, rows.before - first], wide[:, rows.after - first], rows.fraction[:, None])


def _mix(before: Tensor, after: Tensor, fraction: Tensor) -> Tensor:
    return before * (1 - fraction) + after * fraction
