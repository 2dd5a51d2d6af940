"""The network with outputs of fixed size, for export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from seamseg.algos.roi import DetectionSelector, class_probabilities
from seamseg.algos.roi_pooling import RoIPooler
from seamseg.algos.rpn import ProposalSelector
from seamseg.data.transforms import Normalize
from seamseg.errors import SeamsegError
from seamseg.modules.abn import ABN
from seamseg.modules.folding import fold_norms
from seamseg.networks import PanopticNet
from seamseg.ops.boxes import box_iou, clip_boxes, decode_boxes
from seamseg.ops.fusion import resample
from seamseg.structures import Size


def survivors(boxes: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Which boxes greedy suppression keeps, exactly.

    Whether a box stays hangs on the better boxes alone. So the rule "a box stays when no better one that stays overlaps
    it", applied to all boxes at once, settles the best box in the first round, and in every further round at least the
    best of those that are not settled. When a round changes nothing, all are. That takes as many rounds as the longest
    chain of boxes that decide over each other, usually under ten.

    Args:
        boxes: G×n×4, the boxes of a group by falling score; groups don't suppress each other.
        valid: G×n bool, the boxes that take part.
        threshold: a box goes when its overlap with a kept one is larger.

    Returns:
        G×n bool.
    """
    suppresses = (box_iou(boxes, boxes) > _largest_float32(threshold)).triu(1).float()
    # The operator itself, since torch.while_loop would compile what runs outside of an export.
    settled: Tensor = torch.ops.higher_order.while_loop(
        _is_unsettled, _round, (valid.clone(), valid.new_ones(())), (suppresses, valid)
    )[0]
    return settled


def _is_unsettled(keep: Tensor, has_changed: Tensor, suppresses: Tensor, valid: Tensor) -> Tensor:
    return has_changed.clone()


def _round(keep: Tensor, has_changed: Tensor, suppresses: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    # How many kept boxes overlap each one: a matrix product, for which every runtime has a fast kernel.
    num_better = torch.matmul(keep.float()[:, None], suppresses)[:, 0]
    kept = valid & (num_better < 0.5)
    return kept, (kept != keep).any()


def _largest_float32(threshold: float) -> float:
    """The number whose comparison with a float32 is that of ``threshold`` in float64, as torchvision compares."""
    rounded = np.float32(threshold)
    return float(rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-np.inf)))


@dataclass(frozen=True)
class FixedBoxes:
    """Of one image, by falling score, the valid ones first.

    Attributes:
        boxes: n×4 float32 in pixels.
        classes: n int64, 0-based among the things.
        scores: n float32.
        valid: n bool; all else is 0 where it is not set.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor
    valid: Tensor


def select_proposals(
    selector: ProposalSelector, anchors: Tensor, objectness: Tensor, box_deltas: Tensor, size: Size
) -> tuple[Tensor, Tensor]:
    """What ``selector`` finds in one image, in a fixed number.

    Args:
        selector: with the numbers and thresholds.
        anchors: K×4.
        objectness: K logits.
        box_deltas: K×4.
        size: height and width of the image.

    Returns:
        boxes: P×4 by falling objectness, P the smaller one of ``num_after_nms`` and K.
        valid: P bool.
    """
    boxes = clip_boxes(decode_boxes(anchors, box_deltas), size)
    large = ((boxes[:, 2:] - boxes[:, :2]) >= selector.min_size).all(dim=1)
    ranking = objectness.masked_fill(~large, -torch.inf) if selector.min_size > 0 else objectness
    order = ranking.topk(min(selector.num_before_nms, len(anchors))).indices
    boxes, large = boxes[order], large[order]
    keep = survivors(boxes[None], large[None], selector.nms_threshold)[0]
    # The kept ones in their order: all of them get a number above 0, the first one the largest.
    ranking = keep.float() * torch.arange(len(order), 0, -1, device=keep.device)
    number, first = ranking.topk(min(selector.num_after_nms, len(order)))
    valid = number > 0
    return boxes[first] * valid[:, None], valid


def select_detections(
    selector: DetectionSelector, proposals: Tensor, valid: Tensor, logits: Tensor, box_deltas: Tensor, size: Size
) -> FixedBoxes:
    """What ``selector`` finds in one image, in a fixed number: ``max_predictions``, or R·T where that is less.

    Args:
        selector: with the number and thresholds.
        proposals: R×4.
        valid: R bool.
        logits: R×(T+1), 0 is background.
        box_deltas: R×T×4.
        size: height and width of the image.
    """
    scores = class_probabilities(logits)[:, 1:].T  # T×R: each class is a group of its own
    moves = box_deltas.transpose(0, 1) / box_deltas.new_tensor(selector.shift_weights)
    boxes = clip_boxes(decode_boxes(proposals, moves), size)
    full = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    found = (scores > selector.score_threshold) & full & valid
    # Of equal scores the first is first: ONNX promises it, torch does so on the CPU (a stable sort has no counterpart).
    scores, order = torch.where(found, scores, 0.0).sort(dim=1, descending=True)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    keep = survivors(boxes, found.gather(1, order), selector.nms_threshold)
    best = torch.where(keep, scores, 0.0).flatten().topk(min(selector.max_predictions, scores.numel()))
    is_found = best.values > 0
    classes = best.indices // scores.shape[1]
    return FixedBoxes(boxes.flatten(0, 1)[best.indices] * is_found[:, None], classes * is_found, best.values, is_found)


CLASSES_AT_A_TIME = 8
"""Of the semantic scores that are enlarged together: those of all classes would take gigabytes at once."""


class FixedSizeNet(nn.Module):
    """What :meth:`PanopticNet.predict` finds in one image, with all shapes known beforehand.

    Norms are folded into the layers in front of them, nothing is an operator of this project, and no shape depends
    on the image: what it lacks in detections are rows of zeros that are marked as not valid.

    Args:
        network: stays as it is; a folded copy is used.
        normalize: from bytes to what the network reads.
        size: height and width of the images.

    Shape:
        An H×W×3 uint8 image, red first, to

        - ``semantics``: H×W uint8, the semantic head's class of every pixel;
        - ``boxes``: D×4 float32, ``(y0, x0, y1, x1)`` in pixels, by falling score;
        - ``classes``: D int64, stuff classes counted too: the first thing class is S;
        - ``scores``: D float32 in 0 … 1;
        - ``masks``: D×28×28 float32, mask logits in the box;
        - ``valid``: D bool, whether this is a detection; if not, its other entries are 0.

        D is the largest number of detections of the network's settings.

    Raises:
        SeamsegError: a norm can be neither folded nor exported.
    """

    network: PanopticNet

    def __init__(self, network: PanopticNet, normalize: Normalize, size: Size) -> None:
        super().__init__()
        folded = fold_norms(network).requires_grad_(False)
        assert isinstance(folded, PanopticNet)
        self.network = folded
        left = [name for name, module in self.network.named_modules() if isinstance(module, ABN)]
        if left:
            raise SeamsegError(f"the norms {', '.join(left)} don't stand behind a convolution: they cannot be exported")
        self.normalize, self.size = normalize, size

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        network, size = self.network, self.size
        levels = network.body(self.normalize(image.permute(2, 0, 1))[None])
        regions = network.roi_heads
        proposals, valid = self._proposals(levels)
        logits, box_deltas = network.roi_head.classify(pool_regions(regions.pooler, levels, proposals, size))
        found = select_detections(regions.selector, proposals, valid, logits, box_deltas, size)
        masks = network.roi_head.masks(pool_regions(regions.pooler, levels, found.boxes, size))
        chosen = masks[torch.arange(len(masks), device=masks.device), found.classes]
        return {
            "semantics": enlarged_classes(network.sem_head(levels)[0], size),
            "boxes": found.boxes,
            "classes": (found.classes + regions.num_stuff) * found.valid,
            "scores": found.scores,
            "masks": chosen * found.valid[:, None, None],
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
    """What ``pooler`` samples of one image, read from all levels and chosen then, since how many boxes a level has
    depends on the image.

    Args:
        pooler: with the size of the features.
        levels: 1×C×h×w each, fine to coarse.
        boxes: R×4.
        size: height and width of the image.

    Returns:
        R×C×output×output.
    """
    level_of, first_image = pooler.level_of(boxes), torch.zeros_like(boxes[:, 0])
    features = pooler.sample(levels[0], boxes, first_image, size)
    for index, level in enumerate(levels[1 : pooler.num_levels], start=1):
        features = torch.where(
            (level_of == index)[:, None, None, None], pooler.sample(level, boxes, first_image, size), features
        )
    return features


def enlarged_classes(logits: Tensor, size: Size) -> Tensor:
    """The class with the largest score in every pixel, the smallest of several, as ``ops.interpolate.upsample_argmax``.

    Args:
        logits: C×h×w.
        size: height and width of the image they cover.

    Returns:
        H×W uint8.
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
