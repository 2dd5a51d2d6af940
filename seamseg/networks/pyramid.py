"""Networks on a feature pyramid: panoptic, instance, detection and semantic (Porzi et al., CVPR 2019, figure 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from seamseg.algos.losses import LossReduction, SemanticLoss, reduce_per_rank
from seamseg.algos.roi import RoIHeads
from seamseg.algos.rpn import RegionProposalNetwork
from seamseg.modules.fpn import PyramidBody
from seamseg.modules.norm import cache_min_gammas
from seamseg.modules.roi_head import LATER_STAGES, RoIHead
from seamseg.modules.rpn_head import RPNHead
from seamseg.modules.semantic_head import SemanticHead
from seamseg.structures.ground_truth import GroundTruth
from seamseg.structures.images import pad_images
from seamseg.structures.losses import Losses, LossSum
from seamseg.structures.packed_sequence import PackedSequence
from seamseg.structures.predictions import Predictions


@dataclass(frozen=True)
class ObjectParts:
    """Heads that find objects, with the algorithms that use them.

    Attributes:
        rpn_head: Weights of the region proposal network.
        roi_head: Weights of the region branches for class, box and, optionally, mask, points, mask score and later
            stages.
        rpn: Proposal algorithm that uses ``rpn_head``.
        roi_heads: Detection algorithm that uses ``roi_head``.
    """

    rpn_head: RPNHead
    roi_head: RoIHead
    rpn: RegionProposalNetwork
    roi_heads: RoIHeads


@dataclass(frozen=True)
class SemanticParts:
    """Head that classifies pixels, with its loss.

    Attributes:
        sem_head: Weights of the semantic branch.
        semantic_loss: Loss of the output of ``sem_head``.
    """

    sem_head: SemanticHead
    semantic_loss: SemanticLoss


class PyramidNet(nn.Module):
    """One backbone with a feature pyramid, and the heads of a task.

    The panoptic network has heads for proposals, for regions (class, box, mask) and for semantics. Networks of other
    tasks leave some of them out and have the same names for the others.

    Args:
        body: Backbone and feature pyramid, from images to pyramid levels.
        objects: Heads for proposals and regions; None for a network that finds no objects.
        semantics: Semantic head; None for a network that only finds objects.
        normalize: Function that divides the loss sums by their counts.

    Attributes:
        finds_objects: Whether ``rpn_head``, ``roi_head``, ``rpn`` and ``roi_heads`` exist.
        classifies_pixels: Whether ``sem_head`` and ``semantic_loss`` exist.
    """

    rpn_head: RPNHead
    roi_head: RoIHead
    rpn: RegionProposalNetwork
    roi_heads: RoIHeads
    sem_head: SemanticHead
    semantic_loss: SemanticLoss

    def __init__(
        self,
        body: PyramidBody,
        objects: ObjectParts | None = None,
        semantics: SemanticParts | None = None,
        normalize: LossReduction = reduce_per_rank,
    ) -> None:
        super().__init__()
        self.body, self.normalize = body, normalize
        self.finds_objects, self.classifies_pixels = objects is not None, semantics is not None
        if objects is not None:
            self.rpn_head, self.roi_head = objects.rpn_head, objects.roi_head
            self.rpn, self.roi_heads = objects.rpn, objects.roi_heads
        if semantics is not None:
            self.sem_head, self.semantic_loss = semantics.sem_head, semantics.semantic_loss

    def forward(self, images: PackedSequence, ground_truth: GroundTruth, generator: torch.Generator) -> Losses:
        """Compute the training losses of the heads.

        Args:
            images: N normalized images, 3×H×W each.
            ground_truth: Annotation at the size of the images. For the semantic head, every class counts, things and
                crowd as well as stuff.
            generator: CPU random generator used to sample anchors, regions and points.
        """
        padded = pad_images(images)
        cache_min_gammas(self)
        levels = self.body(padded.tensor)
        sums: dict[str, LossSum] = {}
        if self.finds_objects:
            proposal_losses, proposals = self.rpn.train(self.rpn_head, levels, padded.sizes, ground_truth, generator)
            region_losses = self.roi_heads.train(self.roi_head, levels, proposals, padded, ground_truth, generator)
            sums |= {"rpn_objectness": proposal_losses.objectness, "rpn_boxes": proposal_losses.boxes}
            sums |= {"roi_classes": region_losses.classes, "roi_boxes": region_losses.boxes}
            for stage, losses in zip(LATER_STAGES, region_losses.later_stages, strict=False):
                sums |= {f"roi_classes_{stage}": losses.classes, f"roi_boxes_{stage}": losses.boxes}
            if region_losses.masks is not None:
                sums["roi_masks"] = region_losses.masks
            if region_losses.points is not None:
                sums["roi_points"] = region_losses.points
            if region_losses.mask_scores is not None:
                sums["roi_mask_scores"] = region_losses.mask_scores
        if self.classifies_pixels:
            sums["semantic"] = self.semantic_loss(self.sem_head(levels), padded, ground_truth)
        return Losses(**dict(zip(sums, self.normalize(list(sums.values())), strict=True)))

    @torch.no_grad()
    def predict(self, images: PackedSequence) -> Predictions:
        """Predict what the network has heads for: detections, masks and semantic logits.

        Args:
            images: N normalized images, 3×H×W each.
        """
        padded = pad_images(images)
        levels = self.body(padded.tensor)
        predictions = Predictions.empty(levels[0], padded.sizes, padded.padded_size)
        if self.finds_objects:
            proposals = self.rpn.propose(self.rpn_head, levels, padded.sizes)
            predictions = predictions.with_proposals(proposals).with_detections(
                *self.roi_heads.detect(self.roi_head, levels, proposals, padded.sizes, padded.padded_size)
            )
        if self.classifies_pixels:
            predictions = predictions.with_semantics(self.sem_head(levels))
        return predictions
