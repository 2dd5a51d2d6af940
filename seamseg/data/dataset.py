"""Annotated images as samples for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from seamseg.data.copy_paste import AnnotatedImage, CopyPaste
from seamseg.data.focus import draw_focus
from seamseg.data.formats.annotated_dataset import AnnotatedDataset
from seamseg.data.images import read_reduced_jpeg
from seamseg.data.transforms import InputTransform, TrainTransform
from seamseg.ops.id_maps import layered_segment_boxes
from seamseg.structures import LayeredSegmentation, Sample, Size


@dataclass(frozen=True, slots=True)
class SampleKey:
    """What determines a sample, together with the seed.

    Attributes:
        epoch: Epoch.
        index: Index of the image.
        repeat: Number of earlier samples of the image in the epoch.
        target: Class that the sample is scaled to and cropped around; see :mod:`seamseg.data.focus`. None for a random
            scale and crop.
    """

    epoch: int
    index: int
    repeat: int = 0
    target: int | None = None


class TrainDataset(Dataset[Sample]):
    """Randomly transformed training samples.

    Each sample depends only on the seed and its key, not on the samples read before it.

    Args:
        source: Annotated images on disk.
        transform: Random transform applied to each image and its annotation.
        seed: Non-negative seed.
        copy_paste: Pasting of objects from other images, which are transformed in the same way; None for no pasting.
    """

    def __init__(
        self, source: AnnotatedDataset, transform: TrainTransform, seed: int, copy_paste: CopyPaste | None = None
    ) -> None:
        self.source = source
        self.transform = transform
        self.seed = seed
        self.copy_paste = copy_paste
        self._sizes = source.sizes

    def __getitem__(self, key: SampleKey) -> Sample:
        generator = sample_generator(self.seed, key)
        if key.target is None:
            shown, size = self._transformed(key.index, generator)
        else:
            shown, size = self._focused(key.index, key.target, generator)
        if self.copy_paste is not None:
            generator = sample_generator(self.seed, key, _PASTING)  # the draws above are the same without pasting
            other = self.copy_paste.other_image(key.index, len(self._sizes), generator)
            if other is not None:
                shown = self.copy_paste(shown, self._transformed(other, generator)[0], generator)
        return _sample(self.source, key.index, shown.image, shown.annotation, shown.boxes, size, shown.cut)

    def _transformed(self, index: int, generator: torch.Generator) -> tuple[AnnotatedImage, Size]:
        """Return an image with its annotation, both transformed at random, and the size of the image on disk."""
        size, state = self._sizes[index], generator.get_state()
        plan = self.transform.sample_plan(size, generator)
        pixels, scale = self._read_image(index, size, plan.decode_scale)
        if scale == 1 and pixels.shape[:2] != size:  # the data set swaps height and width of this image
            size = pixels.shape[0], pixels.shape[1]
            plan = self.transform.sample_plan(size, generator.set_state(state))
        image = plan.apply_image(pixels, scale)
        return AnnotatedImage(image, *plan.apply_annotation(self.source.read_annotation(index).as_layers())), size

    def _focused(self, index: int, target: int, generator: torch.Generator) -> tuple[AnnotatedImage, Size]:
        """Do the same with a plan that depends on the annotation, which is therefore read first."""
        annotation = self.source.read_annotation(index).as_layers()
        focus = draw_focus(annotation, target, self.source.categories.num_stuff, generator)
        plan = self.transform.sample_plan(annotation.size, generator, focus)
        pixels, scale = self._read_image(index, annotation.size, plan.decode_scale)
        return AnnotatedImage(plan.apply_image(pixels, scale), *plan.apply_annotation(annotation)), annotation.size

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


_PASTING = 1
"""Number of the random numbers that decide on pasting."""


def sample_generator(seed: int, key: SampleKey, *number: int) -> torch.Generator:
    """Return a random generator that is seeded independently for each seed, key and number, if one is given."""
    repeat = (key.repeat,) if key.repeat or number else ()
    sequence = np.random.SeedSequence(seed, spawn_key=(key.epoch, key.index, *repeat, *number))
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def _sample(
    source: AnnotatedDataset,
    index: int,
    image: Tensor,
    annotation: LayeredSegmentation,
    boxes: Tensor,
    size: Size,
    cut: Tensor | None = None,
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
        cut=cut,
    )
