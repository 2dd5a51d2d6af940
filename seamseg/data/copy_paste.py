"""Objects of one image pasted into another (Ghiasi et al., "Simple Copy-Paste", CVPR 2021).

Pasted objects have hard edges, because blending them made no difference in the paper (section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.errors import SettingsError
from seamseg.ops.boxes import edge_sides
from seamseg.ops.id_maps import drop_empty_layers, layered_segment_boxes
from seamseg.structures import VOID, LayeredSegmentation


@dataclass(frozen=True)
class AnnotatedImage:
    """An image and its annotation, both transformed to the size of a sample.

    Attributes:
        image: 3×H×W uint8.
        annotation: K segments in L layers of H×W.
        boxes: (K + 1)×4 float32 boxes of the segments.
        cut: (K + 1)×4 bool, sides at which a crop cut them; see :class:`seamseg.structures.GroundTruth`. None for none.
    """

    image: Tensor
    annotation: LayeredSegmentation
    boxes: Tensor
    cut: Tensor | None = None

    @property
    def cut_sides(self) -> Tensor:
        """(K + 1)×4 bool, sides at which a crop cut the segments."""
        return torch.zeros(len(self.annotation.classes), 4, dtype=torch.bool) if self.cut is None else self.cut


class CopyPaste:
    """Random choice of a second image and of its objects, and pasting of these objects.

    Args:
        probability: Fraction of the samples that get objects of another image, in [0, 1].
        num_stuff: Number of stuff classes, which is the first thing class.
        min_visible: Minimum fraction of a segment's pixels, in [0, 1]. Segments that the pasted objects cover down to
            less become crowd: they keep their class and are ignored by the detection losses. Objects are not pasted if
            less of them fits into the other image.

    Raises:
        SeamsegError: A fraction is not in [0, 1].
    """

    def __init__(self, probability: float, num_stuff: int, min_visible: float = 0.0) -> None:
        for name, value in (("copy_paste", probability), ("crop_min_visible", min_visible)):
            if not 0 <= value <= 1:
                raise SettingsError(f"{name} must be in 0 … 1, but is {value}")
        self.probability, self.num_stuff, self.min_visible = probability, num_stuff, min_visible

    def other_image(self, index: int, num_images: int, generator: torch.Generator) -> int | None:
        """Draw the index of the image whose objects are pasted into image ``index``; None for no pasting.

        All other images are equally likely. The only image of a data set is pasted into itself.
        """
        chance, place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        if chance >= self.probability:
            return None
        return (index + 1 + int(place * (num_images - 1))) % num_images

    def choose_objects(
        self, annotation: LayeredSegmentation, shown: tuple[int, int], generator: torch.Generator
    ) -> Tensor:
        """Draw a random subset of the objects of an image; each subset of those that fit is equally likely.

        Args:
            annotation: K segments of the image.
            shown: Height and width of its upper left corner that fits into the other image.
            generator: CPU random generator.

        Returns:
            K + 1 bool: the chosen segments, which are of a thing class and not crowd.
        """
        num_segments, (height, width) = len(annotation.classes), shown
        (_, whole), (_, fitting) = (
            layered_segment_boxes(ids, num_segments) for ids in (annotation.ids, annotation.ids[:, :height, :width])
        )
        fits = (fitting > 0) & (fitting >= self.min_visible * whole)
        is_object = (annotation.classes >= self.num_stuff) & (annotation.classes != VOID) & ~annotation.crowd
        return is_object & fits & (torch.rand(num_segments, generator=generator, dtype=torch.float64) < 0.5)

    def __call__(self, onto: AnnotatedImage, source: AnnotatedImage, generator: torch.Generator) -> AnnotatedImage:
        """Paste a random subset of the objects of one image into another; see :func:`paste_objects`."""
        (height, width), (source_height, source_width) = onto.annotation.size, source.annotation.size
        shown = min(height, source_height), min(width, source_width)
        chosen = self.choose_objects(source.annotation, shown, generator)
        return paste_objects(onto, source, chosen, self.min_visible) if chosen.any() else onto


def paste_objects(onto: AnnotatedImage, source: AnnotatedImage, chosen: Tensor, min_visible: float) -> AnnotatedImage:
    """Paste objects of one image into another, at the same distances from the upper and left edges.

    Where the images differ in size, only their common corner changes. The pasted objects cover all segments of the
    other image, in every layer. Among themselves, they overlap as in their own image.

    Args:
        onto: Image that the objects are pasted into; it is not changed.
        source: Image with the objects.
        chosen: K + 1 bool, the segments of ``source`` to paste.
        min_visible: Minimum fraction of its pixels that a segment of ``onto`` must keep in order not to become crowd.

    Returns:
        The image, the segments that still have a pixel (first the ones of ``onto``, then the pasted ones), their boxes,
        and the sides at which they are cut: those at which a crop had cut them, and those at which the pasted part of
        an object of a larger image ends at the edge.
    """
    height, width = (min(sides) for sides in zip(onto.annotation.size, source.annotation.size, strict=True))
    source_ids = source.annotation.ids[:, :height, :width]
    pasted = chosen.index_select(0, source_ids.flatten()).view(source_ids.shape)
    mask = pasted.any(dim=0)

    image = onto.image.clone()
    image[:, :height, :width] = torch.where(mask, source.image[:, :height, :width], image[:, :height, :width])

    below, num_below = onto.annotation, len(onto.annotation.classes)
    ids = below.ids.new_zeros((max(len(below.ids), len(pasted)), *below.size))
    ids[: len(below.ids)] = below.ids
    ids[:, :height, :width].masked_fill_(mask, 0)
    remaining = layered_segment_boxes(ids, num_below)[1]
    covered = remaining < min_visible * layered_segment_boxes(below.ids, num_below)[1]
    covered[0] = False  # void
    corner = ids[: len(pasted), :height, :width]
    corner.copy_(torch.where(pasted, source_ids + (num_below - 1), corner))

    classes = torch.cat([below.classes, source.annotation.classes[1:]])
    crowd = torch.cat([below.crowd | covered, source.annotation.crowd[1:]])
    visible, boxes, shown = drop_empty_layers(LayeredSegmentation(ids, classes, crowd))
    source_cut = source.cut_sides.clone()
    source_cut[:, 2:] |= source.boxes[:, 2:] > source.boxes.new_tensor([height, width])
    cut = torch.cat([onto.cut_sides, source_cut[1:]])[shown] & edge_sides(boxes, below.size)
    return AnnotatedImage(image, visible, boxes, cut)
