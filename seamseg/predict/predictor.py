"""Test-time augmentation: the network sees an image in several sizes, and in the mirror, and its answers are joined.

Every pass answers as it would alone. Its answer is brought back to the plain image, and then

- the class scores of all passes are resampled bilinearly to the finest of their grids and averaged as logits, which is
  the geometric mean of the probabilities, up to a factor that is common to all classes of a pixel;
- the detections of all passes, each with the mask that its own pass gave it, are thinned out class by class as those of
  one pass are (non-maximum suppression, then the best of all).

One pass without flip is the plain prediction, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from seamseg.algos.fusion import PanopticFusion
from seamseg.data.resizing import network_size, resize_image
from seamseg.data.transforms import InputTransform
from seamseg.errors import SettingsError
from seamseg.networks import PanopticNet
from seamseg.ops.boxes import scale_boxes
from seamseg.ops.fusion import resample
from seamseg.runtime.precision import Precision, PrecisionName
from seamseg.structures import Detections, PackedSequence, PanopticSegmentation, Predictions, SemanticLogits, Size

LARGEST = 10
"""Scale: the network's memory grows with its square."""


@dataclass(frozen=True)
class Augmentation:
    """In which forms the network sees an image.

    Attributes:
        scales: factors on the sides that the network's input has otherwise; different ones, at least one.
        flip: whether it sees each also in the mirror.

    Raises:
        SeamsegError: there is no scale, one is not positive or too large, or one is named twice.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale <= LARGEST for scale in self.scales):
            raise SettingsError(f"scales are one or more positive numbers up to {LARGEST}, not {self.scales}")
        if len(set(self.scales)) < len(self.scales):
            raise SettingsError(f"the scales {self.scales} name one twice, which would count it twice; name it once")

    @property
    def mirrors(self) -> tuple[bool, ...]:
        """Whether the image is mirrored, for the one or two passes of a scale."""
        return (False, True) if self.flip else (False,)


@dataclass(frozen=True)
class Pass:
    """What the network says of one image in one of its forms.

    Attributes:
        detections: in pixels of that form.
        semantics: covering exactly that form, without padding.
        mirrored: whether it shows the image mirrored.
    """

    detections: Detections
    semantics: SemanticLogits
    mirrored: bool


def join_passes(
    passes: Sequence[Pass], size: Size, nms_threshold: float, max_predictions: int
) -> tuple[Detections, SemanticLogits]:
    """One answer from those of several passes, in pixels of the network's input at scale 1.

    Args:
        passes: of one image, at least one.
        size: height and width of the input at scale 1.
        nms_threshold: overlap above which the lower score of a class goes.
        max_predictions: best detections that stay.
    """
    if len(passes) == 1 and not passes[0].mirrored and passes[0].semantics.size == size:
        return passes[0].detections, passes[0].semantics
    logits = [_plain_logits(one) for one in passes]
    grid = max(((one.shape[1], one.shape[2]) for one in logits), key=lambda shape: shape[0] * shape[1])
    semantics = SemanticLogits(
        torch.stack([resample(one, grid) for one in logits]).mean(dim=0), padded_size=size, size=size
    )
    return _join_detections([_plain_detections(one, size) for one in passes], nms_threshold, max_predictions), semantics


def _plain_logits(one: Pass) -> Tensor:
    assert one.semantics.padded_size == one.semantics.size, "only images of one size share a pass"
    logits = one.semantics.logits.float()
    return logits.flip(-1) if one.mirrored else logits


def _plain_detections(one: Pass, size: Size) -> Detections:
    """Not mirrored, at the size of scale 1."""
    boxes, masks = one.detections.boxes, one.detections.masks
    if one.mirrored:
        y0, x0, y1, x1 = boxes.unbind(-1)
        width = one.semantics.size[1]
        boxes, masks = torch.stack([y0, width - x1, y1, width - x0], dim=-1), masks.flip(-1)
    return Detections(
        scale_boxes(boxes, one.semantics.size, size), one.detections.classes, one.detections.scores, masks
    )


def _join_detections(found: Sequence[Detections], nms_threshold: float, max_predictions: int) -> Detections:
    boxes, classes = torch.cat([one.boxes for one in found]), torch.cat([one.classes for one in found])
    scores, masks = torch.cat([one.scores for one in found]), torch.cat([one.masks for one in found])
    keep = torchvision.ops.batched_nms(boxes, scores, classes, nms_threshold)[:max_predictions]
    return Detections(boxes[keep], classes[keep], scores[keep], masks[keep])


@dataclass(frozen=True)
class Prepared:
    """An image as the network wants it.

    Attributes:
        size: its height and width.
        pixels: 3×h×w uint8, one for each scale.
    """

    size: Size
    pixels: tuple[Tensor, ...]

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Images whose shapes are equal can share a batch, without padding that would change the answers."""
        return tuple(pixels.shape for pixels in self.pixels)


@dataclass(frozen=True)
class Prediction:
    """What the network says of one image, on the CPU.

    Attributes:
        segmentation: the fused result, at the size of the image.
        detections: the objects before fusion, boxes in pixels of the image.
        semantics: the class scores before interpolation.
    """

    segmentation: PanopticSegmentation
    detections: Detections
    semantics: SemanticLogits


class Predictor:
    """Segments images.

    Args:
        network: on ``device``; set to evaluation mode.
        transform: from an image to the network's input.
        fusion: of detections and semantics.
        device: to compute on.
        augmentation: in which forms the network sees an image.
        precision: of the network's computations.

    Raises:
        SeamsegError: the device does not compute in this precision.
    """

    def __init__(
        self,
        network: PanopticNet,
        transform: InputTransform,
        fusion: PanopticFusion,
        device: torch.device,
        augmentation: Augmentation | None = None,
        precision: PrecisionName = "float32",
    ) -> None:
        self.network, self.transform, self.fusion, self.device = network.eval(), transform, fusion, device
        self.augmentation = augmentation or Augmentation()
        self.precision = precision
        self._autocast = Precision(precision, device).autocast

    def __call__(self, image: NDArray[np.uint8]) -> PanopticSegmentation:
        """The segmentation of one H×W×3 RGB image, at its size, on the CPU."""
        return self.predict([self.prepare(image)])[0].segmentation

    def prepare(self, image: NDArray[np.uint8]) -> Prepared:
        """The part of the work that needs no network: H×W×3 uint8 RGB, resized."""
        size = image.shape[0], image.shape[1]
        return Prepared(size, tuple(resize_image(image, self._size(size, s)) for s in self.augmentation.scales))

    def predict(self, images: Sequence[Prepared]) -> list[Prediction]:
        """The rest.

        Args:
            images: one batch, all of the same shapes.
        """
        forms = [
            (self._ask([image.pixels[scale] for image in images], mirrored), mirrored)
            for scale in range(len(self.augmentation.scales))
            for mirrored in self.augmentation.mirrors
        ]
        passes = [
            [Pass(answer.detections(number), answer.semantics(number), mirrored) for answer, mirrored in forms]
            for number in range(len(images))
        ]
        return [self._fuse(image.size, of_image) for image, of_image in zip(images, passes, strict=True)]

    def _size(self, size: Size, scale: float) -> Size:
        sides = (self.transform.shortest_side, self.transform.longest_side)
        shortest, longest = (max(1, round(side * scale)) for side in sides)
        return network_size(size, shortest, longest)

    def _ask(self, pixels: Sequence[Tensor], mirrored: bool) -> Predictions:
        on_device = (one.to(self.device, non_blocking=True) for one in pixels)
        inputs = PackedSequence(self.transform.normalize(one.flip(-1) if mirrored else one) for one in on_device)
        with self._autocast():
            return self.network.predict(inputs)

    def _fuse(self, size: Size, passes: Sequence[Pass]) -> Prediction:
        selector = self.network.roi_heads.selector
        join = partial(join_passes, nms_threshold=selector.nms_threshold, max_predictions=selector.max_predictions)
        detections, semantics = join(passes, self._size(size, 1.0))
        fused = self.fusion(detections, semantics, size)
        objects = fused.detections
        return Prediction(
            fused.segmentation.cpu(),
            Detections(objects.boxes.cpu(), objects.classes.cpu(), objects.scores.cpu(), objects.masks.cpu()),
            SemanticLogits(semantics.logits.cpu(), semantics.padded_size, semantics.size),
        )
