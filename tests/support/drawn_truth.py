"""Ground truth from lines of digits, one digit per pixel.

drawn("0011 0011", classes=[2])        # one image: void on the left, segment 1 of class 2 on the right
batch([drawn(…), drawn(…)])            # input of the network
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from oracles.segment_boxes import segment_boxes
from torch import Tensor

from seamseg.structures import GroundTruth, PackedSequence

VOID = 255


@dataclass(frozen=True)
class Drawn:
    """One image: H×W ids, and the class and crowd flag of each id; id 0 is void."""

    ids: Tensor
    classes: Tensor
    crowd: Tensor


def drawn(rows: str, classes: Sequence[int] = (), crowd: Collection[int] = ()) -> Drawn:
    """Make an image from lines of digits, given the classes of the segments 1, 2, … and the crowd segments."""
    return painted(torch.tensor([[int(pixel) for pixel in row] for row in rows.split()]), classes, crowd)


def painted(ids: Tensor, classes: Sequence[int] = (), crowd: Collection[int] = ()) -> Drawn:
    """Make an image from an H×W map of ids."""
    flags = [segment in crowd for segment in range(len(classes) + 1)]
    return Drawn(ids, torch.tensor([VOID, *classes]), torch.tensor(flags))


def batch(images: Sequence[Drawn]) -> GroundTruth:
    """Convert images to the ground truth that the network expects."""
    return GroundTruth(
        PackedSequence(image.ids[None] for image in images),
        PackedSequence(image.classes for image in images),
        PackedSequence(image.crowd for image in images),
        PackedSequence(_boxes(image) for image in images),
    )


def _boxes(image: Drawn) -> Tensor:
    boxes, _ = segment_boxes(np.asarray(image.ids), len(image.classes))
    return torch.tensor(boxes, dtype=torch.float32)
