"""A tiny panoptic network, and batches of drawn scenes for it.

network = tiny_network()
images, truth = scenes(["objects", "no objects"], [(64, 96), (48, 80)])
losses = network(images, truth, torch.Generator().manual_seed(0))
"""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

import torch
from support.drawn_truth import batch, painted

from seamseg.algos.anchors import AnchorGrid
from seamseg.algos.cascade import BoxStage, stage_weights
from seamseg.algos.losses import SemanticLoss
from seamseg.algos.matching import AnchorMatcher, RoIMatcher
from seamseg.algos.roi import DetectionSelector, RoIHeads
from seamseg.algos.roi_pooling import RoIPooler
from seamseg.algos.rpn import ProposalSelector, RegionProposalNetwork
from seamseg.builders.network import initialize
from seamseg.modules import resnet
from seamseg.modules.fpn import FPN, PyramidBody
from seamseg.modules.norm import NormFactory, NormName
from seamseg.modules.roi_head import RoIHead
from seamseg.modules.rpn_head import RPNHead
from seamseg.modules.semantic_head import SemanticHead
from seamseg.networks import PyramidNet
from seamseg.networks.pyramid import ObjectParts, SemanticParts
from seamseg.structures import GroundTruth, PackedSequence

NUM_STUFF, NUM_THINGS = 3, 2
WIDTH, NUM_ANCHORS, STRIDES = 16, 3, (4, 8, 16, 32)


def _stages(thresholds: tuple[float, ...], num_samples: int, background_images: bool) -> list[BoxStage]:
    return [
        BoxStage(
            RoIMatcher(
                num_samples,
                positive_threshold=threshold,
                negative_high=threshold,
                background_images=background_images,
            ),
            stage_weights(number),
        )
        for number, threshold in enumerate(thresholds, start=1)
    ]


def tiny_network(
    norm: NormName | NormFactory = "bn",
    background_images: bool = False,
    masks_of_positives_only: bool = False,
    num_samples: int = 32,
    seed: int = 0,
    box_channels: int | None = None,
    mask_scoring: bool = False,
    point_head: bool = False,
    cascade: tuple[float, ...] = (),
) -> PyramidNet:
    """Build a network with a ResNet-18 of one eighth of the usual width and narrow heads.

    A cascade has class-agnostic boxes and a stage for each threshold.
    """
    norm = norm if isinstance(norm, NormFactory) else NormFactory(norm, groups=4)
    with mock.patch.object(resnet, "STEM_CHANNELS", 8):
        backbone = resnet.ResNet("resnet18", norm)
    stages = _stages(cascade or (0.5,), num_samples, background_images)
    objects = ObjectParts(
        rpn_head=RPNHead(WIDTH, WIDTH, NUM_ANCHORS, norm),
        roi_head=RoIHead(
            *(WIDTH, NUM_THINGS, 32, WIDTH, norm, box_channels),
            mask_scoring=mask_scoring,
            point_head=point_head,
            class_agnostic=bool(cascade),
            num_later_stages=len(stages) - 1,
        ),
        rpn=RegionProposalNetwork(
            AnchorGrid((0.5, 1, 2), 4, STRIDES),
            AnchorMatcher(num_samples),
            ProposalSelector(200, 40, 0.7, 0),
            ProposalSelector(200, 30, 0.7, 0),
            NUM_STUFF,
        ),
        roi_heads=RoIHeads(
            RoIPooler(),
            stages[0].matcher,
            DetectionSelector(0.5, 0.05, 20, stages[-1].box_weights),
            NUM_STUFF,
            masks_of_positives_only=masks_of_positives_only,
            later_stages=stages[1:],
        ),
    )
    sem_head = SemanticHead(WIDTH, WIDTH, NUM_STUFF + NUM_THINGS, 64, norm)
    body = PyramidBody(backbone, FPN(backbone.channels, WIDTH, 0, norm))
    network = PyramidNet(body, objects, SemanticParts(sem_head, SemanticLoss()))
    initialize(network, norm.activation, norm.slope, torch.Generator().manual_seed(seed))
    return network


def scenes(kinds: Sequence[str], sizes: Sequence[tuple[int, int]], seed: int = 0) -> tuple[PackedSequence, GroundTruth]:
    """Make images of noise, and their ground truth.

    Args:
        kinds: Content of each image: ``objects`` (stuff, both things, crowd and void), ``no objects`` (stuff and void),
            ``crowd`` (only a crowd of a thing) or ``void``.
        sizes: Height and width of each image.
        seed: Seed of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    images = PackedSequence(torch.randn(3, *size, generator=generator) for size in sizes)
    return images, batch(
        [painted(_ids(kind, size), [0, 1, 3, 4, 4], [5]) for kind, size in zip(kinds, sizes, strict=True)]
    )


def _ids(kind: str, size: tuple[int, int]) -> torch.Tensor:
    """Draw segment ids: 1 and 2 are stuff, 3 and 4 are things, 5 is crowd."""
    height, width = size
    ids = torch.zeros(size, dtype=torch.int64)
    if kind == "crowd":
        ids[:] = 5
    if kind in ("objects", "no objects"):
        ids[: height // 2], ids[height // 2 :] = 1, 2
        ids[:2] = 0
    if kind == "objects":
        ids[height // 4 : height // 4 + height // 3, width // 8 : width // 2] = 3
        ids[height // 2 : height - 2, width // 2 : width // 2 + width // 4] = 4
        ids[height // 2 :, width - width // 8 :] = 5
    return ids
