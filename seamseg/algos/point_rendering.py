"""Masks that are rendered point by point (Kirillov et al., PointRend: Image Segmentation as Rendering, CVPR 2020).

A head predicts masks at single points, from features of the finest pyramid level and a coarse mask. In training, it
sees mostly points where the coarse mask is uncertain. In inference, the coarse mask is doubled in size several times,
and each time the head decides about the most uncertain points, so that only borders are computed at full resolution.

The paper's coarse masks have 7×7 positions and come from a light branch that replaces the published mask branch. Here
the mask branch stays as it is, with its loss and 28×28 positions: weights of networks without a point head fit, mask
scores keep their input, and subdivision starts at the size up to which the paper's computes every position anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from seamseg.algos.losses import of_class
from seamseg.ops.native import at_least_float32

NUM_TRAINING_POINTS = 14**2
"""Number of points of each region that have a loss."""
OVERSAMPLING = 3
"""Number of random points, as a multiple of ``NUM_TRAINING_POINTS``, among which uncertain ones are chosen (k in the
paper)."""
UNCERTAIN_FRACTION = 0.75
"""Fraction of the training points that are chosen by uncertainty (β in the paper); the others are random."""
NUM_RENDERED_POINTS = 28**2
"""Number of points of each mask that are predicted again after it was doubled in size."""
NUM_SUBDIVISIONS = 3
"""How often a mask is doubled in size: from 28 to 224 positions per side."""
REGIONS_AT_A_TIME = 32
"""Number of masks whose points exist at a time."""

PointSampler = Callable[[Tensor, Tensor], Tensor]
"""Function that returns R×P×C features at R×P×2 points in pixels of the images, given the image of each of R rows."""


class PointPredictor(Protocol):
    """Interface of the head; see :class:`seamseg.modules.roi_head.RoIHead`."""

    def point_logits(self, features: Tensor, coarse: Tensor) -> Tensor:
        """Return R×T×P mask logits of R×P×C features and R×P logits of the coarse masks."""


@dataclass(frozen=True)
class CoarseMasks:
    """Masks of regions that a point head refines.

    Attributes:
        logits: R×M×M, the mask of the region's class.
        things: R, the class among the things.
        boxes: R×4 in pixels of the images, the extents of the masks.
        image_index: R, the image of each region.
    """

    logits: Tensor
    things: Tensor
    boxes: Tensor
    image_index: Tensor

    def split(self, num_regions: int) -> Iterator[CoarseMasks]:
        """Yield the masks in parts of some regions; at least one part, which may be empty."""
        fields = (self.logits, self.things, self.boxes, self.image_index)
        for parts in zip(*(torch.split(field, num_regions) for field in fields), strict=True):
            yield CoarseMasks(*parts)

    def at(self, points: Tensor) -> Tensor:
        """Interpolate the masks bilinearly at points; positions beyond the outermost centers read these.

        Args:
            points: R×P×2, fractions of the regions' heights and widths in 0 … 1.

        Returns:
            R×P logits, at least float32.
        """
        masks = at_least_float32(self.logits)
        grid = (2 * points - 1).flip(-1).to(masks.dtype)  # x in front of y
        sampled = functional.grid_sample(
            masks[:, None], grid[:, :, None], mode="bilinear", padding_mode="border", align_corners=False
        )
        return sampled[:, 0, :, 0]

    def in_pixels(self, points: Tensor) -> Tensor:
        """Return R×P×2 points, fractions of the regions' sides, in pixels of the images."""
        corners, ends = self.boxes[:, None, :2], self.boxes[:, None, 2:]
        return corners + points.to(corners.dtype) * (ends - corners)


@torch.no_grad()
def training_points(masks: CoarseMasks, generator: torch.Generator) -> Tensor:
    """Choose the points with a loss, most of them where the coarse mask is uncertain (section 3.1).

    Of ``OVERSAMPLING`` times as many random points as needed, those with a probability nearest to ½ are chosen. Further
    random points cover the rest of the region.

    Args:
        masks: R masks.
        generator: CPU random generator.

    Returns:
        R×P×2 float32, fractions of the regions' heights and widths in 0 … 1.
    """
    num_uncertain = int(UNCERTAIN_FRACTION * NUM_TRAINING_POINTS)
    num_candidates, num_others = OVERSAMPLING * NUM_TRAINING_POINTS, NUM_TRAINING_POINTS - num_uncertain
    shape = len(masks.logits), num_candidates + num_others, 2
    device = masks.logits.device
    drawn = torch.rand(shape, generator=generator, pin_memory=device.type == "cuda").to(device, non_blocking=True)
    candidates, others = torch.split(drawn, [num_candidates, num_others], dim=1)
    chosen = masks.at(candidates).abs().topk(num_uncertain, dim=1, largest=False).indices
    return torch.cat([candidates.gather(1, chosen[..., None].expand(-1, -1, 2)), others], dim=1)


def logits_at(head: PointPredictor, masks: CoarseMasks, points: Tensor, sample: PointSampler) -> Tensor:
    """Predict the masks of all classes at points.

    Args:
        head: Head that predicts them.
        masks: R masks.
        points: R×P×2, fractions of the regions' heights and widths in 0 … 1.
        sample: Sampler of the finest pyramid level.

    Returns:
        R×T×P logits.
    """
    return head.point_logits(sample(masks.in_pixels(points), masks.image_index), masks.at(points))


def rendered(head: PointPredictor, masks: CoarseMasks, sample: PointSampler) -> Tensor:
    """Refine masks by adaptive subdivision, some regions at a time.

    Args:
        head: Head that predicts masks at points.
        masks: R masks with M×M positions.
        sample: Sampler of the finest pyramid level.

    Returns:
        R×8M×8M float32 logits.
    """
    return torch.cat([render_part(head, part, sample) for part in masks.split(REGIONS_AT_A_TIME)])


def render_part(head: PointPredictor, masks: CoarseMasks, sample: PointSampler) -> Tensor:
    """Refine R masks like :func:`rendered`, all at a time."""
    return subdivided(masks.logits, lambda points: of_class(logits_at(head, masks, points, sample), masks.things))


def subdivided(masks: Tensor, predict: Callable[[Tensor], Tensor]) -> Tensor:
    """Double the size of masks several times, and predict the most uncertain positions again each time (section 3.1).

    Args:
        masks: R×M×M logits at the centers of equal cells of the regions.
        predict: Function from R×P×2 points, fractions of the regions' heights and widths, to R×P logits.

    Returns:
        R×8M×8M float32 logits.
    """
    masks = masks.float()
    for _ in range(NUM_SUBDIVISIONS):
        masks = functional.interpolate(masks[:, None], scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
        size = masks.shape[-1]
        flat = masks.flatten(1)
        uncertain = flat.abs().topk(min(NUM_RENDERED_POINTS, size**2), dim=1, largest=False).indices
        rows = torch.div(uncertain, size, rounding_mode="floor")
        points = (torch.stack([rows, uncertain - rows * size], dim=-1) + 0.5) / size
        masks = flat.scatter(1, uncertain, predict(points).float()).view_as(masks)
    return masks
