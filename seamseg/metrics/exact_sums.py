"""Sums of IoUs that come out the same in whatever order, and over however many ranks, they are added up.

A sum of floats depends on the order of its terms in the last digit; one of whole numbers does not. An IoU is a fraction
of numbers of pixels, so it is not smaller than 2⁻⁴³ and its bits end at 2⁻⁹⁶: three digits to the base 2³² hold it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from seamseg.metrics.matching import FloatArray

NUM_DIGITS = 3
_BASE = 2.0**32


def to_digits(values: FloatArray) -> Tensor:
    """Numbers as they can be added without rounding.

    Args:
        values: N, each zero or in 2⁻⁴³ … 2³¹.

    Returns:
        3×N int64, the digits of each number after the binary point, the largest first; up to 2³¹ such tensors whose
        numbers are at most 1 add up without overflow.
    """
    digits = np.zeros((NUM_DIGITS, len(values)), np.int64)
    rest = values
    for digit in digits:
        rest = rest * _BASE  # exact, as is all that follows
        digit[:] = np.floor(rest)
        rest = rest - digit
    assert not rest.any(), "a number has digits behind the last one"
    return torch.from_numpy(digits)


def from_digits(digits: Tensor) -> Tensor:
    """N float64, the numbers that are nearest to sums of what :func:`to_digits` returned, 3×N."""
    base = int(_BASE)
    sums = [(high * base + middle) * base + low for high, middle, low in digits.T.tolist()]
    return torch.tensor([total / base**NUM_DIGITS for total in sums], dtype=torch.float64)
