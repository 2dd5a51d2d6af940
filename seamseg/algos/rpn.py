"""Region proposal network without its weights: proposal selection and losses (Ren et al., Faster R-CNN)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.profiler import record_function

from seamseg.algos.anchors import AnchorGrid
from seamseg.algos.box_regression import BoxLoss, crop_aware_targets, smooth_l1
from seamseg.algos.losses import TARGETS
from seamseg.algos.matching import AnchorMatcher, AnchorSample
from seamseg.ops.boxes import clip_boxes, decode_boxes, encode_boxes, nms
from seamseg.ops.native import at_least_float32
from seamseg.structures.ground_truth import GroundTruth
from seamseg.structures.images import Size
from seamseg.structures.losses import LossSum
from seamseg.structures.packed_sequence import PackedSequence


class ProposalSelector:
    """Decode and clip boxes, drop small ones, and apply non-maximum suppression.

    Args:
        num_before_nms: Maximum number of boxes before the suppression; the best ones of all levels together are kept.
        num_after_nms: Maximum number of boxes after the suppression.
        nms_threshold: Maximum overlap of two boxes; beyond it, the box with the lower score is dropped.
        min_size: Minimum side of a box in pixels; 0 keeps all boxes.
    """

    def __init__(self, num_before_nms: int, num_after_nms: int, nms_threshold: float, min_size: float) -> None:
        self.num_before_nms, self.num_after_nms = num_before_nms, num_after_nms
        self.nms_threshold, self.min_size = nms_threshold, min_size

    @torch.no_grad()
    def __call__(
        self, anchors: Tensor, objectness: Tensor, box_deltas: Tensor, sizes: Sequence[Size]
    ) -> PackedSequence:
        """Return the proposals of every image.

        Args:
            anchors: K×4.
            objectness: N×K logits.
            box_deltas: N×K×4.
            sizes: Height and width of each image before padding.

        Returns:
            P×4 boxes per image by descending objectness, with P ≤ ``num_after_nms``.
        """
        return PackedSequence(
            self._image(anchors, image_objectness.float(), image_deltas.float(), size)
            for image_objectness, image_deltas, size in zip(objectness, box_deltas, sizes, strict=True)
        )

    def _image(self, anchors: Tensor, objectness: Tensor, box_deltas: Tensor, size: Size) -> Tensor:
        boxes = clip_boxes(decode_boxes(anchors, box_deltas), size)
        if self.min_size > 0:
            large = ((boxes[:, 2:] - boxes[:, :2]) >= self.min_size).all(dim=1)
            boxes, objectness = boxes[large], objectness[large]
        scores, order = objectness.topk(min(self.num_before_nms, len(objectness)))
        boxes = boxes[order]
        return boxes[nms(boxes, scores, self.nms_threshold, self.num_after_nms)]


Head = Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]]
"""Function from pyramid levels N×C×h×w to objectness N×K and box_deltas N×K×4."""

BOX_SIGMA = 3.0
"""Parameter σ of the smooth L1 loss of proposal boxes."""


@dataclass(frozen=True)
class ProposalLosses:
    """Losses of the sampled anchors of all images.

    Attributes:
        objectness: Binary cross-entropy of all sampled anchors.
        boxes: Smooth L1 loss of the positive anchors' box_deltas.
    """

    objectness: LossSum
    boxes: LossSum


class RegionProposalNetwork:
    """Propose boxes, and compute the losses of the head that predicts them.

    Args:
        anchors: Anchors on the levels that the head reads, starting at the finest.
        matcher: Matcher of anchors and objects.
        training_selector: Selector of the proposals in training.
        inference_selector: Selector of the proposals in inference.
        num_stuff: Number of stuff classes S, which is the first thing class.
        box_loss: Loss of the boxes: ``smooth_l1``, or ``crop_aware``, its minimum over the boxes that a crop allows.
    """

    def __init__(
        self,
        anchors: AnchorGrid,
        matcher: AnchorMatcher,
        training_selector: ProposalSelector,
        inference_selector: ProposalSelector,
        num_stuff: int,
        box_loss: BoxLoss = "smooth_l1",
    ) -> None:
        self.anchors, self.matcher, self.num_stuff, self.box_loss = anchors, matcher, num_stuff, box_loss
        self.training_selector, self.inference_selector = training_selector, inference_selector

    def propose(self, head: Head, levels: Sequence[Tensor], sizes: Sequence[Size]) -> PackedSequence:
        """Return the proposals of every image, P×4 per image.

        Args:
            head: Head that predicts objectness and box_deltas of all anchors.
            levels: Pyramid levels, N×C×h×w each, fine to coarse; levels without anchors are not read.
            sizes: Height and width of each image before padding.
        """
        anchors, objectness, box_deltas = self._run(head, levels)
        return self.inference_selector(anchors, objectness, box_deltas, sizes)

    def train(
        self,
        head: Head,
        levels: Sequence[Tensor],
        sizes: Sequence[Size],
        ground_truth: GroundTruth,
        generator: torch.Generator,
    ) -> tuple[ProposalLosses, PackedSequence]:
        """Return the losses of the head and its current proposals, the latter without gradient.

        Args:
            head: Head that predicts objectness and box_deltas of all anchors.
            levels: Pyramid levels, N×C×h×w each, fine to coarse; levels without anchors are not read.
            sizes: Height and width of each image before padding.
            ground_truth: Annotation of the images.
            generator: CPU random generator used for sampling.
        """
        anchors, objectness, box_deltas = self._run(head, levels)
        with record_function(TARGETS):
            found = [ground_truth.objects(image, self.num_stuff) for image in range(len(sizes))]
            objects = [image.boxes for image in found]
            cut = [image.cut_sides for image in found] if self.box_loss == "crop_aware" else None
            samples = [
                self.matcher(anchors, size, objects[image], ground_truth.crowd_pixels(image, self.num_stuff), generator)
                for image, size in enumerate(sizes)
            ]
            proposals = self.training_selector(anchors, objectness, box_deltas, sizes)
        return proposal_losses(anchors, objectness, box_deltas, objects, samples, cut), proposals

    def _run(self, head: Head, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        levels = levels[: len(self.anchors.strides)]
        objectness, box_deltas = head(levels)
        level_sizes = [(int(level.shape[-2]), int(level.shape[-1])) for level in levels]
        with record_function(TARGETS):
            anchors = self.anchors(level_sizes, objectness.device)
        return anchors, objectness, box_deltas


def proposal_losses(
    anchors: Tensor,
    objectness: Tensor,
    box_deltas: Tensor,
    objects: Sequence[Tensor],
    samples: Sequence[AnchorSample],
    cut: Sequence[Tensor] | None = None,
) -> ProposalLosses:
    """Sum the losses over the sampled anchors of all images; the number of these anchors divides both sums.

    Args:
        anchors: K×4.
        objectness: N×K logits.
        box_deltas: N×K×4.
        objects: O×4 boxes per image.
        samples: Sampled anchors of each image.
        cut: O×4 bool per image for the crop-aware loss, the sides at which a crop cut the objects; None for the usual
            loss.
    """
    objectness_loss, box_loss = (
        objectness.new_zeros((), dtype=torch.float32),
        box_deltas.new_zeros((), dtype=torch.float32),
    )
    num_sampled = 0
    for image, sample in enumerate(samples):
        num_sampled += len(sample.positives) + len(sample.negatives)
        logits = at_least_float32(objectness[image, torch.cat([sample.positives, sample.negatives])])
        target = torch.zeros_like(logits)
        target[: len(sample.positives)] = 1
        objectness_loss = objectness_loss + functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        target_deltas = encode_boxes(anchors[sample.positives], objects[image][sample.objects])
        predicted_deltas = at_least_float32(box_deltas[image, sample.positives])
        if cut is not None:
            sides, weights = cut[image][sample.objects], torch.ones_like(anchors[0])
            target_deltas = crop_aware_targets(predicted_deltas.detach(), target_deltas, sides, weights, BOX_SIGMA)
        box_loss = box_loss + smooth_l1(predicted_deltas, target_deltas, BOX_SIGMA).sum()
    return ProposalLosses(LossSum(objectness_loss, num_sampled), LossSum(box_loss, num_sampled))
