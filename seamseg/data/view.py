"""What a training sample shows of an image: which part, how large, mirrored or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seamseg.data.annotation import Annotation, compact_with_boxes
from seamseg.data.reduced_jpeg import reduction
from seamseg.data.resizing import nearest, resize_image
from seamseg.ops.id_maps import take_pixels
from seamseg.structures import Size

Window = tuple[int, int, int, int]
"""(y0, x0, y1, x1) in pixels, half-open."""


@dataclass(frozen=True)
class View:
    """Cuts a window out of an image and its segments, resizes it and mirrors it.

    Attributes:
        whole: height and width of the image on disk.
        window: part of it that is shown.
        size: height and width at which it is shown.
        mirrored: whether left and right change places.
        factor: 1, 2, 4 or 8: the image may be read smaller by this much. Edges of the window are multiples of it, but
            for those at the edge of the image.
    """

    whole: Size
    window: Window
    size: Size
    mirrored: bool
    factor: int

    def image(self, pixels: NDArray[np.uint8], factor: int = 1) -> Tensor:
        """From H×W×3 uint8, or an image reduced by ``factor``, to 3×h×w uint8 of the view's size.

        Where the factor does not divide the image, the last pixels of the reduced one reach beyond its edge; they are
        shown if more than half of them lies inside, so nothing is displaced by more than half a pixel.
        """
        y0, x0 = self.window[0] // factor, self.window[1] // factor
        y1, x1 = (
            max(start + 1, (end + factor // 2) // factor) for start, end in ((y0, self.window[2]), (x0, self.window[3]))
        )
        shown = resize_image(pixels[y0:y1, x0:x1], self.size)
        return shown.flip(2) if self.mirrored else shown

    def ids(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """From H×W segment ids to h×w, each that of the pixel under the centre."""
        y0, x0, y1, x1 = self.window
        rows = y0 + nearest(y1 - y0, self.size[0])
        columns = nearest(x1 - x0, self.size[1])
        columns = x1 - 1 - columns if self.mirrored else x0 + columns
        taken = take_pixels(torch.from_numpy(ids), torch.from_numpy(rows), torch.from_numpy(columns))
        shown: NDArray[np.int32] = taken.numpy()
        return shown

    def annotation(self, annotation: Annotation, min_visible: float) -> tuple[Annotation, Tensor]:
        """The segments that are shown, renumbered, and their boxes.

        Args:
            annotation: of the whole image.
            min_visible: segments of which the window holds a smaller part, in 0 … 1 of their pixels on disk, become
                crowd: they keep their class, but no object is sought there and none is denied.

        Returns:
            The annotation at the view's size, and K+1×4 float32 boxes.
        """
        crowd = annotation.crowd
        if self.window != (0, 0, *self.whole):
            crowd = crowd | self._leftovers(annotation, min_visible)
        return compact_with_boxes(Annotation(self.ids(annotation.ids), annotation.classes, crowd))

    def _leftovers(self, annotation: Annotation, min_visible: float) -> NDArray[np.bool_]:
        y0, x0, y1, x1 = self.window
        seen = Annotation(annotation.ids[y0:y1, x0:x1], annotation.classes, annotation.crowd)
        (_, whole), (_, visible) = annotation.measure(), seen.measure()
        few: NDArray[np.bool_] = (visible < min_visible * whole).numpy()
        few[0] = False  # void
        return few


def make_view(whole: Size, scaled: Size, crop: Size | None, place: tuple[float, float], mirrored: bool) -> View:
    """The view of an image that is first scaled and then cropped; its pixels are cut first, which is less work.

    Args:
        whole: height and width of the image on disk.
        scaled: those that the whole image would be shown at.
        crop: height and width that the view has at most; None for the whole image.
        place: numbers in [0, 1): where the window lies between top and bottom, left and right.
        mirrored: whether left and right change places.
    """
    factor = reduction(whole, scaled)
    if crop is None:
        return View(whole, (0, 0, *whole), scaled, mirrored, factor)
    size = min(scaled[0], crop[0]), min(scaled[1], crop[1])
    rows, columns = (
        _range(old, new, shown, where, factor)
        for old, new, shown, where in zip(whole, scaled, size, place, strict=True)
    )
    return View(whole, (rows[0], columns[0], rows[1], columns[1]), size, mirrored, factor)


def _range(whole: int, scaled: int, shown: int, place: float, factor: int) -> tuple[int, int]:
    """First and last + 1 of the pixels on disk, of which the scaled image would show ``shown``."""
    if shown == scaled:
        return 0, whole
    length = max(1, round(whole * shown / scaled))
    start = int(place * (whole - length + 1))
    end = -(-(start + length) // factor) * factor
    return start - start % factor, min(whole, end)
