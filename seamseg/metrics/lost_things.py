"""Stages of the network at which the things without a match in the panoptic output were lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

from seamseg.metrics.average_precision import detected_instances
from seamseg.metrics.matching import match
from seamseg.metrics.overlaps import Overlaps
from seamseg.metrics.run_length import encode_segments
from seamseg.ops.boxes import box_iou
from seamseg.structures import Detections, Instance, PanopticSegmentation, RunLengthMask

COVERED_IOU = 0.5
"""Minimum IoU of a box that covers a thing."""

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class LostThings:
    """Numbers of true things of one class, and of those without a match in the panoptic output by stage.

    The first stage that applies counts. A box covers a thing if their IoU is at least 0.5.

    Attributes:
        things: All true things that count in panoptic quality.
        outranked: A mask of the right class has an IoU over 0.5, but lost pixels or all of itself to better detections.
        badly_cut: A detection of the right class covers the thing, but its mask has an IoU of at most 0.5.
        wrong_class: Only detections of other classes cover the thing.
        score_too_low: Proposals cover the thing, but no detection that takes part in the fusion.
        not_proposed: No proposal covers the thing.
    """

    things: int
    outranked: int
    badly_cut: int
    wrong_class: int
    score_too_low: int
    not_proposed: int

    @property
    def num_lost(self) -> int:
        """Number of things without a match."""
        return self.outranked + self.badly_cut + self.wrong_class + self.score_too_low + self.not_proposed


STAGES = ("outranked", "badly_cut", "wrong_class", "score_too_low", "not_proposed")
"""Stages in the order in which they are checked; fields of :class:`LostThings`."""


class LostThingsCounter:
    """Count lost things image by image.

    Attributes:
        state: Number of things and of those lost at each stage, T×6 int64. Adding the states of several ranks gives
            that of all images.

    Args:
        num_things: Number of thing classes T.
        num_stuff: Number of stuff classes.
        score_threshold: Score above which detections take part in the fusion.
    """

    def __init__(self, num_things: int, num_stuff: int, score_threshold: float) -> None:
        self.num_stuff, self.score_threshold = num_stuff, score_threshold
        self.state = torch.zeros(num_things, 1 + len(STAGES), dtype=torch.int64)

    def update(
        self, segmentation: PanopticSegmentation, detections: Detections, proposals: Tensor, truth: PanopticSegmentation
    ) -> None:
        """Add one image; everything has the size of the annotation.

        Args:
            segmentation: Fused output.
            detections: Objects before the fusion.
            proposals: Boxes that were classified, P×4.
            truth: Annotation.
        """
        matching, classes = match(Overlaps.between(segmentation, truth)), truth.classes.cpu()
        for segment in matching.present.tolist():
            if classes[segment] >= self.num_stuff:
                self.state[classes[segment] - self.num_stuff, 0] += 1
        lost = [segment for segment in matching.missed.tolist() if classes[segment] >= self.num_stuff]
        if not lost:
            return
        found = detected_instances(detections.rows(detections.scores > self.score_threshold), truth.size)
        for segment, mask in zip(lost, encode_segments(truth.ids.cpu().numpy(), lost), strict=True):
            category = int(classes[segment]) - self.num_stuff
            self.state[category, 1 + _stage(category, mask, found, proposals.cpu())] += 1

    def compute(self, names: Sequence[str]) -> dict[str, LostThings]:
        """Return the numbers by class.

        Args:
            names: Names of the thing classes.
        """
        return {name: LostThings(*counts) for name, counts in zip(names, self.state.tolist(), strict=True)}


def _stage(category: int, mask: RunLengthMask, found: Sequence[Instance], proposals: Tensor) -> int:
    """Return the index of the stage at which a thing was lost."""
    box = torch.tensor([mask.box()])
    covers = _covered(box, torch.tensor([one.box for one in found]).view(-1, 4))
    right = np.array([one.category == category for one in found], np.bool_)
    cut_well = any(one.category == category and _mask_iou(mask, one) > COVERED_IOU for one in found)
    reasons = (cut_well, (covers & right).any(), (covers & ~right).any(), _covered(box, proposals).any(), True)
    return reasons.index(True)


def _covered(box: Tensor, boxes: Tensor) -> BoolArray:
    return np.asarray((box_iou(box, boxes.float())[0] >= COVERED_IOU).numpy(), np.bool_)


def _mask_iou(mask: RunLengthMask, one: Instance) -> float:
    if one.mask is None:
        return 0.0
    return float(coco_mask.iou([mask.to_coco()], [one.mask.to_coco()], [0])[0, 0])


def total(lost: dict[str, LostThings]) -> LostThings:
    """Return the sum over the classes."""
    counts: list[dict[str, Any]] = [asdict(one) for one in lost.values()]
    return LostThings(*(sum(one[name] for one in counts) for name in ("things", *STAGES)))
