"""Semantic networks: the DeepLab of In-Place ABN, and the semantic part of the panoptic network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seamseg.algos.losses import LossReduction, SemanticLoss, reduce_per_rank
from seamseg.modules.body import Body
from seamseg.modules.deeplab_head import DeepLabHead
from seamseg.modules.fpn import PyramidBody
from seamseg.modules.norm import cache_min_gammas
from seamseg.modules.semantic_head import SemanticHead
from seamseg.structures.ground_truth import GroundTruth
from seamseg.structures.images import pad_images
from seamseg.structures.losses import Losses
from seamseg.structures.packed_sequence import PackedSequence
from seamseg.structures.predictions import Predictions


class SemanticNet(nn.Module):
    """Network that predicts the class of every pixel; a subclass adds the head.

    Args:
        body: Body, with or without feature pyramid.
        semantic_loss: Loss of the logits.
        normalize: Function that divides the loss sum by its count.
    """

    def __init__(
        self, body: Body | PyramidBody, semantic_loss: SemanticLoss, normalize: LossReduction = reduce_per_rank
    ) -> None:
        super().__init__()
        self.body = body
        self.semantic_loss, self.normalize = semantic_loss, normalize

    def logits(self, levels: Sequence[Tensor]) -> Tensor:
        """Return N×K×h×w class logits that cover the padded images.

        Args:
            levels: Levels of the body, fine to coarse.
        """
        raise NotImplementedError

    def forward(self, images: PackedSequence, ground_truth: GroundTruth, generator: torch.Generator) -> Losses:
        """Compute the training loss.

        Args:
            images: N normalized images, 3×H×W each.
            ground_truth: Annotation at the size of the images. Every class counts, things and crowd as well as stuff.
            generator: CPU random generator; nothing is sampled here.
        """
        padded = pad_images(images)
        cache_min_gammas(self)
        loss = self.semantic_loss(self.logits(self.body(padded.tensor)), padded, ground_truth)
        return Losses(semantic=self.normalize([loss])[0])

    @torch.no_grad()
    def predict(self, images: PackedSequence) -> Predictions:
        """Predict semantic logits, and no detections.

        Args:
            images: N normalized images, 3×H×W each.
        """
        padded = pad_images(images)
        logits = self.logits(self.body(padded.tensor))
        return Predictions.without_detections(logits, padded.sizes, padded.padded_size)


class DeepLabNet(SemanticNet):
    """The semantic network of Rota Bulò et al., "In-Place Activated BatchNorm", CVPR 2018.

    Args:
        body: Body; the published network has a dilated WideResNet-38 A2.
        head: DeepLabV3 head on the body's last level.
        num_classes: Number of classes K.
        semantic_loss: Loss of the logits.
        normalize: Function that divides the loss sum by its count.
    """

    def __init__(
        self,
        body: Body,
        head: DeepLabHead,
        num_classes: int,
        semantic_loss: SemanticLoss,
        normalize: LossReduction = reduce_per_rank,
    ) -> None:
        super().__init__(body, semantic_loss, normalize)
        self.head = head
        self.cls = nn.Conv2d(head.out_channels, num_classes, 1)

    def logits(self, levels: Sequence[Tensor]) -> Tensor:
        """Return the logits at the stride of the body's last level."""
        logits: Tensor = self.cls(self.head(levels[-1]))
        return logits


class PyramidSemanticNet(SemanticNet):
    """Feature pyramid and semantic head of the panoptic network, under the same names, without its other heads.

    Args:
        body: Backbone and feature pyramid.
        sem_head: Weights of the semantic branch.
        semantic_loss: Loss of the output of ``sem_head``.
        normalize: Function that divides the loss sum by its count.
    """

    def __init__(
        self,
        body: PyramidBody,
        sem_head: SemanticHead,
        semantic_loss: SemanticLoss,
        normalize: LossReduction = reduce_per_rank,
    ) -> None:
        super().__init__(body, semantic_loss, normalize)
        self.sem_head = sem_head

    def logits(self, levels: Sequence[Tensor]) -> Tensor:
        """Return the logits at the size of the finest level."""
        logits: Tensor = self.sem_head(levels)
        return logits
