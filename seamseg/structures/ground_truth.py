"""Ground truth of a batch of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.structures.categories import VOID
from seamseg.structures.packed_sequence import PackedSequence, require_equal_lengths
from seamseg.structures.panoptic_segmentation import PanopticSegmentation


@dataclass(frozen=True)
class GroundTruth:
    """Panoptic annotation of N images; segment id 0 of every image is void.

    Attributes:
        ids: Segment ids 0 … K of every pixel, 1×H×W int64 per image.
        classes: Class of each segment id, K+1 int64 per image; entry 0 is 255 (void).
        crowd: Whether each segment stands for many objects, K+1 bool per image.
        boxes: Tight box (y0, x0, y1, x1) of each segment, K+1×4 float32 per image; −1 for a segment without pixels.
    """

    ids: PackedSequence
    classes: PackedSequence
    crowd: PackedSequence
    boxes: PackedSequence

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
        )

    def objects(self, image: int, num_stuff: int) -> Objects:
        """Return the objects of one image: segments of a thing class that are not crowd and have a pixel."""
        classes, crowd, boxes = self.classes.entry(image), self.crowd.entry(image), self.boxes.entry(image)
        chosen = _is_thing(classes, num_stuff) & ~crowd & (boxes[:, 0] >= 0)
        segment_ids = torch.nonzero(chosen).squeeze(1)
        return Objects(boxes[segment_ids], classes[segment_ids] - num_stuff, segment_ids)

    def crowd_pixels(self, image: int, num_stuff: int) -> Tensor:
        """Return H×W bool: the pixels of crowd segments of thing classes."""
        crowd_segment = self.crowd.entry(image) & _is_thing(self.classes.entry(image), num_stuff)
        return crowd_segment[self.ids.entry(image)[0]]

    def segmentation(self, image: int) -> PanopticSegmentation:
        """Return the annotation of one image."""
        return PanopticSegmentation(self.ids.entry(image)[0], self.classes.entry(image), self.crowd.entry(image))

    def semantic_target(self, image: int) -> Tensor:
        """Return H×W int64: the class of every pixel, including crowd; 255 for void."""
        return self.segmentation(image).semantics


@dataclass(frozen=True)
class Objects:
    """Objects of one image.

    Attributes:
        boxes: O×4 float32.
        classes: O int64, 0-based among the things.
        segment_ids: O int64, the segment ids in the id map.
    """

    boxes: Tensor
    classes: Tensor
    segment_ids: Tensor


def _is_thing(classes: Tensor, num_stuff: int) -> Tensor:
    return (classes >= num_stuff) & (classes != VOID)
