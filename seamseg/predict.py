"""Images in, panoptic segmentations out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.algos.fusion import PanopticFusion
from seamseg.data.image_size import image_size
from seamseg.data.images import BrokenImageError, read_image
from seamseg.data.transforms import InputTransform
from seamseg.networks import PanopticNet
from seamseg.structures import PackedSequence, PanopticSegmentation

MOST_PIXELS = 1 << 27
"""Of a photograph in a file: ids, scores and the painted picture take 44 bytes of memory for each."""


@dataclass(frozen=True)
class PredictedImage:
    """One photograph and what is in it.

    Attributes:
        path: of the photograph.
        image: H×W×3 uint8 RGB, upright.
        segmentation: at its size.
    """

    path: Path
    image: NDArray[np.uint8]
    segmentation: PanopticSegmentation


class Predictor:
    """Segments photographs one by one.

    Args:
        network: on ``device``; set to evaluation mode.
        transform: from a photograph to the network's input.
        fusion: of detections and semantics.
        device: to compute on.
    """

    def __init__(
        self, network: PanopticNet, transform: InputTransform, fusion: PanopticFusion, device: torch.device
    ) -> None:
        self.network, self.transform, self.fusion, self.device = network.eval(), transform, fusion, device

    def __call__(self, image: NDArray[np.uint8]) -> PanopticSegmentation:
        """The segmentation of one H×W×3 RGB photograph, at its size, on the CPU."""
        inputs = PackedSequence([self.transform.normalize(self.transform.pixels(image).to(self.device))])
        predictions = self.network.predict(inputs)
        size = (image.shape[0], image.shape[1])
        found = self.fusion(predictions.detections(0), predictions.semantics(0), size).segmentation
        return PanopticSegmentation(found.ids.cpu(), found.classes.cpu(), found.scores.cpu(), found.crowd.cpu())

    def files(
        self, paths: Iterable[Path], on_broken_image: Callable[[BrokenImageError], None]
    ) -> Iterator[PredictedImage]:
        """The segmentations of files, in their order; those that cannot be read are reported and passed over.

        Photographs are turned as their EXIF orientation says: so people, and most programs, see them.
        """
        for path in paths:
            try:
                image = _read_photograph(path)
            except BrokenImageError as error:
                on_broken_image(error)
                continue
            yield PredictedImage(path, image, self(image))


def _read_photograph(path: Path) -> NDArray[np.uint8]:
    height, width = image_size(path)
    if height * width > MOST_PIXELS:
        reason = f"is {height}×{width} (height×width): photographs of up to {MOST_PIXELS:,} pixels are segmented"
        raise BrokenImageError(path, f"{reason}; make it smaller, or cut it in pieces")
    return read_image(path, upright=True)
