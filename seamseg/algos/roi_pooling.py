"""RoI features from the pyramid level that fits the size of each box (Lin et al., FPN, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from seamseg.ops.boxes import box_area
from seamseg.ops.constants import constant_like
from seamseg.ops.multilevel_roi_align import has_kernel, multilevel_roi_align
from seamseg.ops.native import at_least_float32
from seamseg.structures.images import Size
from seamseg.structures.packed_sequence import PackedSequence

CANONICAL_SIZE = 224
"""Side, in pixels, of boxes that are read from ``CANONICAL_LEVEL``: the size of ImageNet crops."""
CANONICAL_LEVEL = 2
"""Index of the pyramid level for boxes of ``CANONICAL_SIZE``; 0 is the finest level."""

NUM_LEVELS = 4
"""Number of finest pyramid levels that boxes are read from."""


class RoIPooler:
    """Sample the features of every box at a fixed size.

    Args:
        output_size: Side of the sampled features.
        num_levels: Number of finest pyramid levels that boxes are read from.
    """

    def __init__(self, output_size: int = 14, num_levels: int = NUM_LEVELS) -> None:
        self.output_size, self.num_levels = output_size, num_levels

    def __call__(self, levels: Sequence[Tensor], boxes: PackedSequence, padded_size: Size) -> Tensor:
        """Return the features of all boxes of all images.

        Each bin is sampled bilinearly once, at its center. Positions up to one pixel outside the border read the
        border; boxes are clipped, so no position is farther outside.

        Args:
            levels: Pyramid levels, N×C×h×w each, fine to coarse.
            boxes: R×4 per image, in pixels of the padded images.
            padded_size: Height and width of the padded images.

        Returns:
            ΣR×C×output×output, ordered by image and then by box; channels last if the first level is and native kernels
            sample it.
        """
        return self.pool(levels, *boxes.contiguous(), padded_size)

    def pool(self, levels: Sequence[Tensor], rows: Tensor, image_index: Tensor, padded_size: Size) -> Tensor:
        """Return the features of ΣR×4 boxes, given the image of each; otherwise like a call."""
        level_index, levels = self.level_of(rows), levels[: self.num_levels]
        if has_kernel(levels):
            scales = constant_like(rows, [level_scale(level, padded_size) for level in levels])
            in_levels = _rescaled(rows, scales[level_index]).float()
            return multilevel_roi_align(levels, in_levels, image_index, level_index, self.output_size)
        # torchvision has kernels for all floating-point types. nonzero() waits for a GPU.
        features = levels[0].new_zeros(len(rows), levels[0].shape[1], self.output_size, self.output_size)
        for index, level in enumerate(levels):
            chosen = torch.nonzero(level_index == index).squeeze(1)
            sampled = self.sample(level, rows[chosen], image_index[chosen], padded_size)
            features = features.index_copy(0, chosen, sampled.to(features.dtype))
        return features

    def level_of(self, boxes: Tensor) -> Tensor:
        """Return the index of the level that each of R×4 boxes is read from, R int64; 0 for boxes that are NaN."""
        side = box_area(boxes).sqrt()
        level = torch.floor(CANONICAL_LEVEL + torch.log2(side / CANONICAL_SIZE + 1e-6))
        return level.clamp(0, self.num_levels - 1).nan_to_num(0).to(torch.int64)

    def sample(self, level: Tensor, boxes: Tensor, image_index: Tensor, padded_size: Size) -> Tensor:
        """Return R×C×output×output features of R×4 boxes of any size, all read from one level N×C×h×w."""
        y0, x0, y1, x1 = _rescaled(boxes, constant_like(boxes, level_scale(level, padded_size))).unbind(1)
        return sample_rois(level, torch.stack([image_index.to(boxes.dtype), x0, y0, x1, y1], dim=1), self.output_size)


def sample_rois(level: Tensor, rois: Tensor, output_size: int) -> Tensor:
    """Return R×C×output×output features of one level N×C×h×w, in at least float32.

    Args:
        level: Level of the pyramid.
        rois: R×5, index of the image, then x0, y0, x1 and y1 in pixels of the level; centers, not edges, are integers.
        output_size: Side of the sampled features.
    """
    features, size = at_least_float32(level), (output_size, output_size)
    sampled: Tensor = roi_align(
        features, rois.to(features.dtype), size, spatial_scale=1.0, sampling_ratio=1, aligned=True
    )
    return sampled


def sample_points(level: Tensor, points: Tensor, image_index: Tensor, padded_size: Size) -> Tensor:
    """Return R×P×C features at R×P×2 points, interpolated bilinearly where :class:`RoIPooler` reads them, too.

    Args:
        level: Level of the pyramid, N×C×h×w.
        points: R×P×2 (y, x) in pixels of the padded images.
        image_index: R int64, the image of each row of points.
        padded_size: Height and width of the padded images.
    """
    boxes, images = as_boxes(points, image_index)
    features = RoIPooler(1, num_levels=1).pool([level], boxes, images, padded_size)
    return features.reshape(*points.shape[:2], level.shape[1])


def as_boxes(points: Tensor, image_index: Tensor) -> tuple[Tensor, Tensor]:
    """Return R·P×4 boxes without extent, so that the center of their only bin is a point, and the image of each.

    Args:
        points: R×P×2.
        image_index: R, the image of each row of points.
    """
    return points.flatten(0, 1).repeat(1, 2), image_index[:, None].expand(points.shape[:2]).flatten()


def level_scale(level: Tensor, padded_size: Size) -> list[float]:
    """Return the number of level pixels per image pixel along y, x, y and x."""
    # Level sizes are rounded up, so each axis has its own scale.
    return [level.shape[-2] / padded_size[0], level.shape[-1] / padded_size[1]] * 2


def _rescaled(boxes: Tensor, scale: Tensor) -> Tensor:
    """Return R×4 boxes in pixels of a level. Pixel centers, not edges, of image and level are aligned."""
    return (boxes - 0.5) * scale + 0.5
