"""Annotated images as samples for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from seamseg.data.annotation import Annotation
from seamseg.data.formats.panoptic_dataset import PanopticDataset
from seamseg.data.images import read_reduced_jpeg
from seamseg.data.transforms import InputTransform, TrainTransform
from seamseg.structures import ImageId, Sample, Size


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Which image, in which epoch: all that a sample depends on beside the seed."""

    epoch: int
    index: int


class TrainDataset(Dataset[Sample]):
    """Randomly transformed samples; each depends on the seed and its key alone, never on what was read before it.

    Args:
        source: the images on disk.
        transform: how they are varied.
        seed: not negative.
    """

    def __init__(self, source: PanopticDataset, transform: TrainTransform, seed: int) -> None:
        self.source = source
        self.transform = transform
        self.seed = seed
        self._sizes = source.sizes

    def __getitem__(self, key: SampleKey) -> Sample:
        size = self._sizes[key.index]
        variation = self.transform.draw(size, sample_generator(self.seed, key))
        pixels, factor = self._read_image(key.index, size, variation.view.factor)
        if factor == 1 and pixels.shape[:2] != size:  # the data set has the two sides of this image swapped
            size = pixels.shape[0], pixels.shape[1]
            variation = self.transform.draw(size, sample_generator(self.seed, key))
        image = variation.image(pixels, factor)
        annotation, boxes = variation.annotation(self.source.read_annotation(key.index))
        return _sample(self.source.image_id(key.index), image, annotation, boxes, size)

    def _read_image(self, index: int, size: Size, factor: int) -> tuple[NDArray[np.uint8], int]:
        """The image, reduced if its file can be read so, and by how much it is."""
        reduced = read_reduced_jpeg(self.source.image_path(index), size, factor) if factor > 1 else None
        return (self.source.read_image(index), 1) if reduced is None else (reduced, factor)


class EvaluationDataset(Dataset[Sample]):
    """Samples without randomness; the annotation keeps the original size. The epoch of a key plays no part."""

    def __init__(self, source: PanopticDataset, transform: InputTransform) -> None:
        self.source = source
        self.transform = transform

    def __getitem__(self, key: SampleKey) -> Sample:
        image, annotation = self.source.read_image(key.index), self.source.read_annotation(key.index)
        boxes, _ = annotation.measure()
        size = image.shape[0], image.shape[1]
        return _sample(self.source.image_id(key.index), self.transform.pixels(image), annotation, boxes, size)


def sample_generator(seed: int, key: SampleKey) -> torch.Generator:
    """A stream of random numbers of its own for every seed, epoch and image."""
    sequence = np.random.SeedSequence(seed, spawn_key=(key.epoch, key.index))
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def _sample(image_id: ImageId, image: Tensor, annotation: Annotation, boxes: Tensor, original_size: Size) -> Sample:
    ids, classes, crowd = (torch.from_numpy(part) for part in (annotation.ids, annotation.classes, annotation.crowd))
    return Sample(image_id, image, ids[None], classes, crowd, boxes, original_size)
