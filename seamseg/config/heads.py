"""Settings of the three heads, their losses and the panoptic fusion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from seamseg.config.settings import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)

BoxLoss = Literal["smooth_l1", "crop_aware"]
"""Loss of box deltas."""


def _check_ascending(thresholds: tuple[float, ...]) -> tuple[float, ...]:
    """Return thresholds that ascend.

    Raises:
        ValueError: They do not; pydantic adds the key.
    """
    if list(thresholds) != sorted(set(thresholds)):
        raise ValueError("must be in ascending order, such as [0.5, 0.6, 0.7]")
    return thresholds


CascadeThresholds = Annotated[
    tuple[Annotated[float, Field(gt=0, lt=1)], ...],
    Field(min_length=1, max_length=3),
    AfterValidator(_check_ascending),
]


class ProposalCounts(Settings):
    """Number of proposals before and after non-maximum suppression."""

    before_nms: PositiveInt
    """Maximum number of boxes per image that enter non-maximum suppression: the best ones over all pyramid levels."""

    after_nms: PositiveInt
    """Maximum number of boxes per image to keep after non-maximum suppression."""


class ProposalSettings(Settings):
    """The region proposal network (RPN)."""

    channels: PositiveInt = 256
    """Number of channels of the hidden layer."""

    anchor_ratios: tuple[PositiveFloat, ...] = Field(default=(1.0, 0.5, 2.0), min_length=1)
    """Aspect ratios (height / width) of the anchors at each position."""

    anchor_scale: PositiveFloat = 8.0
    """Side of a square anchor, as a multiple of the stride of its pyramid level: 8 gives 32 pixels at stride 4."""

    training: ProposalCounts = ProposalCounts(before_nms=12000, after_nms=2000)
    """Numbers of proposals in training."""

    inference: ProposalCounts = ProposalCounts(before_nms=6000, after_nms=300)
    """Numbers of proposals in validation and prediction."""

    nms_threshold: Fraction = 0.7
    """IoU of non-maximum suppression: if two proposals overlap more, the one with the lower score is dropped."""

    min_size: NonNegativeFloat = 16.0
    """Minimum height and width of a proposal, in pixels of the network's input. 0 keeps all proposals."""

    num_samples: PositiveInt = 256
    """Maximum number of anchors per image that are sampled for the loss."""

    positive_fraction: Fraction = 0.5
    """Maximum fraction of positive anchors among the samples. Negatives fill the rest."""

    positive_threshold: Fraction = 0.7
    """Minimum IoU with an object of a positive anchor. The best anchor of each object is always positive."""

    negative_threshold: Fraction = 0.3
    """Anchors are negative if their largest IoU with an object is below this. Those between the thresholds are
    ignored."""

    void_threshold: Fraction = 0.7
    """Anchors are ignored if at least this fraction of their area is crowd."""

    border_anchors: bool = False
    """Whether anchors that cross the border of the image can be positive or negative. `false`, as published and in
    Faster R-CNN: they are ignored. `true`, as in *Feature Pyramid Networks* (Lin et al., CVPR 2017, section 5.1): only
    those whose center is outside of the image are ignored."""

    box_loss: BoxLoss = "smooth_l1"
    """Loss of the boxes of positive anchors; see `roi.box_loss`."""

    @model_validator(mode="after")
    def _check(self) -> ProposalSettings:
        if self.negative_threshold > self.positive_threshold:
            raise ValueError(
                f"negative_threshold={self.negative_threshold} is greater than positive_threshold="
                f"{self.positive_threshold}, so that anchors between them would be both; lower it"
            )
        return self


class RegionSettings(Settings):
    """The RoI head, which classifies and refines proposals and predicts their masks."""

    box_head: Literal["fc2", "conv4"] = "fc2"
    """Layers of the branch for class and box. `fc2`: two fully connected layers, as published. `conv4`: four 3×3
    convolutions and one fully connected layer (Wu and He, *Group Normalization*, ECCV 2018, section 4.2), which cost
    more time and memory. A norm follows each of them; the paper uses `norm.heads=gn`."""

    box_channels: PositiveInt = 256
    """Number of channels of the convolutions of `box_head=conv4`. Not used by `fc2`."""

    fc_channels: PositiveInt = 1024
    """Number of channels of the fully connected layers."""

    mask_channels: PositiveInt = 256
    """Number of channels of the convolutions in the mask branch."""

    mask_head: Literal["conv", "pointrend"] = "conv"
    """How masks are predicted. `conv`: by the mask branch, at 28×28 positions per region, as published. `pointrend`: a
    head for points refines these masks to 224×224 positions (Kirillov et al., *PointRend*, CVPR 2020). It decides about
    the most uncertain positions, from features of the finest pyramid level, which makes borders sharper. Prediction
    takes more time, most of it in images with many detections. Requires `task=panoptic` or `instance`. The hidden
    layers of the head have `mask_channels`."""

    mask_scoring: bool = False
    """Whether a further branch predicts the IoU of each mask with the object (Huang et al., *Mask Scoring R-CNN*, CVPR
    2019). The score of a detection is then its class probability times this IoU, in all results and in the fusion;
    `score_threshold` and `nms_threshold` still apply to the class probability. Scores are lower than without it, so
    `fusion.score_threshold` should be lower, too. Requires `task=panoptic` or `instance`. The branch has
    `mask_channels` in its convolutions and `fc_channels` in its fully connected layers. Its norms see only positive
    regions, so `norm.heads=gn` is recommended."""

    cascade: CascadeThresholds | None = None
    """Minimum IoU with an object of a positive region in each of one to three box stages, in ascending order, such as
    `[0.5, 0.6, 0.7]`; null for the published single stage (Cai and Vasconcelos, *Cascade R-CNN*, TPAMI 2019). Each
    stage has a `box_head` of its own and predicts one box per region instead of one per class, which the next stage
    refines. The score of a detection is the mean over the stages, its box that of the last one. Masks are trained with
    the regions of the first stage. The values replace `positive_threshold` and `negative_high`. Each stage takes time
    and memory for `num_samples` regions."""

    num_samples: PositiveInt = 128
    """Maximum number of regions per image that are sampled for the losses."""

    positive_fraction: Fraction = 0.25
    """Maximum fraction of positive regions among the samples. Negatives fill the rest."""

    positive_threshold: Fraction = 0.5
    """Minimum IoU with an object of a positive region. Not used with `cascade`."""

    negative_low: Fraction = 0.0
    """Regions are negative (background) if their largest IoU with an object is at least `negative_low` and less than
    `negative_high`."""

    negative_high: Fraction = 0.5
    """Upper bound of the IoU of negative regions; see `negative_low`. Not used with `cascade`, which has no gap between
    negative and positive regions."""

    void_threshold: Fraction = 0.7
    """Regions are ignored if at least this fraction of their area is crowd."""

    background_images: bool = False
    """Whether to sample background regions in images without objects. The published network skips such images."""

    masks_of_positives_only: bool = False
    """Whether to run the mask branch only on positive regions. This is faster, but changes the batch statistics of its
    norms compared to the published network, which runs it on all regions. false computes only what these statistics
    need of the other regions."""

    void_is_background: bool = False
    """Whether void pixels are background in the mask targets. false ignores them in the mask loss."""

    focal_gamma: NonNegativeFloat = 0.0
    """Exponent γ of the focal loss (Lin et al., ICCV 2017) of the class of a region: its cross-entropy is multiplied
    by (1 − p)^γ, where p is the probability of its class, so that regions that are already classified well count less.
    The paper uses 2. The loss becomes smaller; `loss_weights.roi_classes` can make up for that. 0 disables it."""

    box_loss: BoxLoss = "smooth_l1"
    """Loss of the boxes of positive regions. `smooth_l1` compares them with the visible part of an object, also if
    `data.random_crop` cut it. `crop_aware` is the smallest such loss over all boxes whose part inside the crop is the
    visible one, so that boxes beyond the edge of the crop cost nothing. Objects that no crop cut have the same loss."""

    nms_threshold: Fraction = 0.3
    """IoU of non-maximum suppression: if two detections of the same class overlap more, the one with the lower score is
    dropped."""

    score_threshold: Fraction = 0.05
    """Minimum score of a detection (exclusive). `fusion.score_threshold` selects those that enter the panoptic
    output."""

    max_predictions: PositiveInt = 100
    """Maximum number of detections per image; the best ones are kept."""

    @model_validator(mode="after")
    def _check(self) -> RegionSettings:
        key, high = ("cascade", self.cascade[0]) if self.cascade else ("negative_high", self.negative_high)
        if self.negative_low >= high:
            raise ValueError(
                f"negative_low={self.negative_low} leaves no negative regions, because these have an IoU of less than "
                f"{high} ({key}); lower it"
            )
        return self


class SemanticSettings(Settings):
    """The semantic segmentation head."""

    head: Literal["mini_deeplab", "deeplab"] = "mini_deeplab"
    """Semantic head. `mini_deeplab` reads the finest four levels of the feature pyramid. `deeplab` is a DeepLabV3 head
    on the last level of the body, without a feature pyramid; it requires `task=semantic`, ignores `fpn`, `channels` and
    `window`, and works with any body. One of its norms has one sample per image, so that training with BatchNorm
    requires at least two images per step and norm: over all processes with `syncbn`, on each with `bn`."""

    channels: PositiveInt = 128
    """Number of channels of the small DeepLab branch of each pyramid level."""

    window: PositiveInt = 64
    """Side of the window of the average pooling, in positions of the pyramid level."""

    hardest_fraction: Fraction = Field(default=0.25, gt=0)
    """Fraction of the pixels of each image, those with the largest loss, over which the loss is averaged (online hard
    example mining). 1 uses all pixels."""

    focal_gamma: NonNegativeFloat = 0.0
    """Exponent γ of the focal loss (Lin et al., ICCV 2017) of the class of a pixel: its cross-entropy is multiplied by
    (1 − p)^γ, where p is the probability of its class. The result decides which pixels are the hardest. The paper uses
    2. The loss becomes smaller; `loss_weights.semantic` can make up for that. 0 disables it."""


class FusionSettings(Settings):
    """Fusion of detections and semantic segmentation into the panoptic output."""

    score_threshold: Fraction = 0.5
    """Minimum score of a detection in the panoptic output (exclusive), and in pictures of instances and detections."""

    overlap_threshold: Fraction = 0.5
    """A detection is dropped if detections with higher scores cover more than this fraction of its mask."""

    min_stuff_area: NonNegativeInt = 4096
    """Minimum area of a stuff segment, in pixels of the network's input. Smaller segments become void."""


class LossWeights(Settings):
    """Weights of the losses in the total loss."""

    rpn_objectness: NonNegativeFloat = 1.0
    """Weight of the objectness loss of the RPN."""

    rpn_boxes: NonNegativeFloat = 1.0
    """Weight of the box loss of the RPN."""

    roi_classes: NonNegativeFloat = 1.0
    """Weight of the classification loss of the RoI head, in each stage of `roi.cascade`."""

    roi_boxes: NonNegativeFloat = 1.0
    """Weight of the box loss of the RoI head, in each stage of `roi.cascade`."""

    roi_masks: NonNegativeFloat = 1.0
    """Weight of the mask loss of the RoI head."""

    roi_points: NonNegativeFloat = 1.0
    """Weight of the mask loss at points, which only networks with `roi.mask_head=pointrend` have."""

    roi_mask_scores: NonNegativeFloat = 1.0
    """Weight of the loss of the mask scores, which only networks with `roi.mask_scoring` have."""

    semantic: NonNegativeFloat = 1.0
    """Weight of the loss of the semantic head."""


def _is_class_weight(name: Any, weight: Any) -> bool:
    return type(name) in (str, int) and type(weight) in (int, float) and 0 <= weight < math.inf


def _check_class_weights(value: Any) -> Any:
    """Return a valid value of ``loss.class_weights``; names that YAML reads as integers become text.

    Raises:
        ValueError: The value is not valid; pydantic adds the key.
    """
    if value is None or value == "frequency":
        return value
    if isinstance(value, Mapping) and all(map(_is_class_weight, value, value.values())):
        return {str(name): float(weight) for name, weight in value.items()}
    raise ValueError("must be `frequency` or a mapping from class names to weights >= 0, such as {bicycle: 3}")


ClassWeightsByName = Annotated[
    dict[str, NonNegativeFloat] | Literal["frequency"] | None, BeforeValidator(_check_class_weights)
]


class LossSettings(Settings):
    """Normalization of the losses, and weights of classes."""

    normalize: Literal["rank", "global"] = "rank"
    """Denominators of the sums over anchors, regions and pixels when several processes train together. `rank` divides
    the sums of each process by its own counts, like the published code. `global` divides them by the counts over all
    processes, which equals training in one process with the combined batch."""

    class_weights: ClassWeightsByName = None
    """Factors of the losses of classes, for rare or important ones: a mapping such as `{bicycle: 3, sky: 0.5}` from
    class names to weights, in which other classes have weight 1; or `frequency`, which makes rare classes heavier:
    1 / ln(1.02 + f), where f is the fraction of a class (ENet, 2016), divided by the mean of these weights over all
    pixels or objects. The semantic loss of a pixel is multiplied by the weight of its class, with fractions of the
    pixels; the class loss of a region by the weight of its thing class, with fractions of the objects, and by 1 for
    background. Losses of boxes, masks and proposals have no class weights. null disables them."""
