"""What the data loader hands to training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seamseg.structures.ground_truth import GroundTruth
from seamseg.structures.images import Size
from seamseg.structures.packed_sequence import PackedSequence, require_equal_lengths

ImageId = int | str
"""A data set's own id of an image: a number, or a word."""


@dataclass(frozen=True)
class Sample:
    """One image ready for the network, with its annotation.

    Attributes:
        image_id: the data set's own id.
        image: 3×H×W uint8.
        ids: 1×h×w int32 segment ids. In training h, w are the image's; in evaluation those of the original image.
        classes, crowd, boxes: as in :class:`GroundTruth`.
        original_size: height and width of the image on disk.
    """

    image_id: ImageId
    image: Tensor
    ids: Tensor
    classes: Tensor
    crowd: Tensor
    boxes: Tensor
    original_size: Size


@dataclass(frozen=True)
class Batch:
    """N samples.

    Attributes:
        image_ids: the data set's own ids.
        images: 3×H×W float32 each, normalized; uint8 until the batch is on its device.
        ground_truth: their annotation; its ids are int32 until then.
        original_sizes: height and width of the images on disk.
    """

    image_ids: tuple[ImageId, ...]
    images: PackedSequence
    ground_truth: GroundTruth
    original_sizes: tuple[Size, ...]

    def __post_init__(self) -> None:
        require_equal_lengths(self, ("image_ids", "images", "ground_truth", "original_sizes"))

    @classmethod
    def collate(cls, samples: list[Sample]) -> Batch:
        """Joins samples without copying or padding them."""
        return cls(
            image_ids=tuple(sample.image_id for sample in samples),
            images=PackedSequence(sample.image for sample in samples),
            ground_truth=GroundTruth(
                ids=PackedSequence(sample.ids for sample in samples),
                classes=PackedSequence(sample.classes for sample in samples),
                crowd=PackedSequence(sample.crowd for sample in samples),
                boxes=PackedSequence(sample.boxes for sample in samples),
            ),
            original_sizes=tuple(sample.original_size for sample in samples),
        )

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device | str) -> Batch:
        return Batch(
            self.image_ids, self.images.to(device, non_blocking=True), self.ground_truth.to(device), self.original_sizes
        )
