"""Annotated images as samples for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from seamseg.data.annotated_images import AnnotatedImages
from seamseg.data.annotation import Annotation
from seamseg.data.transforms import InputTransform, TrainTransform
from seamseg.ops.segment_boxes import segment_boxes
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

    def __init__(self, source: AnnotatedImages, transform: TrainTransform, seed: int) -> None:
        self.source = source
        self.transform = transform
        self.seed = seed

    def __getitem__(self, key: SampleKey) -> Sample:
        image, annotation = self.source.read_image(key.index), self.source.read_annotation(key.index)
        pixels, annotation_left = self.transform(image, annotation, sample_generator(self.seed, key))
        return _sample(self.source.image_id(key.index), pixels, annotation_left, (image.shape[0], image.shape[1]))


class EvaluationDataset(Dataset[Sample]):
    """Samples without randomness; the annotation keeps the original size. The epoch of a key plays no part."""

    def __init__(self, source: AnnotatedImages, transform: InputTransform) -> None:
        self.source = source
        self.transform = transform

    def __getitem__(self, key: SampleKey) -> Sample:
        image, annotation = self.source.read_image(key.index), self.source.read_annotation(key.index)
        original_size = image.shape[0], image.shape[1]
        return _sample(self.source.image_id(key.index), self.transform(image), annotation, original_size)


def sample_generator(seed: int, key: SampleKey) -> torch.Generator:
    """A stream of random numbers of its own for every seed, epoch and image."""
    sequence = np.random.SeedSequence(seed, spawn_key=(key.epoch, key.index))
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def _sample(image_id: ImageId, image: Tensor, annotation: Annotation, original_size: Size) -> Sample:
    ids = torch.from_numpy(annotation.ids).to(torch.int64)
    boxes, _ = segment_boxes(ids, len(annotation.classes))
    classes, crowd = torch.from_numpy(annotation.classes), torch.from_numpy(annotation.crowd)
    return Sample(image_id, image, ids[None], classes, crowd, boxes, original_size)
