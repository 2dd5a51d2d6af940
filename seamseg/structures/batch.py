"""Samples and batches that the data loader passes to training and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seamseg.structures.ground_truth import GroundTruth
from seamseg.structures.images import Size
from seamseg.structures.packed_sequence import PackedSequence, require_equal_lengths

ImageId = int | str
"""Id of an image in its data set, a number or a string."""


@dataclass(frozen=True)
class Sample:
    """One image ready for the network, with its annotation.

    Attributes:
        image_id: Id of the image in its data set.
        image: 3×H×W uint8.
        ids: L×h×w int32 segment ids in L layers; see :class:`GroundTruth`. In training, h×w is the size of ``image``;
            in evaluation, that of the original image.
        classes: K+1 int64, the class of each segment id; see :class:`GroundTruth`.
        crowd: K+1 bool, whether each segment is a crowd; see :class:`GroundTruth`.
        boxes: K+1×4 float32, the tight box of each segment; see :class:`GroundTruth`.
        original_size: Height and width of the image on disk, in pixels.
        void_is_background: Whether void pixels show no object; see :class:`GroundTruth`.
        stated: K+1×5 float64, boxes and areas as stated by the file; None in training and for panoptic data.
        cut: K+1×4 bool, sides at which the crop cut each segment; see :class:`GroundTruth`. None without a crop.
    """

    image_id: ImageId
    image: Tensor
    ids: Tensor
    classes: Tensor
    crowd: Tensor
    boxes: Tensor
    original_size: Size
    void_is_background: bool = False
    stated: Tensor | None = None
    cut: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Batch of N samples.

    Attributes:
        image_ids: Ids of the images in their data set.
        images: Images, 3×H×W each: uint8 until the batch is on its device, then normalized float32.
        ground_truth: Annotation of the images; its segment ids are int32 until the batch is on its device.
        original_sizes: Height and width of each image on disk, in pixels.
    """

    image_ids: tuple[ImageId, ...]
    images: PackedSequence
    ground_truth: GroundTruth
    original_sizes: tuple[Size, ...]

    def __post_init__(self) -> None:
        require_equal_lengths(self, ("image_ids", "images", "ground_truth", "original_sizes"))

    @classmethod
    def collate(cls, samples: list[Sample]) -> Batch:
        """Join samples of one data set without copying or padding them."""
        return cls(
            image_ids=tuple(sample.image_id for sample in samples),
            images=PackedSequence(sample.image for sample in samples),
            ground_truth=GroundTruth(
                ids=PackedSequence(sample.ids for sample in samples),
                classes=PackedSequence(sample.classes for sample in samples),
                crowd=PackedSequence(sample.crowd for sample in samples),
                boxes=PackedSequence(sample.boxes for sample in samples),
                void_is_background=any(sample.void_is_background for sample in samples),
                stated=PackedSequence(sample.stated for sample in samples),
                cut=PackedSequence(sample.cut for sample in samples),
            ),
            original_sizes=tuple(sample.original_size for sample in samples),
        )

    def finalize(self, normalize: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch as the network reads it, without any memory in common with this one.

        Args:
            normalize: Function from 3×H×W uint8 images to normalized float32 ones.
        """
        truth = self.ground_truth
        return replace(
            self,
            images=PackedSequence(normalize(image) for image in self.images.present),
            ground_truth=GroundTruth(
                ids=PackedSequence(ids.to(torch.int64, copy=True) for ids in truth.ids.present),
                classes=PackedSequence(classes.clone() for classes in truth.classes.present),
                crowd=PackedSequence(crowd.clone() for crowd in truth.crowd.present),
                boxes=PackedSequence(boxes.clone() for boxes in truth.boxes.present),
                void_is_background=truth.void_is_background,
                stated=PackedSequence(None if one is None else one.clone() for one in truth.stated or ()),
                cut=PackedSequence(None if one is None else one.clone() for one in truth.cut or ()),
            ),
        )

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with images and ground truth on ``device``, copied without blocking."""
        return Batch(
            self.image_ids, self.images.to(device, non_blocking=True), self.ground_truth.to(device), self.original_sizes
        )
