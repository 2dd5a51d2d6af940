"""Which segment a training sample is scaled to and cropped around: instance scale-uniform sampling."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from seamseg.algos.roi_pooling import CANONICAL_LEVEL, CANONICAL_SIZE, NUM_LEVELS
from seamseg.ops.id_maps import layered_segment_boxes
from seamseg.structures import LayeredSegmentation

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Focus:
    """Part of an image that a sample shows.

    Attributes:
        box: Box (y0, x0, y1, x1) in pixels of the image on disk.
        side: Square root of the area that the box has after scaling, in pixels, if the range of scales permits it;
            None for a scale that does not depend on the box.
    """

    box: Box
    side: float | None = None


def draw_focus(
    annotation: LayeredSegmentation, target: int, num_stuff: int, generator: torch.Generator
) -> Focus | None:
    """Draw a segment of a class and the size at which a sample shows it.

    Instance scale-uniform sampling (Porzi et al., "Improving Panoptic Segmentation at All Scales", CVPR 2021) extends
    class-uniform sampling (Rota Bulò et al., "In-Place Activated BatchNorm", CVPR 2018), which draws a class, an image
    that shows it, and a crop that contains a pixel of it. For a thing class, one of its objects in the image and a
    level of the feature pyramid are drawn as well, all of them uniformly, and the image is scaled so that regions of
    the object are read from this level. For a stuff class, which has no objects, the scale does not depend on the
    segment, and the crop contains one of its pixels, as in class-uniform sampling.

    A level reads sides in a range of a factor of 2 (:class:`seamseg.algos.roi_pooling.RoIPooler`). Within it, the side
    is drawn uniformly in its logarithm, which is a choice of this project, so that all sides from 56 to 896 pixels are
    equally frequent. The finest level also reads smaller ones, and the coarsest one larger ones.

    Args:
        annotation: Annotation of the whole image.
        target: Class.
        num_stuff: Number of stuff classes, which is the first thing class.
        generator: CPU random generator.

    Returns:
        The focus; None if the annotation has no pixel of the class outside of crowds.
    """
    which, place, level, size = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    boxes, areas = layered_segment_boxes(annotation.ids, len(annotation.classes))
    segments = torch.nonzero((annotation.classes == target) & ~annotation.crowd & (areas > 0)).flatten().tolist()
    if not segments:
        return None
    segment = segments[int(which * len(segments))]
    if target < num_stuff:
        pixels = torch.nonzero((annotation.ids == segment).any(dim=0))
        y, x = pixels[int(place * len(pixels))].tolist()
        return Focus((y, x, y + 1, x + 1))
    y0, x0, y1, x1 = (int(edge) for edge in boxes[segment].tolist())
    return Focus((y0, x0, y1, x1), CANONICAL_SIZE * 2 ** (int(level * NUM_LEVELS) - CANONICAL_LEVEL + size))
