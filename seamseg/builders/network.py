"""Builders of the network, its random weights and the panoptic fusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import init

from seamseg.algos.anchors import AnchorGrid
from seamseg.algos.cascade import BoxStage, stage_weights
from seamseg.algos.class_weights import ClassWeights
from seamseg.algos.fusion import PanopticFusion
from seamseg.algos.losses import SemanticLoss, reduce_over_ranks, reduce_per_rank
from seamseg.algos.matching import AnchorMatcher, RoIMatcher
from seamseg.algos.roi import DetectionSelector, RoIHeads
from seamseg.algos.roi_pooling import RoIPooler
from seamseg.algos.rpn import ProposalSelector, RegionProposalNetwork
from seamseg.builders.body import build_body, build_norm, build_pyramid_body
from seamseg.config import Experiment
from seamseg.config.heads import ProposalCounts, RegionSettings
from seamseg.errors import SettingsError
from seamseg.modules.abn import ABN
from seamseg.modules.deeplab_head import DeepLabHead
from seamseg.modules.fpn import FPN, PyramidBody
from seamseg.modules.norm import NormFactory
from seamseg.modules.roi_head import MASK_SIZE, REGION_SIZE, RoIHead
from seamseg.modules.rpn_head import RPNHead
from seamseg.modules.semantic_head import SemanticHead
from seamseg.networks import DeepLabNet, PyramidNet, SegmentationNet
from seamseg.networks.pyramid import ObjectParts, SemanticParts
from seamseg.structures import Categories

OUTPUT_GAINS: Mapping[str, float] = {
    "conv_obj": 0.01,
    "conv_bbx": 0.01,
    "roi_cls": 0.01,
    "roi_bbx": 0.001,
    "roi_bbx_any": 0.001,
    "roi_msk": 0.01,
    "roi_iou": 0.01,
    "roi_pnt": 0.01,
    "conv_sem": 0.1,
    "cls": 0.1,
}
"""Gains of the output layers, by name. They are small, so that the initial losses match an uninformed guess."""


@torch.no_grad()
def initialize(
    network: nn.Module,
    activation: str,
    slope: float,
    generator: torch.Generator,
    output_gains: Mapping[str, float] = OUTPUT_GAINS,
) -> None:
    """Initialize the weights with Xavier-normal values and the biases with zeros.

    The gain is that of the activation, except for the output layers. Norms keep their initial values, which are the
    identity.

    Args:
        network: Network to change in place.
        activation: Activation after the hidden layers.
        slope: Slope of this activation.
        generator: CPU random generator for all values.
        output_gains: Gains of the output layers, by name.
    """
    gains = {"leaky_relu": init.calculate_gain("leaky_relu", slope), "relu": init.calculate_gain("relu")}
    hidden_gain = gains.get(activation, 1.0)
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            gain = output_gains.get(name.rpartition(".")[2], hidden_gain)
            init.xavier_normal_(module.weight, gain, generator=generator)
            if module.bias is not None:
                init.zeros_(module.bias)


def build_network(
    experiment: Experiment, num_stuff: int, num_things: int, class_weights: ClassWeights | None = None
) -> SegmentationNet:
    """Build the network of the task without initializing its weights.

    Args:
        experiment: Settings of the network.
        num_stuff: Number of stuff classes.
        num_things: Number of thing classes.
        class_weights: Weights of classes in the losses; None for 1.
    """
    network = _assembled(experiment, num_stuff, num_things, class_weights)
    name_norms(network)
    return network


def name_norms(network: nn.Module) -> None:
    """Tell all norms of a network their names, for messages."""
    for name, layer in network.named_modules():
        if isinstance(layer, ABN):
            layer.layer_name = name


def _assembled(
    experiment: Experiment, num_stuff: int, num_things: int, class_weights: ClassWeights | None
) -> SegmentationNet:
    norm, head_norm = _norms(experiment)
    num_classes, width = num_stuff + num_things, experiment.fpn.channels
    pixel_weights = None if class_weights is None else class_weights.pixels
    loss = SemanticLoss(experiment.sem.hardest_fraction, pixel_weights, experiment.sem.focal_gamma)
    normalize = reduce_over_ranks if experiment.loss.normalize == "global" else reduce_per_rank
    memory = experiment.training.memory
    if experiment.sem.head == "deeplab":
        deep = build_body(experiment.body, norm, memory)
        return DeepLabNet(deep, DeepLabHead(deep.channels[-1], norm), num_classes, loss, normalize)
    finds_objects, has_masks, classifies_pixels = task_heads(experiment.task, num_stuff, num_things)
    backbone = build_pyramid_body(experiment.body, norm, memory)
    # Only proposals read extra levels. Without them, DDP would wait for gradients of unused layers.
    extra_levels = experiment.fpn.extra_levels if finds_objects else 0
    body = PyramidBody(backbone, FPN(backbone.channels, width, extra_levels, norm))
    objects = semantics = None
    if finds_objects:
        objects = ObjectParts(
            rpn_head=RPNHead(width, experiment.rpn.channels, len(experiment.rpn.anchor_ratios), head_norm),
            roi_head=_roi_head(experiment, num_things, has_masks, head_norm),
            rpn=_proposal_network(experiment, num_stuff),
            roi_heads=_region_network(experiment, num_stuff, class_weights),
        )
    if classifies_pixels:
        sem_head = SemanticHead(width, experiment.sem.channels, num_classes, experiment.sem.window, norm)
        semantics = SemanticParts(sem_head, loss)
    return PyramidNet(body, objects, semantics, normalize)


def _roi_head(experiment: Experiment, num_things: int, has_masks: bool, norm: NormFactory) -> RoIHead:
    settings = experiment.roi
    return RoIHead(
        in_channels=experiment.fpn.channels,
        num_things=num_things,
        fc_channels=settings.fc_channels,
        mask_channels=settings.mask_channels if has_masks else None,
        norm=norm,
        box_channels=settings.box_channels if settings.box_head == "conv4" else None,
        mask_scoring=settings.mask_scoring,
        point_head=settings.mask_head == "pointrend",
        class_agnostic=settings.cascade is not None,
        num_later_stages=0 if settings.cascade is None else len(settings.cascade) - 1,
    )


class TaskHeads(NamedTuple):
    """Heads on the feature pyramid.

    Attributes:
        finds_objects: Whether there are heads for proposals and regions.
        has_masks: Whether the head for regions predicts masks.
        classifies_pixels: Whether there is a semantic head.
    """

    finds_objects: bool
    has_masks: bool
    classifies_pixels: bool


def task_heads(task: str, num_stuff: int, num_things: int) -> TaskHeads:
    """Return the heads that a task needs; a panoptic network has no head whose classes the data lack.

    Args:
        task: Task of the network.
        num_stuff: Number of stuff classes.
        num_things: Number of thing classes.

    Raises:
        SeamsegError: The task is about things, and there are none.
    """
    if task == "panoptic":
        return TaskHeads(num_things > 0, num_things > 0, num_stuff > 0 or num_things == 0)
    if task == "semantic":
        return TaskHeads(False, False, True)
    if num_things == 0:
        raise SettingsError(f"task={task} finds things, but the data have only stuff classes; set task=semantic")
    return TaskHeads(True, task == "instance", False)


def left_out_heads(task: str, categories: Categories) -> str:
    """Describe the head that a panoptic network lacks because its data have no classes for it; empty if it has all."""
    if task != "panoptic" or (categories.num_stuff and categories.num_things):
        return ""
    if categories.num_things:
        return "all classes are things, so the network has no semantic head"
    return "all classes are stuff, so the network has no heads for proposals and regions"


def build_fusion(experiment: Experiment, num_stuff: int, num_things: int) -> PanopticFusion:
    """Build the fusion of predictions into panoptic segmentations.

    For the semantic task, every class counts as stuff, and no segment is too small: one segment per class remains.

    Args:
        experiment: Settings of the fusion.
        num_stuff: Number of stuff classes, which is the number of the first thing class.
        num_things: Number of thing classes.
    """
    settings, is_semantic = experiment.fusion, experiment.task == "semantic"
    return PanopticFusion(
        num_stuff=num_stuff + num_things if is_semantic else num_stuff,
        score_threshold=settings.score_threshold,
        overlap_threshold=settings.overlap_threshold,
        min_stuff_area=0 if is_semantic else settings.min_stuff_area,
    )


def _norms(experiment: Experiment) -> tuple[NormFactory, NormFactory]:
    settings = experiment.norm
    return build_norm(settings), build_norm(settings, settings.heads)


def _proposal_network(experiment: Experiment, num_stuff: int) -> RegionProposalNetwork:
    settings = experiment.rpn
    return RegionProposalNetwork(
        anchors=AnchorGrid(settings.anchor_ratios, settings.anchor_scale, experiment.fpn.strides),
        matcher=AnchorMatcher(
            num_samples=settings.num_samples,
            positive_fraction=settings.positive_fraction,
            positive_threshold=settings.positive_threshold,
            negative_threshold=settings.negative_threshold,
            void_threshold=settings.void_threshold,
            border_anchors=settings.border_anchors,
        ),
        training_selector=_selector(experiment, settings.training),
        inference_selector=_selector(experiment, settings.inference),
        num_stuff=num_stuff,
        box_loss=settings.box_loss,
    )


def _selector(experiment: Experiment, counts: ProposalCounts) -> ProposalSelector:
    settings = experiment.rpn
    return ProposalSelector(counts.before_nms, counts.after_nms, settings.nms_threshold, settings.min_size)


def _region_network(experiment: Experiment, num_stuff: int, class_weights: ClassWeights | None) -> RoIHeads:
    settings = experiment.roi
    stages = _box_stages(settings)
    return RoIHeads(
        pooler=RoIPooler(REGION_SIZE),
        matcher=stages[0].matcher,
        selector=DetectionSelector(
            settings.nms_threshold, settings.score_threshold, settings.max_predictions, stages[-1].box_weights
        ),
        num_stuff=num_stuff,
        mask_size=MASK_SIZE,
        masks_of_positives_only=settings.masks_of_positives_only,
        void_is_background=settings.void_is_background,
        class_weights=None if class_weights is None else class_weights.regions,
        focal_gamma=settings.focal_gamma,
        box_loss=settings.box_loss,
        later_stages=stages[1:],
    )


def _box_stages(settings: RegionSettings) -> list[BoxStage]:
    """Return the stages of a cascade, or the only stage of the published network."""
    bounds = [(settings.positive_threshold, settings.negative_high)]
    if settings.cascade is not None:
        bounds = [(threshold, threshold) for threshold in settings.cascade]
    return [
        BoxStage(
            RoIMatcher(
                num_samples=settings.num_samples,
                positive_fraction=settings.positive_fraction,
                positive_threshold=positive_threshold,
                negative_low=settings.negative_low,
                negative_high=negative_high,
                void_threshold=settings.void_threshold,
                background_images=settings.background_images,
            ),
            stage_weights(number),
        )
        for number, (positive_threshold, negative_high) in enumerate(bounds, start=1)
    ]
