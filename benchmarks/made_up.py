"""Random images with random annotation, and a small network for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from unittest import mock

import torch
from torch import Tensor

from seamseg.builders import build_initialized_network
from seamseg.config import Experiment, parse_experiment
from seamseg.modules import resnet
from seamseg.networks import PyramidNet
from seamseg.ops.id_maps import segment_boxes
from seamseg.structures import VOID, Batch, Categories, Category, Sample, Size

KINDS = ("objects", "no objects", "crowd", "void")
"""Kinds of images: stuff and two objects, only stuff, a crowd and void, and only void."""
CATEGORIES = Categories(
    (
        Category("sky", False, (0, 0, 255), 1),
        Category("road", False, (90, 90, 90), 2),
        Category("car", True, (255, 0, 0), 3),
        Category("person", True, (0, 255, 0), 4),
    )
)
_CLASSES = torch.tensor([VOID, 0, 1, 2, 3, 2])
_CROWD = torch.tensor([False, False, False, False, False, True])
SMALL = (
    "body={name: resnet18}",
    "fpn.channels=16",
    "rpn={channels: 16, anchor_scale: 4, min_size: 0, num_samples: 32}",
    "rpn.training={before_nms: 100, after_nms: 20}",
    "rpn.inference={before_nms: 100, after_nms: 20}",
    "roi={fc_channels: 32, mask_channels: 8, num_samples: 16}",
    "sem.channels=16",
)
"""Settings of a network that trains quickly, for `small_network`."""


class MadeUpBatches:
    """Loader of one epoch that makes each batch when it is needed.

    Args:
        make: Function from the step, starting at 0, to its batch.
        num_batches: Number of batches in the epoch.
    """

    def __init__(self, make: Callable[[int], Batch], num_batches: int) -> None:
        self.make, self.num_batches = make, num_batches

    def num_batches_in(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""
        return self.num_batches

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Return the batches of an epoch from step ``start``."""
        return map(self.make, range(start, self.num_batches))


def made_up_batch(kinds: Sequence[str], sizes: Sequence[Size], generator: torch.Generator) -> Batch:
    """Return images of noise, annotated with rectangles.

    Args:
        kinds: Kind of each image, one of `KINDS`.
        sizes: Height and width of each image, at least 16.
        generator: Random generator.
    """
    return Batch.collate(
        [_sample(number, *image, generator) for number, image in enumerate(zip(kinds, sizes, strict=True))]
    )


def small_network(experiment: Experiment) -> PyramidNet:
    """Return the network of the settings with a body of an eighth of the width."""
    with mock.patch.object(resnet, "STEM_CHANNELS", 8):
        return panoptic_network(experiment)


def panoptic_network(experiment: Experiment) -> PyramidNet:
    """Return the panoptic network of the settings."""
    network = build_initialized_network(experiment, CATEGORIES)
    assert isinstance(network, PyramidNet)
    return network


def small_experiment(*overrides: str) -> Experiment:
    """Return the settings `SMALL` with overrides."""
    return parse_experiment("", "benchmarks", [*SMALL, *overrides])


def _sample(number: int, kind: str, size: Size, generator: torch.Generator) -> Sample:
    ids = _ids(kind, size, generator)
    boxes, _ = segment_boxes(ids[0], len(_CLASSES))
    image = torch.randn(3, *size, generator=generator)
    return Sample(number, image, ids, _CLASSES, _CROWD, boxes, size)


def _ids(kind: str, size: Size, generator: torch.Generator) -> Tensor:
    """Return segment ids, 1×H×W: 1 and 2 are stuff, 3 and 4 objects, 5 is crowd."""
    height, width = size
    ids = torch.zeros(1, height, width, dtype=torch.int64)
    if kind == "crowd":
        ids[..., width // 8 :] = 5
    if kind in ("objects", "no objects"):
        ids[:, : height // 2], ids[:, height // 2 :] = 1, 2
    if kind == "objects":
        for segment in (3, 4):
            top, left = (_draw(0, side // 2, generator) for side in size)
            tall, wide = (_draw(side // 6, side // 2, generator) for side in size)
            ids[:, top : top + tall, left : left + wide] = segment
    return ids


def _draw(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))
