"""One training sample from its files, by this project and by a plain pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional

from seamseg.data.dataset import SampleKey, TrainDataset, sample_generator
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.transforms import Normalize, TrainTransform
from seamseg.structures import VOID

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SEED = 0


@dataclass(frozen=True)
class Result:
    """Training sample.

    Attributes:
        image: Pixels, 3×h×w, uint8 or float32.
        ids: Segment of every pixel, h×w, renumbered.
        classes: Class of each segment; 255 for void.
        boxes: Box of each segment, (y0, x0, y1, x1).
    """

    image: Tensor
    ids: Tensor
    classes: Tensor
    boxes: Tensor


Pipeline = Callable[[int], Result]
"""Function from the index of an image to its sample."""


def ours(source: CocoPanoptic, transform: TrainTransform) -> Pipeline:
    """Return the pipeline of a loader's worker, which gives bytes; they are normalized on the device."""
    dataset = TrainDataset(source, transform, SEED)

    def read(index: int) -> Result:
        sample = dataset[SampleKey(0, index)]
        return Result(sample.image, sample.ids[0], sample.classes, sample.boxes)

    return read


def plain(source: CocoPanoptic, transform: TrainTransform) -> Pipeline:
    """Return a pipeline of Pillow and NumPy with the same scale and mirroring."""
    classes = [dict(zip(r.segments.ids.tolist(), r.segments.classes.tolist(), strict=True)) for r in source.records]

    def read(index: int) -> Result:
        plan = transform.sample_plan(source.sizes[index], sample_generator(SEED, SampleKey(0, index)))
        image = Image.open(source.image_path(index)).convert("RGB")
        colors = Image.open(source.annotation_path(index)).convert("RGB")
        image = image.resize(plan.size[::-1], Image.Resampling.BILINEAR)
        colors = colors.resize(plan.size[::-1], Image.Resampling.NEAREST)
        if plan.mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            colors = colors.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor: Tensor = functional.to_tensor(image)
        rgb = np.asarray(colors).astype(np.int32)
        original, ids = np.unique(rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2], return_inverse=True)
        ids = ids.reshape(rgb.shape[:2])
        boxes = []
        for segment in range(len(original)):
            ys, xs = np.nonzero(ids == segment)
            boxes.append([ys.min(), xs.min(), ys.max() + 1, xs.max() + 1])
        found = [classes[index].get(number, VOID) for number in original.tolist()]
        return Result(tensor, torch.from_numpy(ids), torch.tensor(found), torch.tensor(boxes, dtype=torch.float32))

    return read


def normalized(pipeline: Pipeline) -> Pipeline:
    """Return a pipeline that also normalizes, on this core."""
    normalize = Normalize(MEAN, STD)
    mean, std = normalize.mean, normalize.std

    def read(index: int) -> Result:
        result = pipeline(index)
        if result.image.dtype == torch.uint8:
            return Result(normalize(result.image), result.ids.long(), result.classes, result.boxes)
        return Result(result.image.sub_(mean).div_(std), result.ids, result.classes, result.boxes)

    return read


def check_same(ours: Result, plain: Result) -> None:
    """Check that both samples are equal up to rounding and the filter of the resizing.

    Raises:
        AssertionError: The samples differ.
    """
    wrong = "the two sides of a row make different samples"
    assert ours.image.shape == plain.image.shape, wrong
    assert float((ours.image / 255 - plain.image).abs().mean()) < 0.03, wrong
    same = ours.classes[ours.ids.long()] == plain.classes[plain.ids]
    assert float(same.float().mean()) > 0.99, wrong  # centers on an edge between pixels may fall on either side
    left = {tuple(box) for box in ours.boxes.tolist() if box[0] >= 0}
    right = {tuple(box) for box in plain.boxes.tolist()}
    assert len(left & right) > 0.8 * len(right), wrong
