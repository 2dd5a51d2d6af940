"""What the network says of photographs, at their size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seamseg.algos.fusion import PanopticFusion
from seamseg.data.resizing import network_size, resize_image
from seamseg.data.transforms import InputTransform
from seamseg.networks import PanopticNet
from seamseg.predict.augmentation import Augmentation, Pass, join_passes
from seamseg.runtime.precision import Precision, PrecisionName
from seamseg.structures import Detections, PackedSequence, PanopticSegmentation, Predictions, SemanticLogits, Size


@dataclass(frozen=True)
class Prepared:
    """A photograph as the network wants it.

    Attributes:
        size: its height and width.
        pixels: 3×h×w uint8, one for each scale.
    """

    size: Size
    pixels: tuple[Tensor, ...]

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Photographs whose shapes are equal can share a batch, without padding that would change the answers."""
        return tuple(pixels.shape for pixels in self.pixels)


@dataclass(frozen=True)
class Prediction:
    """What the network says of one photograph, on the CPU.

    Attributes:
        segmentation: the fused result, at the size of the photograph.
        detections: the objects before fusion, boxes in pixels of the photograph.
        semantics: the class scores before interpolation.
    """

    segmentation: PanopticSegmentation
    detections: Detections
    semantics: SemanticLogits


class Predictor:
    """Segments photographs.

    Args:
        network: on ``device``; set to evaluation mode.
        transform: from a photograph to the network's input.
        fusion: of detections and semantics.
        device: to compute on.
        augmentation: in which forms the network sees a photograph.
        precision: of the network's computations.

    Raises:
        ValueError: the device does not compute in this precision.
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
        """The segmentation of one H×W×3 RGB photograph, at its size, on the CPU."""
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
        selector = self.network.region_network.selector
        join = partial(join_passes, nms_threshold=selector.nms_threshold, max_predictions=selector.max_predictions)
        detections, semantics = join(passes, self._size(size, 1.0))
        fused = self.fusion(detections, semantics, size)
        found, objects = fused.segmentation, fused.detections
        return Prediction(
            PanopticSegmentation(found.ids.cpu(), found.classes.cpu(), found.scores.cpu(), found.crowd.cpu()),
            Detections(objects.boxes.cpu(), objects.classes.cpu(), objects.scores.cpu(), objects.masks.cpu()),
            SemanticLogits(semantics.logits.cpu(), semantics.padded_size, semantics.size),
        )
