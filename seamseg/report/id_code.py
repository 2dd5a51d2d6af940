"""Id maps as short text, for pages that may not read pictures pixel by pixel: browsers forbid it for files on disk."""

from __future__ import annotations

import base64
import zlib

import numpy as np
from numpy.typing import NDArray

_LEVEL = 9


def encode_ids(ids: NDArray[np.int64]) -> tuple[str, int]:
    """An H×W map of ids 0 … 65535 as text.

    Each row but the first is combined with the one above by exclusive or, which leaves zeros where the two are alike;
    the bytes, least significant first, are compressed by zlib and written in base64.

    Returns:
        The text, and the number of bytes of an id: 1 if all are below 256, else 2.

    Raises:
        ValueError: an id does not fit.
    """
    largest = int(ids.max(initial=0))
    if largest > np.iinfo(np.uint16).max or int(ids.min(initial=0)) < 0:
        raise ValueError(f"an image with {largest} segments cannot be shown; 65535 are the most")
    kind = np.dtype("<u1" if largest < 256 else "<u2")
    rows = ids.astype(kind)
    rows[1:] ^= rows[:-1].copy()
    return base64.b64encode(zlib.compress(rows.tobytes(), _LEVEL)).decode(), kind.itemsize
