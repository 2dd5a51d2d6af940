"""Annotated images as samples for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from seamseg.data.formats.annotated_dataset import AnnotatedDataset
from seamseg.data.images import read_reduced_jpeg
from seamseg.data.transforms import InputTransform, TrainTransform
from seamseg.ops.id_maps import layered_segment_boxes
from seamseg.structures import LayeredSegmentation, Sample, Size


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Image index and epoch, which together with the seed determine a sample."""

    epoch: int
    index: int


class TrainDataset(Dataset[Sample]):
    """Randomly transformed training samples.

    Each sample depends only on the seed and its key, not on the samples read before it.

    Args:
        source: Annotated images on disk.
        transform: Random transform applied to each image and its annotation.
        seed: Non-negative seed.
    """

    def __init__(self, source: AnnotatedDataset, transform: TrainTransform, seed: int) -> None:
        self.source = source
        self.transform = transform
        self.seed = seed
        self._sizes = source.sizes

    def __getitem__(self, key: SampleKey) -> Sample:
        size = self._sizes[key.index]
        plan = self.transform.sample_plan(size, sample_generator(self.seed, key))
        pixels, scale = self._read_image(key.index, size, plan.decode_scale)
        if scale == 1 and pixels.shape[:2] != size:  # the data set swaps height and width of this image
            size = pixels.shape[0], pixels.shape[1]
            plan = self.transform.sample_plan(size, sample_generator(self.seed, key))
        image = plan.apply_image(pixels, scale)
        annotation, boxes = plan.apply_annotation(self.source.read_annotation(key.index).as_layers())
        return _sample(self.source, key.index, image, annotation, boxes, size)

    def _read_image(self, index: int, size: Size, decode_scale: int) -> tuple[NDArray[np.uint8], int]:
        """Return the image and the scale at which it was decoded; it is decoded smaller if its file supports that."""
        reduced = read_reduced_jpeg(self.source.image_path(index), size, decode_scale) if decode_scale > 1 else None
        return (self.source.read_image(index), 1) if reduced is None else (reduced, decode_scale)


class EvaluationDataset(Dataset[Sample]):
    """Samples without randomness; the annotation keeps the original size.

    The epoch of a key is ignored.

    Args:
        source: Annotated images on disk.
        transform: Transform of each image; None keeps its size.
    """

    def __init__(self, source: AnnotatedDataset, transform: InputTransform | None) -> None:
        self.source = source
        self.transform = transform

    def __getitem__(self, key: SampleKey) -> Sample:
        image = self.source.read_image(key.index)
        annotation = self.source.read_annotation(key.index).as_layers()
        boxes, _ = layered_segment_boxes(annotation.ids, len(annotation.classes))
        size = image.shape[0], image.shape[1]
        pixels = torch.from_numpy(image).permute(2, 0, 1) if self.transform is None else self.transform.pixels(image)
        return _sample(self.source, key.index, pixels, annotation, boxes, size)


def sample_generator(seed: int, key: SampleKey) -> torch.Generator:
    """Return a random generator that is seeded independently for each seed, epoch and image."""
    sequence = np.random.SeedSequence(seed, spawn_key=(key.epoch, key.index))
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def _sample(
    source: AnnotatedDataset, index: int, image: Tensor, annotation: LayeredSegmentation, boxes: Tensor, size: Size
) -> Sample:
    return Sample(
        source.image_id(index),
        image,
        annotation.ids,
        annotation.classes,
        annotation.crowd,
        boxes,
        original_size=size,
        void_is_background=not source.content.classes,
        stated=annotation.stated,
    )
