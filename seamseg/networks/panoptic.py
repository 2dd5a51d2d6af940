"""Panoptic network (Porzi et al., Seamless Scene Segmentation, CVPR 2019, figure 2)."""

from __future__ import annotations

import torch
from torch import nn

from seamseg.algos.losses import LossReduction, SemanticLoss, reduce_per_rank
from seamseg.algos.roi import RoIHeads
from seamseg.algos.rpn import RegionProposalNetwork
from seamseg.modules.fpn import PyramidBody
from seamseg.modules.norm import cache_min_gammas
from seamseg.modules.roi_head import RoIHead
from seamseg.modules.rpn_head import RPNHead
from seamseg.modules.semantic_head import SemanticHead
from seamseg.structures.ground_truth import GroundTruth
from seamseg.structures.images import pad_images
from seamseg.structures.losses import Losses
from seamseg.structures.packed_sequence import PackedSequence
from seamseg.structures.predictions import Predictions


class PanopticNet(nn.Module):
    """Panoptic network with one backbone and three heads: proposals, regions (class, box, mask) and semantics.

    Args:
        body: Backbone and feature pyramid, from images to pyramid levels.
        rpn_head: Weights of the region proposal network.
        roi_head: Weights of the region branches for class, box and mask.
        sem_head: Weights of the semantic branch.
        rpn: Proposal algorithm that uses ``rpn_head``.
        roi_heads: Detection algorithm that uses ``roi_head``.
        semantic_loss: Loss of the output of ``sem_head``.
        normalize: Function that divides the loss sums by their counts.
    """

    def __init__(
        self,
        body: PyramidBody,
        rpn_head: RPNHead,
        roi_head: RoIHead,
        sem_head: SemanticHead,
        rpn: RegionProposalNetwork,
        roi_heads: RoIHeads,
        semantic_loss: SemanticLoss,
        normalize: LossReduction = reduce_per_rank,
    ) -> None:
        super().__init__()
        self.body, self.rpn_head, self.roi_head, self.sem_head = body, rpn_head, roi_head, sem_head
        self.rpn, self.roi_heads = rpn, roi_heads
        self.semantic_loss, self.normalize = semantic_loss, normalize

    def forward(self, images: PackedSequence, ground_truth: GroundTruth, generator: torch.Generator) -> Losses:
        """Compute the six training losses.

        Args:
            images: N normalized images, 3×H×W each.
            ground_truth: Annotation at the size of the images.
            generator: CPU random generator used to sample anchors and regions.
        """
        padded = pad_images(images)
        cache_min_gammas(self)
        levels = self.body(padded.tensor)
        proposal_losses, proposals = self.rpn.train(self.rpn_head, levels, padded.sizes, ground_truth, generator)
        region_losses = self.roi_heads.train(self.roi_head, levels, proposals, padded, ground_truth, generator)
        semantic_loss = self.semantic_loss(self.sem_head(levels), padded, ground_truth)
        return Losses(
            *self.normalize(
                [
                    proposal_losses.objectness,
                    proposal_losses.boxes,
                    region_losses.classes,
                    region_losses.boxes,
                    region_losses.masks,
                    semantic_loss,
                ]
            )
        )

    @torch.no_grad()
    def predict(self, images: PackedSequence) -> Predictions:
        """Predict detections and semantic logits.

        Args:
            images: N normalized images, 3×H×W each.
        """
        padded = pad_images(images)
        levels = self.body(padded.tensor)
        proposals = self.rpn.propose(self.rpn_head, levels, padded.sizes)
        boxes, classes, scores, masks = self.roi_heads.detect(
            self.roi_head, levels, proposals, padded.sizes, padded.padded_size
        )
        logits = self.sem_head(levels)
        return Predictions(boxes, classes, scores, masks, logits, padded.sizes, padded.padded_size)
