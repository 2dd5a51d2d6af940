"""The panoptic network (Porzi et al., Seamless Scene Segmentation, CVPR 2019, figure 2)."""

from __future__ import annotations

import torch
from torch import nn

from seamseg.algos.losses import Normalise, SemanticLoss, mean_of_rank
from seamseg.algos.roi import RegionNetwork
from seamseg.algos.rpn import ProposalNetwork
from seamseg.modules.fpn import PyramidBody
from seamseg.modules.norm import learn_inversions
from seamseg.modules.roi_head import RegionHead
from seamseg.modules.rpn_head import ProposalHead
from seamseg.modules.semantic_head import SemanticHead
from seamseg.structures.ground_truth import GroundTruth
from seamseg.structures.images import pad_images
from seamseg.structures.losses import Losses
from seamseg.structures.packed_sequence import PackedSequence
from seamseg.structures.predictions import Predictions


class PanopticNet(nn.Module):
    """One body, three heads: proposals, regions (class, box, mask), semantics.

    Args:
        body: from images to the levels of the pyramid.
        rpn_head, roi_head, sem_head: what has weights.
        proposal_network, region_network, semantic_loss: what is done with them.
        normalise: divides the sums of the losses.
    """

    def __init__(
        self,
        body: PyramidBody,
        rpn_head: ProposalHead,
        roi_head: RegionHead,
        sem_head: SemanticHead,
        proposal_network: ProposalNetwork,
        region_network: RegionNetwork,
        semantic_loss: SemanticLoss,
        normalise: Normalise = mean_of_rank,
    ) -> None:
        super().__init__()
        self.body, self.rpn_head, self.roi_head, self.sem_head = body, rpn_head, roi_head, sem_head
        self.proposal_network, self.region_network = proposal_network, region_network
        self.semantic_loss, self.normalise = semantic_loss, normalise

    def forward(self, images: PackedSequence, ground_truth: GroundTruth, generator: torch.Generator) -> Losses:
        """The six training losses.

        Args:
            images: 3×H×W each, normalised.
            ground_truth: at the images' size.
            generator: of the sampled anchors and regions, on the CPU.
        """
        padded = pad_images(images)
        learn_inversions(self)
        levels = self.body(padded.tensor)
        proposal_losses, proposals = self.proposal_network.train(
            self.rpn_head, levels, padded.sizes, ground_truth, generator
        )
        region_losses = self.region_network.train(self.roi_head, levels, proposals, padded, ground_truth, generator)
        semantic_loss = self.semantic_loss(self.sem_head(levels), padded, ground_truth)
        return Losses(
            *self.normalise(
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
        """Detections and semantics.

        Args:
            images: 3×H×W each, normalised.
        """
        padded = pad_images(images)
        levels = self.body(padded.tensor)
        proposals = self.proposal_network.propose(self.rpn_head, levels, padded.sizes)
        boxes, classes, scores, masks = self.region_network.detect(
            self.roi_head, levels, proposals, padded.sizes, padded.padded_size
        )
        logits = self.sem_head(levels)
        return Predictions(boxes, classes, scores, masks, logits, padded.sizes, padded.padded_size)
