"""Ground truth of a batch of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.structures.categories import VOID
from seamseg.structures.packed_sequence import PackedSequence, require_equal_lengths
from seamseg.structures.panoptic_segmentation import LayeredSegmentation, PanopticSegmentation


@dataclass(frozen=True)
class GroundTruth:
    """Annotation of N images; segment id 0 of every image is void.

    Attributes:
        ids: Segment ids 0 … K of every pixel, L×H×W int64 per image. L is 1 for panoptic and semantic data. Objects of
            detection data may overlap, so they lie in L ≥ 1 layers; each lies completely in one layer.
        classes: Class of each segment id, K+1 int64 per image; entry 0 is 255 (void).
        crowd: Whether each segment stands for many objects, K+1 bool per image.
        boxes: Tight box (y0, x0, y1, x1) of each segment, K+1×4 float32 per image; −1 for a segment without pixels.
        void_is_background: Whether void pixels show no object, as in detection data. Otherwise, as in panoptic data,
            nothing is known about them.
        stated: Boxes and areas as stated by the files, K+1×5 float64 per image; see :class:`LayeredSegmentation`. None,
            or no entries, if nothing is stated.
        cut: Sides (y0, x0, y1, x1) of the boxes at which a crop of the image cut the segment, so that it continues
            beyond the edge, K+1×4 bool per image. The edge of the image on disk cuts nothing: the annotation ends
            there, and so does the box that a detector is scored by. None, or no entry, if the image was not cropped.
    """

    ids: PackedSequence
    classes: PackedSequence
    crowd: PackedSequence
    boxes: PackedSequence
    void_is_background: bool = False
    stated: PackedSequence | None = None
    cut: PackedSequence | None = None

    def __post_init__(self) -> None:
        require_equal_lengths(self, ("ids", "classes", "crowd", "boxes"))
        for image, (classes, crowd, boxes) in enumerate(zip(self.classes, self.crowd, self.boxes, strict=True)):
            counts = [len(part) for part in (classes, crowd, boxes) if part is not None]
            if len(set(counts)) > 1:
                raise ValueError(
                    f"classes, crowd and boxes of image {image} of a GroundTruth have different numbers of segments: "
                    f"{counts}"
                )

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> GroundTruth:
        """Return the ground truth on ``device``, copied without blocking."""
        return GroundTruth(
            self.ids.to(device, non_blocking=True),
            self.classes.to(device, non_blocking=True),
            self.crowd.to(device, non_blocking=True),
            self.boxes.to(device, non_blocking=True),
            self.void_is_background,
            None if self.stated is None else self.stated.to(device, non_blocking=True),
            None if self.cut is None else self.cut.to(device, non_blocking=True),
        )

    def objects(self, image: int, num_stuff: int) -> Objects:
        """Return the objects of one image: segments of a thing class that are not crowd and have a pixel."""
        classes, crowd, boxes = self.classes.entry(image), self.crowd.entry(image), self.boxes.entry(image)
        chosen = _is_thing(classes, num_stuff) & ~crowd & (boxes[:, 0] >= 0)
        segment_ids = torch.nonzero(chosen).squeeze(1)
        cut = None if self.cut is None else self.cut[image]
        cut_objects = None if cut is None else cut[segment_ids]
        return Objects(boxes[segment_ids], classes[segment_ids] - num_stuff, segment_ids, cut_objects)

    def crowd_pixels(self, image: int, num_stuff: int) -> Tensor:
        """Return H×W bool: the pixels of crowd segments of thing classes that no object covers in another layer."""
        ids, crowd = self.ids.entry(image), self.crowd.entry(image)
        is_thing = _is_thing(self.classes.entry(image), num_stuff)
        if len(ids) == 1:
            return (crowd & is_thing)[ids[0]]
        return (crowd & is_thing)[ids].any(dim=0) & ~(~crowd & is_thing)[ids].any(dim=0)

    def annotation(self, image: int) -> LayeredSegmentation:
        """Return the annotation of one image, in which objects may overlap."""
        stated = None if self.stated is None else self.stated[image]
        return LayeredSegmentation(self.ids.entry(image), self.classes.entry(image), self.crowd.entry(image), stated)

    def segmentation(self, image: int) -> PanopticSegmentation:
        """Return the annotation of one image without overlaps.

        Raises:
            ValueError: The annotation has several layers; :attr:`LayeredSegmentation.by_layer` has all pixels of every
                segment, :attr:`LayeredSegmentation.flat` the visible ones.
        """
        annotation = self.annotation(image)
        if len(annotation.ids) > 1:
            raise ValueError(f"the segments of image {image} overlap in {len(annotation.ids)} layers")
        return annotation.flat

    def semantic_target(self, image: int) -> Tensor:
        """Return H×W int64: the class of every pixel, including crowd; 255 for void."""
        return self.segmentation(image).semantics


@dataclass(frozen=True)
class Objects:
    """Objects of one image.

    Attributes:
        boxes: O×4 float32.
        classes: O int64, 0-based among the things.
        segment_ids: O int64, the segment ids in the id maps.
        cut: O×4 bool, sides of the boxes at which a crop cut the object; see :class:`GroundTruth`. None if the image
            was not cropped.
    """

    boxes: Tensor
    classes: Tensor
    segment_ids: Tensor
    cut: Tensor | None = None

    @property
    def cut_sides(self) -> Tensor:
        """O×4 bool, sides of the boxes at which a crop cut the object; all False if the image was not cropped."""
        return torch.zeros_like(self.boxes, dtype=torch.bool) if self.cut is None else self.cut


def _is_thing(classes: Tensor, num_stuff: int) -> Tensor:
    return (classes >= num_stuff) & (classes != VOID)
