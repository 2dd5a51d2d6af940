"""Prediction of single images, with test-time augmentation: the network predicts on several versions of an image.

Each version (a scale, mirrored or not) is one pass. The passes are independent, and their predictions are mapped back
to the unaugmented image and merged:

- The class scores of all passes are averaged as logits, or merged at the size of the image: by mean or maximum of the
  probabilities, or by votes (:mod:`seamseg.algos.merging`).
- The detections of all passes, each with the mask from its own pass, go through non-maximum suppression per class, as
  the detections of one pass do. The best of the remaining ones are kept.

A single pass at scale 1 without flip gives the same prediction as no augmentation, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from seamseg.algos.fusion import FusedImage, PanopticFusion, RenumberedFusion
from seamseg.algos.merging import MERGES, Merge, mean_logits, merged_classes
from seamseg.algos.roi import DetectionSelector
from seamseg.algos.tiles import Tiling
from seamseg.data.resizing import network_size, resize_image
from seamseg.data.transforms import InputTransform
from seamseg.errors import SettingsError
from seamseg.metrics.average_precision import detected_instances
from seamseg.networks import PyramidNet, SegmentationNet
from seamseg.ops.boxes import scale_boxes
from seamseg.runtime.precision import Precision, PrecisionName
from seamseg.structures import (
    Detections,
    DrawnObjects,
    Instance,
    PackedSequence,
    PanopticSegmentation,
    Predictions,
    SemanticLogits,
    Size,
)
from seamseg.visualization.objects import Drawn

LARGEST = 10
"""Maximum scale. The network's memory grows with the square of the scale."""


@dataclass(frozen=True)
class Augmentation:
    """Versions of an image that the network predicts on.

    Attributes:
        scales: Factors, greater than 0 and at most 10, applied to the sides of the network's input. At least one;
            no duplicates.
        flip: Also predict on the mirrored image at each scale.
        merge: Way to merge the class scores of the passes.

    Raises:
        SeamsegError: There is no scale, a scale is out of range or listed twice, or there is no such way to merge.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    merge: Merge = "logits"

    def __post_init__(self) -> None:
        if self.merge not in MERGES:
            raise SettingsError(f"merge must be one of {', '.join(MERGES)}, not {self.merge!r}")
        if not self.scales or not all(0 < scale <= LARGEST for scale in self.scales):
            raise SettingsError(f"scales must be one or more numbers > 0 and <= {LARGEST}, not {self.scales}")
        if len(set(self.scales)) < len(self.scales):
            raise SettingsError(f"the scales {self.scales} list a scale twice, which would count it twice; remove one")

    @property
    def is_single(self) -> bool:
        """Whether the network only predicts on the image itself."""
        return self == Augmentation(merge=self.merge)

    @property
    def mirrors(self) -> tuple[bool, ...]:
        """Whether the image is mirrored, for each of the one or two passes per scale."""
        return (False, True) if self.flip else (False,)


@dataclass(frozen=True)
class Pass:
    """Prediction on one version of an image.

    Attributes:
        detections: Detections, with boxes in pixels of this version.
        semantics: Class scores that cover exactly this version, without padding.
        mirrored: Whether this version is mirrored.
    """

    detections: Detections
    semantics: SemanticLogits
    mirrored: bool


def join_passes(
    passes: Sequence[Pass], size: Size, selector: DetectionSelector | None
) -> tuple[Detections, SemanticLogits]:
    """Merge the predictions of several passes, in pixels of the network's input at scale 1.

    Args:
        passes: One or more passes over the same image.
        size: Height and width of the input at scale 1.
        selector: Non-maximum suppression and number of detections; None for a network that detects nothing.

    Returns:
        Detections, and the mean of the logits.
    """
    if len(passes) == 1 and not passes[0].mirrored and passes[0].semantics.size == size:
        return passes[0].detections, passes[0].semantics
    logits = passes[0].semantics.logits
    if passes[0].semantics.has_classes:
        logits = mean_logits([plain_logits(one) for one in passes])
    detections = _join_detections([_plain_detections(one, size) for one in passes], selector)
    return detections, SemanticLogits(logits, padded_size=size, size=size)


def plain_logits(one: Pass) -> Tensor:
    """Return the class scores of a pass as float32, mirrored back."""
    assert one.semantics.padded_size == one.semantics.size, "only images of one size share a pass"
    logits = one.semantics.logits.float()
    return logits.flip(-1) if one.mirrored else logits


def _plain_detections(one: Pass, size: Size) -> Detections:
    """Return the detections of a pass, mirrored back and scaled to the size of scale 1."""
    boxes, masks = one.detections.boxes, one.detections.masks
    if one.mirrored:
        y0, x0, y1, x1 = boxes.unbind(-1)
        width = one.semantics.size[1]
        boxes, masks = torch.stack([y0, width - x1, y1, width - x0], dim=-1), masks.flip(-1)
    return Detections(
        scale_boxes(boxes, one.semantics.size, size), one.detections.classes, one.detections.scores, masks
    )


def _join_detections(found: Sequence[Detections], selector: DetectionSelector | None) -> Detections:
    boxes, classes = torch.cat([one.boxes for one in found]), torch.cat([one.classes for one in found])
    scores, masks = torch.cat([one.scores for one in found]), torch.cat([one.masks for one in found])
    joined = Detections(boxes, classes, scores, masks)
    if selector is None:
        return joined
    keep = torchvision.ops.batched_nms(boxes, scores, classes, selector.nms_threshold)
    return joined.rows(keep[: selector.max_predictions])


@dataclass(frozen=True)
class Prepared:
    """An image that is resized for the network.

    Attributes:
        size: Height and width of the image.
        pixels: Resized images, 3×h×w uint8, one per scale.
    """

    size: Size
    pixels: tuple[Tensor, ...]

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Shapes per scale. Only images with equal shapes share a batch, because padding would change the results."""
        return tuple(pixels.shape for pixels in self.pixels)


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image, on the CPU.

    Attributes:
        segmentation: Fused segmentation at the size of the image.
        detections: Objects before fusion, with boxes in pixels of the image.
        semantics: Class scores before interpolation. Of several passes, the mean of the logits, even if they are merged
            in another way.
        shown_score: Minimum score (exclusive) of the objects in pictures of a network that only finds objects; None for
            other networks, whose pictures show the segmentation.
        confidence: H×W float32, see :func:`seamseg.algos.fusion.pixel_confidence`; None if it was not requested.
    """

    segmentation: PanopticSegmentation
    detections: Detections
    semantics: SemanticLogits
    shown_score: float | None = None
    confidence: Tensor | None = None

    @property
    def finds_objects(self) -> bool:
        """Whether the network has a detector."""
        return self.detections.has_masks or self.shown_score is not None

    def drawn(self) -> Drawn:
        """Return what a picture of the prediction shows."""
        if self.shown_score is None:
            return self.segmentation
        return DrawnObjects(self.segmentation.size, self.instances(self.shown_score))

    def instances(self, above: float = -math.inf) -> list[Instance]:
        """Return the objects before fusion whose score exceeds a value, with masks of the size of the image."""
        chosen = self.detections.rows(self.detections.scores > above)
        return detected_instances(chosen, self.segmentation.size)


class Predictor:
    """Segmentation of images with a trained network.

    Args:
        network: Network on ``device``; it is set to evaluation mode.
        transform: Transform from an image to the network's input.
        fusion: Fusion of detections and class scores.
        device: Device of the network.
        augmentation: Test-time augmentation; None means no augmentation.
        precision: Precision of the network's computations.
        only_objects: Whether the task is to find objects, with or without masks, and nothing else.

    Attributes:
        selector: Selection of the network's detections; None if it detects nothing.
        tiling: Tiles that images are divided into; None for whole images.

    Raises:
        SeamsegError: The device does not support this precision, or ``augmentation.merge`` is set although the network
            has no class scores to merge.
    """

    tiling: Tiling | None = None

    def __init__(
        self,
        network: SegmentationNet,
        transform: InputTransform,
        fusion: PanopticFusion | RenumberedFusion,
        device: torch.device,
        augmentation: Augmentation | None = None,
        precision: PrecisionName = "float32",
        only_objects: bool = False,
    ) -> None:
        self.network, self.transform, self.fusion, self.device = network.eval(), transform, fusion, device
        self.augmentation = augmentation or Augmentation()
        self.precision, self.only_objects = precision, only_objects
        self.selector: DetectionSelector | None = None
        if isinstance(network, PyramidNet) and network.finds_objects:
            self.selector = network.roi_heads.selector
            if self.augmentation.merge != "logits" and not network.classifies_pixels:
                raise SettingsError(
                    f"merge={self.augmentation.merge} merges class scores of pixels, but the model has no semantic "
                    "head; leave it out, and the objects of all passes go through non-maximum suppression"
                )
        self._autocast = Precision(precision, device).autocast

    def __call__(self, image: NDArray[np.uint8]) -> PanopticSegmentation:
        """Segment one H×W×3 uint8 RGB image; the segmentation has its size and is on the CPU."""
        return self.predict([self.prepare(image)])[0].segmentation

    def prepare(self, image: NDArray[np.uint8]) -> Prepared:
        """Resize an H×W×3 uint8 RGB image for each scale. This step needs no network and may run in another thread."""
        size = image.shape[0], image.shape[1]
        return Prepared(size, tuple(resize_image(image, self.input_size(size, s)) for s in self.augmentation.scales))

    def predict(self, images: Sequence[Prepared]) -> list[Prediction]:
        """Segment a batch of prepared images.

        Args:
            images: Images of the batch, all with the same shapes.

        Returns:
            One prediction per image, on the CPU.
        """
        return [self._prediction(image.size, passes) for image, passes in zip(images, self.passes(images), strict=True)]

    def fused(self, image: Prepared) -> FusedImage:
        """Segment one prepared image; the output has its size and is on the device of the network."""
        return self._fuse(image.size, self.passes([image])[0])[0]

    def passes(self, images: Sequence[Prepared]) -> list[list[Pass]]:
        """Run the network on all versions of prepared images of the same shapes, and return the passes of each."""
        forms = [
            (self._ask([image.pixels[scale] for image in images], mirrored), mirrored)
            for scale in range(len(self.augmentation.scales))
            for mirrored in self.augmentation.mirrors
        ]
        return [
            [Pass(answer.detections(number), answer.semantics(number), mirrored) for answer, mirrored in forms]
            for number in range(len(images))
        ]

    def input_size(self, size: Size, scale: float = 1.0) -> Size:
        """Return height and width of the network's input for an image of this size."""
        sides = (self.transform.shortest_side, self.transform.longest_side)
        shortest, longest = (max(1, round(side * scale)) for side in sides)
        return network_size(size, shortest, longest)

    def _ask(self, pixels: Sequence[Tensor], mirrored: bool) -> Predictions:
        on_device = (one.to(self.device, non_blocking=True) for one in pixels)
        inputs = PackedSequence(self.transform.normalize(one.flip(-1) if mirrored else one) for one in on_device)
        with self._autocast():
            return self.network.predict(inputs)

    def _fuse(self, size: Size, passes: Sequence[Pass]) -> tuple[FusedImage, SemanticLogits]:
        """Return the output at the size of the image, and its class scores before interpolation."""
        merge, input_size = self.augmentation.merge, self.input_size(size)
        detections, semantics = join_passes(passes, input_size, self.selector)
        if len(passes) == 1 or merge == "logits" or not semantics.has_classes:
            return self.fusion(detections, semantics, size), semantics
        classes = merged_classes([plain_logits(one) for one in passes], merge, size)
        return self.fusion.with_classes(detections, classes, input_size, semantics), semantics

    def _prediction(self, size: Size, passes: Sequence[Pass]) -> Prediction:
        fused, semantics = self._fuse(size, passes)
        return Prediction(
            fused.segmentation.cpu(),
            fused.detections.cpu(),
            SemanticLogits(semantics.logits.cpu(), semantics.padded_size, semantics.size),
            self.fusion.score_threshold if self.only_objects else None,
            None if fused.confidence is None else fused.confidence.cpu(),
        )
