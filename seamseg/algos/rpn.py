"""The region proposal network without its weights: selection of proposals and losses (Ren et al., Faster R-CNN)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from seamseg.algos.anchors import AnchorGrid
from seamseg.algos.losses import smooth_l1
from seamseg.algos.matching import AnchorMatcher, AnchorSample
from seamseg.ops.boxes import clip_boxes, decode_boxes, encode_boxes, nms
from seamseg.ops.native import at_least_float32
from seamseg.structures.ground_truth import GroundTruth
from seamseg.structures.images import Size
from seamseg.structures.losses import LossSum
from seamseg.structures.packed_sequence import PackedSequence


class ProposalSelector:
    """Decodes, clips, drops small boxes, and thins out.

    Args:
        num_before_nms: best boxes of all levels together that enter the suppression.
        num_after_nms: boxes that may leave it.
        nms_threshold: overlap above which the lower score goes.
        min_size: boxes with a shorter side are dropped, in pixels; 0 keeps all.
    """

    def __init__(self, num_before_nms: int, num_after_nms: int, nms_threshold: float, min_size: float) -> None:
        self.num_before_nms, self.num_after_nms = num_before_nms, num_after_nms
        self.nms_threshold, self.min_size = nms_threshold, min_size

    @torch.no_grad()
    def __call__(
        self, anchors: Tensor, objectness: Tensor, box_deltas: Tensor, sizes: Sequence[Size]
    ) -> PackedSequence:
        """Proposals of every image.

        Args:
            anchors: K×4.
            objectness: N×K logits.
            box_deltas: N×K×4.
            sizes: height and width of the images' valid parts.

        Returns:
            P×4 boxes per image by falling objectness, P ≤ ``num_after_nms``.
        """
        return PackedSequence(
            self._image(anchors, image_objectness.float(), image_shifts.float(), size)
            for image_objectness, image_shifts, size in zip(objectness, box_deltas, sizes, strict=True)
        )

    def _image(self, anchors: Tensor, objectness: Tensor, box_deltas: Tensor, size: Size) -> Tensor:
        boxes = clip_boxes(decode_boxes(anchors, box_deltas), size)
        if self.min_size > 0:
            large = ((boxes[:, 2:] - boxes[:, :2]) >= self.min_size).all(dim=1)
            boxes, objectness = boxes[large], objectness[large]
        scores, order = objectness.topk(min(self.num_before_nms, len(objectness)))
        boxes = boxes[order]
        return boxes[nms(boxes, scores, self.nms_threshold)[: self.num_after_nms]]


Head = Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]]
"""Levels N×C×h×w → objectness N×K, box_deltas N×K×4."""

BOX_SIGMA = 3.0


@dataclass(frozen=True)
class ProposalLosses:
    """Of the sampled anchors of all images: objectness, and box_deltas of the positive ones."""

    objectness: LossSum
    boxes: LossSum


class RegionProposalNetwork:
    """Proposes boxes, and trains the head that does.

    Args:
        anchors: on the levels that the head reads, from the finest on.
        matcher: of anchors and objects.
        training_selector, inference_selector: of the proposals.
        num_stuff: S, the first thing class.
    """

    def __init__(
        self,
        anchors: AnchorGrid,
        matcher: AnchorMatcher,
        training_selector: ProposalSelector,
        inference_selector: ProposalSelector,
        num_stuff: int,
    ) -> None:
        self.anchors, self.matcher, self.num_stuff = anchors, matcher, num_stuff
        self.training_selector, self.inference_selector = training_selector, inference_selector

    def propose(self, head: Head, levels: Sequence[Tensor], sizes: Sequence[Size]) -> PackedSequence:
        """Boxes worth a closer look, P×4 per image.

        Args:
            head: objectness and box_deltas of all anchors.
            levels: of the pyramid, N×C×h×w, fine to coarse; those beyond the anchors' levels are not read.
            sizes: of the images' valid parts.
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
        """Losses of the head, and the proposals of its present state (without gradient)."""
        anchors, objectness, box_deltas = self._run(head, levels)
        objects = [ground_truth.objects(image, self.num_stuff).boxes for image in range(len(sizes))]
        samples = [
            self.matcher(anchors, size, objects[image], ground_truth.crowd_pixels(image, self.num_stuff), generator)
            for image, size in enumerate(sizes)
        ]
        losses = proposal_losses(anchors, objectness, box_deltas, objects, samples)
        return losses, self.training_selector(anchors, objectness, box_deltas, sizes)

    def _run(self, head: Head, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        levels = levels[: len(self.anchors.strides)]
        objectness, box_deltas = head(levels)
        level_sizes = [(int(level.shape[-2]), int(level.shape[-1])) for level in levels]
        return self.anchors(level_sizes, objectness.device), objectness, box_deltas


def proposal_losses(
    anchors: Tensor, objectness: Tensor, box_deltas: Tensor, objects: Sequence[Tensor], samples: Sequence[AnchorSample]
) -> ProposalLosses:
    """Sums over the sampled anchors of all images, both to be divided by their number.

    Args:
        anchors: K×4.
        objectness: N×K logits.
        box_deltas: N×K×4.
        objects: O×4 boxes per image.
        samples: of the anchors, per image.
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
        wanted = encode_boxes(anchors[sample.positives], objects[image][sample.objects])
        found = at_least_float32(box_deltas[image, sample.positives])
        box_loss = box_loss + smooth_l1(found, wanted, BOX_SIGMA).sum()
    return ProposalLosses(LossSum(objectness_loss, num_sampled), LossSum(box_loss, num_sampled))
