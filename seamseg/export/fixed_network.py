"""A version of the network with outputs of fixed size, for export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from seamseg.algos.cascade import class_probabilities, refined_boxes, run_stages
from seamseg.algos.point_rendering import CoarseMasks, rendered
from seamseg.algos.roi import DetectionSelector
from seamseg.algos.roi_pooling import RoIPooler, as_boxes
from seamseg.algos.rpn import ProposalSelector
from seamseg.data.transforms import Normalize
from seamseg.errors import SeamsegError
from seamseg.modules.abn import ABN
from seamseg.modules.folding import fold_norms
from seamseg.networks import PyramidNet
from seamseg.ops.boxes import box_iou, clip_boxes, decode_boxes
from seamseg.ops.fusion import resample
from seamseg.structures import Size


def survivors(boxes: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Return which boxes greedy non-maximum suppression keeps.

    The result is exact. Whether a box is kept depends only on boxes with higher scores. The rule "keep a box if no kept
    box with a higher score overlaps it" is applied to all boxes at once, repeatedly. The first round settles the best
    box, and each further round settles at least the best unsettled one. When a round changes nothing, all boxes are
    settled. The number of rounds is the length of the longest chain of boxes that depend on each other, usually less
    than ten.

    Args:
        boxes: G×n×4 boxes of G groups, each sorted by descending score. Groups do not suppress each other.
        valid: G×n bool; False excludes a box.
        threshold: IoU with a kept box above which a box is dropped.

    Returns:
        G×n bool, True for kept boxes.
    """
    suppresses = (box_iou(boxes, boxes) > _largest_float32(threshold)).triu(1).float()
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
    return kept, (kept != keep).any()


def _largest_float32(threshold: float) -> float:
    """Return the float32 value that compares with float32 numbers like ``threshold`` in float64, as in torchvision."""
    rounded = np.float32(threshold)
    return float(rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-np.inf)))


@dataclass(frozen=True)
class FixedBoxes:
    """A fixed number of detections of one image: valid ones first, sorted by descending score.

    Attributes:
        boxes: n×4 float32 boxes in pixels.
        classes: n int64 class numbers, counted from 0 among the things.
        scores: n float32 scores.
        valid: n bool; where it is False, all other entries are 0.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor
    valid: Tensor


def select_proposals(
    selector: ProposalSelector, anchors: Tensor, objectness: Tensor, box_deltas: Tensor, size: Size
) -> tuple[Tensor, Tensor]:
    """Select the proposals of one image like ``selector``, but a fixed number of them.

    Args:
        selector: Selector with the numbers and thresholds.
        anchors: K×4 anchor boxes in pixels.
        objectness: K objectness logits.
        box_deltas: K×4 box deltas.
        size: Height and width of the image.

    Returns:
        P×4 boxes sorted by descending objectness, where P is the minimum of ``num_before_nms``, ``num_after_nms`` and
        K, and P bool, which is False for rows without a proposal.
    """
    boxes = clip_boxes(decode_boxes(anchors, box_deltas), size)
    large = ((boxes[:, 2:] - boxes[:, :2]) >= selector.min_size).all(dim=1)
    ranking = objectness.masked_fill(~large, -torch.inf) if selector.min_size > 0 else objectness
    order = ranking.topk(min(selector.num_before_nms, len(anchors))).indices
    boxes, large = boxes[order], large[order]
    keep = survivors(boxes[None], large[None], selector.nms_threshold)[0]
    # Rank the kept boxes in their order: they get numbers above 0, and the first one gets the largest.
    ranking = keep.float() * torch.arange(len(order), 0, -1, device=keep.device)
    number, first = ranking.topk(min(selector.num_after_nms, len(order)))
    valid = number > 0
    return boxes[first] * valid[:, None], valid


def select_detections(
    selector: DetectionSelector, proposals: Tensor, valid: Tensor, logits: Tensor, box_deltas: Tensor, size: Size
) -> FixedBoxes:
    """Select the detections of one image like ``selector``, but a fixed number of them.

    The number is ``max_predictions``, or R·T if that is less.

    Args:
        selector: Selector with the number and thresholds.
        proposals: R×4 boxes in pixels.
        valid: R bool; False excludes a proposal.
        logits: R×(T+1) class logits; column 0 is background.
        box_deltas: R×T×4 box deltas.
        size: Height and width of the image.
    """
    scores = class_probabilities(logits)[:, 1:].T  # T×R: each class is a separate group
    moves = box_deltas.transpose(0, 1) / box_deltas.new_tensor(selector.shift_weights)
    boxes = clip_boxes(decode_boxes(proposals, moves), size)
    full = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    found = (scores > selector.score_threshold) & full & valid
    # Equal scores must keep their order: ONNX guarantees it, and torch does it on the CPU (ONNX has no stable sort).
    scores, order = torch.where(found, scores, 0.0).sort(dim=1, descending=True)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    keep = survivors(boxes, found.gather(1, order), selector.nms_threshold)
    best = torch.where(keep, scores, 0.0).flatten().topk(min(selector.max_predictions, scores.numel()))
    is_found = best.values > 0
    classes = best.indices // scores.shape[1]
    return FixedBoxes(boxes.flatten(0, 1)[best.indices] * is_found[:, None], classes * is_found, best.values, is_found)


def calibrate(found: FixedBoxes, ious: Tensor) -> tuple[FixedBoxes, Tensor]:
    """Multiply scores by the predicted IoUs of masks and sort again, like ``algos.mask_scoring.calibrated``.

    Args:
        found: D detections.
        ious: D predicted IoUs. Values outside of 0 … 1 are clipped.

    Returns:
        The sorted detections, and the D int64 rows that they had before.
    """
    scores = found.scores * ious.clamp(0, 1)
    # Rows without a detection stay last, also if a mask has a score of 0. Equal scores keep their order: ONNX has no
    # stable sort, so the place of each row is the number of rows in front of it.
    ranking, rows = torch.where(found.valid, scores, -1.0), torch.arange(len(scores), device=scores.device)
    is_tied_and_first = (ranking[:, None] == ranking) & (rows[:, None] < rows)
    order = ((ranking[:, None] > ranking) | is_tied_and_first).sum(dim=0).sort().indices
    return FixedBoxes(found.boxes[order], found.classes[order], scores[order], found.valid[order]), order


CLASSES_AT_A_TIME = 8
"""Number of classes whose semantic scores are upsampled at once; all classes at once would take gigabytes."""


class FixedSizeNet(nn.Module):
    """A module that predicts like :meth:`PyramidNet.predict` for one image, with all shapes fixed.

    Norms are folded into the preceding layers, and no operator of this project is used. No shape depends on the image:
    if there are fewer detections, the remaining rows are zeros that are marked as not valid.

    Args:
        network: Network to export. It is not changed; a folded copy is used.
        normalize: Transform from bytes to the input of the network.
        size: Height and width of the images.

    Shape:
        The input is an H×W×3 uint8 image in RGB order. The outputs are

        - ``semantics``: H×W uint8, class of each pixel according to the semantic head;
        - ``boxes``: D×4 float32, ``(y0, x0, y1, x1)`` in pixels, sorted by descending score;
        - ``classes``: D int64, class numbers including stuff classes, so that the first thing class is S;
        - ``scores``: D float32 in 0 … 1: class probabilities or, from a network that scores masks, their product with
          the predicted IoU of the mask;
        - ``masks``: D×M×M float32, mask logits in the box, where M is 28, or 224 for a network that refines masks at
          points;
        - ``valid``: D bool, whether the row is a detection; if not, its other entries are 0.

        Outputs of heads that the network does not have are missing. D is the maximum number of detections according to
        the settings of the network.

    Raises:
        SeamsegError: A norm can be neither folded nor exported.
    """

    network: PyramidNet

    def __init__(self, network: PyramidNet, normalize: Normalize, size: Size) -> None:
        super().__init__()
        folded = fold_norms(network).requires_grad_(False)
        assert isinstance(folded, PyramidNet)
        self.network = folded
        left = [name for name, module in self.network.named_modules() if isinstance(module, ABN)]
        if left:
            raise SeamsegError(f"the norms {', '.join(left)} do not follow a convolution, so they cannot be exported")
        self.normalize, self.size = normalize, size

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Predict the outputs listed under ``Shape`` for an H×W×3 uint8 image."""
        levels = self.network.body(self.normalize(image.permute(2, 0, 1))[None])
        outputs: dict[str, Tensor] = {}
        if self.network.classifies_pixels:
            outputs["semantics"] = enlarged_classes(self.network.sem_head(levels)[0], self.size)
        if self.network.finds_objects:
            outputs |= self._objects(levels)
        return outputs

    def _objects(self, levels: Sequence[Tensor]) -> dict[str, Tensor]:
        head, regions, size = self.network.roi_head, self.network.roi_heads, self.size
        proposals, valid = self._proposals(levels)
        proposals, logits, box_deltas = run_stages(
            regions.stages,
            [head, *head.later_stages],
            proposals,
            lambda boxes: pool_regions(regions.pooler, levels, boxes, size),
            partial(refined_boxes, size=size),
        )
        found = select_detections(regions.selector, proposals, valid, logits, box_deltas, size)
        outputs: dict[str, Tensor] = {}
        if head.has_masks:
            features = pool_regions(regions.pooler, levels, found.boxes, size)
            each = torch.arange(len(features), device=features.device), found.classes
            masks = coarse = head.masks(features)[each]
            if head.has_points:
                first_image = torch.zeros_like(found.classes)
                sample = partial(_sample_points, levels[0], size=size)
                masks = rendered(head, CoarseMasks(coarse, found.classes, found.boxes, first_image), sample)
            if head.has_mask_scores:
                found, order = calibrate(found, head.mask_scores(features, coarse)[each])
                masks = masks[order]
            outputs["masks"] = masks * found.valid[:, None, None]
        return {
            "boxes": found.boxes,
            "classes": (found.classes + regions.num_stuff) * found.valid,
            "scores": found.scores,
            **outputs,
            "valid": found.valid,
        }

    def _proposals(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        algorithm = self.network.rpn
        levels = levels[: len(algorithm.anchors.strides)]
        objectness, box_deltas = self.network.rpn_head(levels)
        sizes = [(int(level.shape[-2]), int(level.shape[-1])) for level in levels]
        anchors = algorithm.anchors(sizes, objectness.device)
        return select_proposals(algorithm.inference_selector, anchors, objectness[0], box_deltas[0], self.size)


def pool_regions(pooler: RoIPooler, levels: Sequence[Tensor], boxes: Tensor, size: Size) -> Tensor:
    """Pool the features of one image like ``pooler``, but with fixed shapes.

    All boxes are sampled from all levels before the level of each box is selected, because the number of boxes per
    level depends on the image.

    Args:
        pooler: Pooler with the output size.
        levels: Feature maps of the pyramid levels, 1×C×h×w each, fine to coarse.
        boxes: R×4 boxes in pixels.
        size: Height and width of the image.

    Returns:
        R×C×output×output features.
    """
    level_of, first_image = pooler.level_of(boxes), torch.zeros_like(boxes[:, 0])
    features = pooler.sample(levels[0], boxes, first_image, size)
    for index, level in enumerate(levels[1 : pooler.num_levels], start=1):
        features = torch.where(
            (level_of == index)[:, None, None, None], pooler.sample(level, boxes, first_image, size), features
        )
    return features


def _sample_points(level: Tensor, points: Tensor, image_index: Tensor, size: Size) -> Tensor:
    """Return R×P×C features like ``algos.roi_pooling.sample_points``, without operators of this project."""
    boxes, images = as_boxes(points, image_index)
    return RoIPooler(1).sample(level, boxes, images, size).reshape(*points.shape[:2], level.shape[1])


def enlarged_classes(logits: Tensor, size: Size) -> Tensor:
    """Upsample class scores and return the best class of each pixel, like ``ops.fusion.upsample_argmax``.

    Of several classes with the same score, the smallest one wins.

    Args:
        logits: C×h×w class scores.
        size: Height H and width W of the image that they cover.

    Returns:
        H×W uint8 class numbers.
    """
    best, classes = None, torch.zeros(size, dtype=torch.int64, device=logits.device)
    for first, part in zip(
        range(0, len(logits), CLASSES_AT_A_TIME), torch.split(logits, CLASSES_AT_A_TIME), strict=True
    ):
        values, indices = resample(part, size).max(dim=0)
        if best is None:
            best, classes = values, indices
        else:
            classes = torch.where(values > best, indices + first, classes)
            best = torch.maximum(best, values)
    return classes.to(torch.uint8)
