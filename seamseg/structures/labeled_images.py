"""Images with one class each, as the classification network reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seamseg.structures.batch import ImageId
from seamseg.structures.packed_sequence import PackedSequence, require_equal_lengths


@dataclass(frozen=True)
class LabeledImage:
    """One image ready for the network, with its class.

    Attributes:
        image_id: Path of the image relative to the folder of its split.
        image: 3×H×W uint8.
        label: Zero-dimensional int64, the class.
    """

    image_id: ImageId
    image: Tensor
    label: Tensor


@dataclass(frozen=True)
class LabeledBatch:
    """Batch of N images with one class each.

    Attributes:
        image_ids: Paths of the images relative to the folder of their split.
        images: Images, 3×H×W each: uint8 as collated, normalized float32 when finalized.
        ground_truth: N int64 classes.
    """

    image_ids: tuple[ImageId, ...]
    images: PackedSequence
    ground_truth: Tensor

    def __post_init__(self) -> None:
        require_equal_lengths(self, ("image_ids", "images", "ground_truth"))

    @classmethod
    def collate(cls, samples: list[LabeledImage]) -> LabeledBatch:
        """Join samples without copying their images."""
        return cls(
            image_ids=tuple(sample.image_id for sample in samples),
            images=PackedSequence(sample.image for sample in samples),
            ground_truth=torch.stack([sample.label for sample in samples]),
        )

    def finalize(self, normalize: Callable[[Tensor], Tensor]) -> LabeledBatch:
        """Return the batch as the network reads it, without any memory in common with this one.

        Args:
            normalize: Function from 3×H×W uint8 images to normalized float32 ones.
        """
        images = PackedSequence(normalize(image) for image in self.images.present)
        return replace(self, images=images, ground_truth=self.ground_truth.clone())

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device | str) -> LabeledBatch:
        """Return the batch with images and classes on ``device``, copied without blocking."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            ground_truth=self.ground_truth.to(device, non_blocking=True),
        )
