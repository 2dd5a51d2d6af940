"""The pixels of one prediction, held against what its JSON file says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seamseg.data.panoptic_png import read_panoptic_png
from seamseg.data.segment_measures import distinct_values
from seamseg.data.stated_size import check_size, size_text
from seamseg.data.submit.selection import SubmittedImage


@dataclass(frozen=True, eq=False)
class SegmentMap:
    """The K segments that have a pixel, void among them.

    Attributes:
        places: H×W, 0 … K−1, which of them a pixel belongs to.
        entries: K, where each stands in the lists of :class:`~seamseg.data.panoptic_files.ListedSegments`; 0 is void.
    """

    places: NDArray[np.int64]
    entries: NDArray[np.int64]


def read_segment_map(image: SubmittedImage) -> SegmentMap:
    """Reads the PNG.

    Raises:
        ValueError: it is missing or broken, of another size, or holds an id that the JSON file does not list.
    """
    listed = image.segments
    ids = read_panoptic_png(listed.png)
    check_size(listed.png, ids.shape, image.size, f"its JSON file says {size_text(image.size)}")
    values, places = distinct_values(ids)
    order = np.argsort(listed.ids)
    found = np.minimum(np.searchsorted(listed.ids[order], values), len(order) - 1)
    foreign = values[listed.ids[order][found] != values]
    if len(foreign):
        raise ValueError(f"{listed.png} holds the segment id {foreign[0]}, which its JSON file does not list")
    return SegmentMap(places, order[found])
