"""A version of the network for export: for batches of images, and with outputs whose number does not depend on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seamseg.algos.cascade import class_probabilities, run_stages
from seamseg.algos.losses import of_class
from seamseg.algos.point_rendering import REGIONS_AT_A_TIME, CoarseMasks, PointPredictor, render_part
from seamseg.algos.roi import DetectionSelector
from seamseg.algos.roi_pooling import RoIPooler, as_boxes, level_scale, sample_rois
from seamseg.algos.rpn import ProposalSelector
from seamseg.data.transforms import Normalize
from seamseg.errors import SeamsegError
from seamseg.modules.abn import ABN
from seamseg.modules.folding import fold_norms
from seamseg.networks import PyramidNet
from seamseg.ops.boxes import box_iou, decode_boxes
from seamseg.structures import Size

SIZE_MULTIPLE = 32
"""Number that divides the sides of images of any size: the stride of the coarsest level that boxes are read from."""

MAX_TOP = 3839
"""Largest number of values that TensorRT finds at a time."""


def largest(values: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Find the largest values of each row, at most ``MAX_TOP`` at a time.

    Args:
        values: N×K floating-point numbers.
        number: Number of values to find, at most K.

    Returns:
        N×number values by descending order, and their N×number int64 columns. Values after the first ``MAX_TOP`` are −∞
        if there are no larger ones, and their columns then have no meaning.
    """
    found = []
    for first in range(0, number, MAX_TOP):
        found.append(values.topk(min(MAX_TOP, number - first), dim=1))
        if first + MAX_TOP < number:
            values = values.scatter(1, found[-1].indices, -torch.inf)
    return torch.cat([part.values for part in found], dim=1), torch.cat([part.indices for part in found], dim=1)


def precedes(scores: Tensor, ids: Tensor) -> Tensor:
    """Compare all entries of each row: larger scores come first, and of equal scores the one with the smaller id.

    Runtimes do not agree on how to sort equal scores, so no result depends on it.

    Args:
        scores: G×n.
        ids: n or G×n integers that differ within a row.

    Returns:
        G×n×n bool, whether entry i comes before entry j.
    """
    first, second = scores[..., :, None], scores[..., None, :]
    return (first > second) | ((first == second) & (ids[..., :, None] < ids[..., None, :]))


def ranked(scores: Tensor, ids: Tensor) -> Tensor:
    """Return the order of N×n entries according to :func:`precedes`, N×n int64."""
    return precedes(scores, ids).sum(dim=-2).topk(scores.shape[-1], largest=False).indices


def pick(values: Tensor, rows: Tensor) -> Tensor:
    """Return N×n×… entries of N×K×… values, given the N×n rows of each image."""
    index = rows.reshape(*rows.shape, *[1] * (values.ndim - 2)).expand(*rows.shape, *values.shape[2:])
    return values.gather(1, index)


def by_image(rows: Tensor, shape: Sequence[int]) -> Tensor:
    """Return N·n×… rows as N×n×…, where ``shape`` is N and n."""
    return rows.reshape(*shape, *rows.shape[1:])


def clip(boxes: Tensor, size: Size) -> Tensor:
    """Clip boxes …×4 like :func:`seamseg.ops.boxes.clip_boxes`, also to a size that is not known yet."""
    sides = zip(boxes.unbind(-1), (*size, *size), strict=True)
    return torch.stack([side.clamp(0, limit) for side, limit in sides], dim=-1)


def survivors(boxes: Tensor, valid: Tensor, threshold: float, scores: Tensor | None = None) -> Tensor:
    """Return which boxes greedy non-maximum suppression keeps.

    The result is exact. Whether a box is kept depends only on boxes with higher scores. The rule "keep a box if no kept
    box with a higher score overlaps it" is applied to all boxes at once, repeatedly. The first round settles the best
    box, and each further round settles at least the best unsettled one. When a round changes nothing, all boxes are
    settled. The number of rounds is the length of the longest chain of boxes that depend on each other, usually less
    than ten.

    Args:
        boxes: G×n×4 boxes of G groups. Groups do not suppress each other.
        valid: G×n bool; False excludes a box.
        threshold: IoU with a kept box above which a box is dropped.
        scores: G×n; the first one of equal scores is the higher one. None if the boxes are sorted.

    Returns:
        G×n bool, True for kept boxes.
    """
    overlaps = box_iou(boxes, boxes) > _largest_float32(threshold)
    if scores is None:
        suppresses = overlaps.triu(1).float()
    else:
        suppresses = (overlaps & precedes(scores, torch.arange(scores.shape[1], device=scores.device))).float()
    # Call the operator directly: outside of an export, torch.while_loop would compile the body.
    settled: Tensor = torch.ops.higher_order.while_loop(
        _is_unsettled, _round, (valid.clone(), valid.new_ones(())), (suppresses, valid)
    )[0]
    return settled


def _is_unsettled(keep: Tensor, has_changed: Tensor, suppresses: Tensor, valid: Tensor) -> Tensor:
    return has_changed.clone()


def _round(keep: Tensor, has_changed: Tensor, suppresses: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    # Number of kept boxes that overlap each box, as a matrix product, for which every runtime has a fast kernel.
    num_better = torch.matmul(keep.float()[:, None], suppresses)[:, 0]
    kept = valid & (num_better < 0.5)
    return kept, (kept ^ keep).any()


def _largest_float32(threshold: float) -> float:
    """Return the float32 value that compares with float32 numbers like ``threshold`` in float64, as in torchvision."""
    rounded = np.float32(threshold)
    return float(rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-np.inf)))


@dataclass(frozen=True)
class FixedBoxes:
    """A fixed number of detections of each of N images: valid ones first, sorted by descending score.

    Attributes:
        boxes: N×n×4 float32 boxes in pixels.
        classes: N×n int64 class numbers, counted from 0 among the things.
        scores: N×n float32 scores.
        valid: N×n bool; where it is False, all other entries are 0.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor
    valid: Tensor


def select_proposals(
    selector: ProposalSelector, anchors: Tensor, objectness: Tensor, box_deltas: Tensor, size: Size
) -> tuple[Tensor, Tensor]:
    """Select the proposals of each image like ``selector``, but a fixed number of them.

    Args:
        selector: Selector with the numbers and thresholds.
        anchors: K×4 anchor boxes in pixels.
        objectness: N×K objectness logits.
        box_deltas: N×K×4 box deltas.
        size: Height and width of the images.

    Returns:
        N×P×4 boxes sorted by descending objectness, where P is the minimum of ``num_before_nms``, ``num_after_nms`` and
        K, and N×P bool, which is False for rows without a proposal. If K is not known yet, it is not part of the
        minimum.
    """
    boxes = clip(decode_boxes(anchors, box_deltas), size)
    large = ((boxes[..., 2:] - boxes[..., :2]) >= selector.min_size).all(dim=-1)
    ranking = objectness.masked_fill(~large, -torch.inf) if selector.min_size > 0 else objectness
    number = selector.num_before_nms
    if isinstance(boxes.shape[1], int):
        number = min(number, boxes.shape[1])
    else:
        boxes = functional.pad(boxes, (0, 0, 0, number))
        ranking = functional.pad(ranking, (0, number), value=-torch.inf)
    values, order = largest(ranking, number)
    boxes = pick(boxes, order)
    keep = survivors(boxes, values > -torch.inf, selector.nms_threshold)
    # Rank the kept boxes in their order: they get numbers above 0, and the first one gets the largest.
    ranking = keep.float() * torch.arange(number, 0, -1, device=keep.device)
    values, first = largest(ranking, min(selector.num_after_nms, number))
    valid = values > 0
    return pick(boxes, first) * valid[..., None], valid


def select_detections(
    selector: DetectionSelector, proposals: Tensor, valid: Tensor, logits: Tensor, box_deltas: Tensor, size: Size
) -> FixedBoxes:
    """Select the detections of each image like ``selector``, but a fixed number of them.

    The number is ``max_predictions``, or R·T if that is less. Of detections of a class with equal scores, the one of
    the first proposal comes first; of two classes, the first class.

    Args:
        selector: Selector with the number and thresholds.
        proposals: N×R×4 boxes in pixels.
        valid: N×R bool; False excludes a proposal.
        logits: N×R×(T+1) class logits; column 0 is background.
        box_deltas: N×R×T×4 box deltas.
        size: Height and width of the images.
    """
    scores = class_probabilities(logits.flatten(0, 1)).reshape(logits.shape)[..., 1:].transpose(1, 2)
    moves = box_deltas.transpose(1, 2) / box_deltas.new_tensor(selector.shift_weights)
    boxes = clip(decode_boxes(proposals[:, None], moves), size)  # N×T×R×4: each class is a separate group
    full = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    found = (scores > selector.score_threshold) & full & valid[:, None]
    scores = torch.where(found, scores, 0.0)
    keep = survivors(boxes.flatten(0, 1), found.flatten(0, 1), selector.nms_threshold, scores.flatten(0, 1))
    num_proposals = proposals.shape[1]
    scores = torch.where(keep.reshape(scores.shape), scores, 0.0).flatten(1)
    values, rows = largest(scores, min(selector.max_predictions, scores.shape[1]))
    order = ranked(values, rows)
    values, rows = pick(values, order), pick(rows, order)
    is_found = values > 0
    classes = torch.div(rows, num_proposals, rounding_mode="floor")
    return FixedBoxes(pick(boxes.flatten(1, 2), rows) * is_found[..., None], classes * is_found, values, is_found)


def calibrate(found: FixedBoxes, ious: Tensor) -> tuple[FixedBoxes, Tensor]:
    """Multiply scores by the predicted IoUs of masks and sort again, like ``algos.mask_scoring.calibrated``.

    Args:
        found: N×D detections.
        ious: N×D predicted IoUs. Values outside of 0 … 1 are clipped.

    Returns:
        The sorted detections, and the N×D int64 rows that they had before.
    """
    scores = found.scores * ious.clamp(0, 1)
    # Rows without a detection stay last, also if a mask has a score of 0.
    order = ranked(torch.where(found.valid, scores, -1.0), torch.arange(scores.shape[1], device=scores.device))
    boxes, classes, scores, valid = (pick(part, order) for part in (found.boxes, found.classes, scores, found.valid))
    return FixedBoxes(boxes, classes, scores, valid), order


CLASSES_AT_A_TIME = 8
"""Number of classes whose semantic scores are upsampled at once; all classes at once would take gigabytes."""


class ExportableNet(nn.Module):
    """A module that predicts like :meth:`PyramidNet.predict` for images of one size, with a fixed number of detections.

    Norms are folded into the preceding layers, and no operator of this project is used. No shape depends on the values
    of the images: if there are fewer detections, the remaining rows are zeros that are marked as not valid.

    Args:
        network: Network to export. It is not changed; a folded copy is used.
        normalize: Transform from bytes to the input of the network.
        size: Height and width of the images; None for any multiples of ``SIZE_MULTIPLE``.

    Shape:
        The input is N×H×W×3 uint8, images in RGB order. The outputs are

        - ``semantics``: N×H×W uint8, class of each pixel according to the semantic head;
        - ``boxes``: N×D×4 float32, ``(y0, x0, y1, x1)`` in pixels, sorted by descending score;
        - ``classes``: N×D int64, class numbers including stuff classes, so that the first thing class is S;
        - ``scores``: N×D float32 in 0 … 1: class probabilities or, from a network that scores masks, their product with
          the predicted IoU of the mask;
        - ``masks``: N×D×M×M float32, mask logits in the box, where M is 28, or 224 for a network that refines masks at
          points;
        - ``valid``: N×D bool, whether the row is a detection; if not, its other entries are 0.

        Outputs of heads that the network does not have are missing. D is the maximum number of detections according to
        the settings of the network.

    Raises:
        SeamsegError: A norm can be neither folded nor exported.
    """

    network: PyramidNet

    def __init__(self, network: PyramidNet, normalize: Normalize, size: Size | None) -> None:
        super().__init__()
        folded = fold_norms(network).requires_grad_(False)
        assert isinstance(folded, PyramidNet)
        self.network = folded
        left = [name for name, module in self.network.named_modules() if isinstance(module, ABN)]
        if left:
            raise SeamsegError(f"the norms {', '.join(left)} do not follow a convolution, so they cannot be exported")
        self.normalize, self.size = normalize, size

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Predict the outputs listed under ``Shape`` for N×H×W×3 uint8 images."""
        size = self.size or (images.shape[1], images.shape[2])
        pixels = images.to(torch.float32)  # first of all: TensorRT does nothing else with bytes
        levels = self.network.body(self.normalize(pixels.permute(0, 3, 1, 2)))
        outputs: dict[str, Tensor] = {}
        if self.network.classifies_pixels:
            outputs["semantics"] = enlarged_classes(self.network.sem_head(levels), size)
        if self.network.finds_objects:
            outputs |= self._objects(levels, size)
        return outputs

    def _objects(self, levels: Sequence[Tensor], size: Size) -> dict[str, Tensor]:
        head, regions = self.network.roi_head, self.network.roi_heads
        pooler = FixedPooler(regions.pooler, levels, self.size)
        proposals, valid = self._proposals(levels, size)

        def refine(boxes: Tensor, box_deltas: Tensor, weights: Sequence[float]) -> Tensor:
            moves = (box_deltas / box_deltas.new_tensor(weights)).reshape(boxes.shape)
            return clip(decode_boxes(boxes, moves), size)

        proposals, logits, box_deltas = run_stages(
            regions.stages, [head, *head.later_stages], proposals, pooler, refine
        )
        shape = proposals.shape[:2]
        logits, box_deltas = by_image(logits, shape), by_image(box_deltas, shape)
        found = select_detections(regions.selector, proposals, valid, logits, box_deltas, size)
        found, masks = self._masks(found, pooler) if head.has_masks else (found, {})
        return {
            "boxes": found.boxes,
            "classes": (found.classes + regions.num_stuff) * found.valid,
            "scores": found.scores,
            **masks,
            "valid": found.valid,
        }

    def _masks(self, found: FixedBoxes, pooler: FixedPooler) -> tuple[FixedBoxes, dict[str, Tensor]]:
        """Return the detections, sorted again if the network scores masks, and the output ``masks``."""
        head, shape, things = self.network.roi_head, found.scores.shape, found.classes.flatten()
        features = pooler(found.boxes)
        coarse = of_class(head.masks(features), things)
        masks = by_image(coarse, shape)
        if head.has_points:
            masks = _rendered(head, masks, found, pooler)
        if head.has_mask_scores:
            ious = of_class(head.mask_scores(features, coarse), things)
            found, order = calibrate(found, ious.reshape(shape))
            masks = pick(masks, order)
        return found, {"masks": masks * found.valid[..., None, None]}

    def _proposals(self, levels: Sequence[Tensor], size: Size) -> tuple[Tensor, Tensor]:
        algorithm = self.network.rpn
        levels = levels[: len(algorithm.anchors.strides)]
        objectness, box_deltas = self.network.rpn_head(levels)
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        anchors = algorithm.anchors(sizes, objectness.device)
        return select_proposals(algorithm.inference_selector, anchors, objectness, box_deltas, size)


class FixedPooler:
    """Pool features of images like a :class:`RoIPooler`, with shapes that do not depend on the boxes.

    The number of boxes per level depends on the image, so all levels become one map, from which all boxes are sampled
    at once. The levels are stacked from top to bottom. Each is surrounded by a copy of its outermost pixels, because
    positions up to half a pixel outside of a level read its border.

    Args:
        pooler: Pooler with the output size.
        levels: Pyramid levels, N×C×h×w each, fine to coarse.
        size: Height and width of the images; None for multiples of ``SIZE_MULTIPLE``.
    """

    def __init__(self, pooler: RoIPooler, levels: Sequence[Tensor], size: Size | None) -> None:
        self.pooler, self.levels, self.size = pooler, levels[: pooler.num_levels], size
        width = self.levels[0].shape[3]
        self._stacked = torch.cat(
            [functional.pad(_bordered(level), (0, width - level.shape[3])) for level in self.levels], dim=2
        )

    def __call__(self, boxes: Tensor) -> Tensor:
        """Return N·R×C×output×output features of N×R×4 boxes."""
        rows = boxes.flatten(0, 1)
        images = torch.arange(boxes.shape[0], device=boxes.device)[:, None].expand(boxes.shape[:2]).flatten()
        rois, level_of, top = _rois(rows, images), self.pooler.level_of(rows)[:, None], 1
        chosen = self._in_level(0, rois) + rois.new_tensor([0, 1, 1, 1, 1])
        for index in range(1, len(self.levels)):
            top += self.levels[index - 1].shape[2] + 2
            image, x0, y0, x1, y1 = self._in_level(index, rois).unbind(1)
            stacked = torch.stack([image, x0 + 1, y0 + top, x1 + 1, y1 + top], dim=1)
            chosen = torch.where(level_of == index, stacked, chosen)
        return sample_rois(self._stacked, chosen, self.pooler.output_size)

    def at_points(self, points: Tensor, image_index: Tensor) -> Tensor:
        """Return R×P×C features of the finest level at R×P×2 points, given the image of each of R rows."""
        features = sample_rois(self.levels[0], self._in_level(0, _rois(*as_boxes(points, image_index))), 1)
        return features.reshape(*points.shape[:2], self.levels[0].shape[1])

    def _in_level(self, index: int, rois: Tensor) -> Tensor:
        """Return R×5 regions of images in pixels of a level."""
        y, x, *_ = [0.5**index / FINEST_STRIDE] * 2 if self.size is None else level_scale(self.levels[index], self.size)
        center = rois.new_tensor([0, 0.5, 0.5, 0.5, 0.5])
        return (rois - center) * rois.new_tensor([1, x, y, x, y]) + center


def _bordered(level: Tensor) -> Tensor:
    """Return an N×C×h×w level as N×C×(h+2)×(w+2), surrounded by a copy of its outermost pixels."""
    level = torch.cat([level[:, :, :1], level, level[:, :, -1:]], dim=2)
    return torch.cat([level[..., :1], level, level[..., -1:]], dim=3)


def _rois(boxes: Tensor, images: Tensor) -> Tensor:
    """Return R×5, the image and x0, y0, x1, y1 of R×4 boxes, as :func:`sample_rois` expects it."""
    return torch.cat([images.to(boxes.dtype)[:, None], boxes[:, [1, 0, 3, 2]]], dim=1)


FINEST_STRIDE = 4
"""Stride of the finest pyramid level; each further one has twice the stride of the previous one."""


def _rendered(head: PointPredictor, masks: Tensor, found: FixedBoxes, pooler: FixedPooler) -> Tensor:
    """Refine N×D×28×28 masks at points, of ``REGIONS_AT_A_TIME`` detections of each image at a time."""
    rows = torch.arange(masks.shape[0], device=masks.device)[:, None].expand(found.classes.shape)
    refined = []
    for first in range(0, masks.shape[1], REGIONS_AT_A_TIME):
        part = slice(first, first + REGIONS_AT_A_TIME)
        each = (values[:, part].flatten(0, 1) for values in (masks, found.classes, found.boxes, rows))
        shape = found.classes[:, part].shape
        refined.append(by_image(render_part(head, CoarseMasks(*each), pooler.at_points), shape))
    return torch.cat(refined, dim=1)


def enlarged_classes(logits: Tensor, size: Size) -> Tensor:
    """Upsample class scores and return the best class of each pixel, like ``ops.fusion.upsample_argmax``.

    Of several classes with the same score, the smallest one wins.

    Args:
        logits: N×C×h×w class scores.
        size: Height H and width W of the images that they cover.

    Returns:
        N×H×W uint8 class numbers.
    """
    # As in seamseg.ops.fusion.resample, the product of an infinite score with weight 0 is not NaN.
    logits = torch.nan_to_num(logits, nan=torch.finfo(logits.dtype).min)
    best = classes = None
    for first, part in zip(
        range(0, logits.shape[1], CLASSES_AT_A_TIME), torch.split(logits, CLASSES_AT_A_TIME, dim=1), strict=True
    ):
        enlarged = functional.interpolate(part, size, mode="bilinear", align_corners=False)
        values, indices = enlarged.max(dim=1)
        if best is None or classes is None:
            best, classes = values, indices
        else:
            classes = torch.where(values > best, indices + first, classes)
            best = torch.maximum(best, values)
    assert classes is not None
    return classes.to(torch.uint8)
