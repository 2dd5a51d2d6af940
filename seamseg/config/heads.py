"""The three heads and what is done with their answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from seamseg.config.settings import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)


class ProposalCounts(Settings):
    """How many proposals stay."""

    before_nms: PositiveInt
    """Best boxes of all levels together that enter the suppression."""

    after_nms: PositiveInt
    """Boxes that may leave it."""


class ProposalSettings(Settings):
    """The region proposal network."""

    channels: PositiveInt = 256
    """Width of the hidden layer."""

    anchor_ratios: tuple[PositiveFloat, ...] = Field(default=(1.0, 0.5, 2.0), min_length=1)
    """Height over width of the anchors at every position."""

    anchor_scale: PositiveFloat = 8.0
    """Side of a square anchor, in positions of its level."""

    training: ProposalCounts = ProposalCounts(before_nms=12000, after_nms=2000)
    """Proposals in training."""

    inference: ProposalCounts = ProposalCounts(before_nms=6000, after_nms=300)
    """Proposals in validation and prediction."""

    nms_threshold: Fraction = 0.7
    """Overlap above which the lower of two proposals goes."""

    min_size: NonNegativeFloat = 16.0
    """Proposals with a shorter side are dropped, in pixels; 0 keeps all."""

    num_samples: PositiveInt = 256
    """Anchors of an image that take part in the loss."""

    positive_fraction: Fraction = 0.5
    """Of them at most."""

    positive_threshold: Fraction = 0.7
    """Overlap from which an anchor should find an object."""

    negative_threshold: Fraction = 0.3
    """Overlap under which it should find nothing."""

    void_threshold: Fraction = 0.7
    """Anchors covered by crowd to this part don't take part."""


class RegionSettings(Settings):
    """The region head."""

    fc_channels: PositiveInt = 1024
    """Width of the two fully connected layers."""

    mask_channels: PositiveInt = 256
    """Width of the convolutions of the mask branch."""

    num_samples: PositiveInt = 128
    """Regions of an image that take part in the losses."""

    positive_fraction: Fraction = 0.25
    """Of them at most."""

    positive_threshold: Fraction = 0.5
    """Overlap from which a region shows an object."""

    negative_low: Fraction = 0.0
    """A region whose largest overlap lies in [low, high) shows background."""

    negative_high: Fraction = 0.5
    """See `negative_low`."""

    void_threshold: Fraction = 0.7
    """Regions covered by crowd to this part don't take part."""

    background_images: bool = False
    """Whether images without objects give background regions (the published network skips them)."""

    masks_of_positives_only: bool = False
    """Whether the mask branch runs on the positive regions alone: faster, other batch statistics than published."""

    void_is_background: bool = False
    """Whether void pixels train the masks as background; otherwise they don't count."""

    nms_threshold: Fraction = 0.3
    """Overlap above which the lower of two detections of a class goes."""

    score_threshold: Fraction = 0.05
    """Detections must be more probable."""

    max_predictions: PositiveInt = 100
    """Best detections of an image that stay."""


class SemanticSettings(Settings):
    """The semantic head."""

    channels: PositiveInt = 128
    """Width of each level's small DeepLab."""

    window: PositiveInt = 64
    """Side of the window of the mean, in positions of the level."""

    hardest_fraction: Fraction = Field(default=0.25, gt=0)
    """Of an image's pixels, the hardest, that the loss is taken over."""


class FusionSettings(Settings):
    """How detections and semantics become one segmentation."""

    score_threshold: Fraction = 0.5
    """Detections must be more probable."""

    overlap_threshold: Fraction = 0.5
    """A detection goes if better ones hold more than this part of its mask."""

    min_stuff_area: NonNegativeInt = 4096
    """Smaller stuff segments become void; in pixels of the network's input."""


class LossWeights(Settings):
    """Factors of the six losses in the sum that is trained."""

    rpn_objectness: NonNegativeFloat = 1.0
    rpn_boxes: NonNegativeFloat = 1.0
    roi_classes: NonNegativeFloat = 1.0
    roi_boxes: NonNegativeFloat = 1.0
    roi_masks: NonNegativeFloat = 1.0
    semantic: NonNegativeFloat = 1.0


class LossSettings(Settings):
    """How the losses are made of their terms."""

    normalize: Literal["rank", "global"] = "rank"
    """What the sums over anchors, regions and pixels are divided by when several processes train together: rank, the
    published way: each process by its own counts; global: all by their common counts, which equals one process with the
    joined batch."""
