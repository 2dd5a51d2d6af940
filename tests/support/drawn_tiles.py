"""A network that sees the truth: it reads segment ids and classes from the colors of an image.

    image = draw_ids(ids, classes)                    # red is the segment, green its class
    predictor = truthful_predictor(Tiling((32, 32), 8))
    found = predictor.predict([predictor.prepare(image)])[0]

Its detections have exact masks, tight boxes, and scores that grow with the visible area. Its class scores are certain.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seamseg.algos.fusion import PanopticFusion
from seamseg.algos.tiles import Tiling
from seamseg.data.transforms import InputTransform
from seamseg.ops.id_maps import segment_boxes
from seamseg.predict import Predictor
from seamseg.predict.tiled import TiledPredictor
from seamseg.structures import PackedSequence, Predictions

NUM_STUFF, NUM_THINGS = 2, 3
MASK_SIZE = 64
"""Cells of a mask; not fewer than the pixels of an object's side in a tile, so that masks are exact."""


def draw_ids(ids: NDArray, classes: list[int]) -> NDArray[np.uint8]:
    """Return an image with the segment of each pixel in red and its class in green."""
    image = np.zeros((*ids.shape, 3), np.uint8)
    image[..., 0], image[..., 1] = ids, np.array(classes)[ids]
    return image


class TruthfulNetwork(nn.Module):
    """Network that reads ids and classes; classes from `NUM_STUFF` on are detected."""

    def __init__(self, masks: bool = True, semantics: bool = True) -> None:
        super().__init__()
        self.masks, self.semantics = masks, semantics

    def predict(self, images: PackedSequence) -> Predictions:
        """Return the truth about N images of the same size."""
        found = [self._objects((image * 255).round().long()) for image in images]
        boxes, classes, scores, masks = (PackedSequence(of_image) for of_image in zip(*found, strict=True))
        size = tuple(images.entry(0).shape[-2:])
        logits = torch.stack([self._logits((image[1] * 255).round().long()) for image in images])
        return Predictions(boxes, classes, scores, masks, logits, (size,) * len(found), size)

    def _logits(self, classes: Tensor) -> Tensor:
        if not self.semantics:
            return torch.zeros(0, 0, 0)
        return nn.functional.one_hot(classes, NUM_STUFF + NUM_THINGS).permute(2, 0, 1).float()

    def _objects(self, pixels: Tensor) -> tuple[Tensor, ...]:
        ids, of_pixel = pixels[0], pixels[1]
        things = [number for number in ids.unique().tolist() if (of_pixel[ids == number] >= NUM_STUFF).all()]
        boxes, _ = segment_boxes(ids.int(), 256)
        chosen = boxes[things].reshape(-1, 4)
        classes = torch.tensor([int(of_pixel[ids == number][0]) - NUM_STUFF for number in things], dtype=torch.int64)
        areas = torch.tensor([float((ids == number).sum()) for number in things])
        side = MASK_SIZE if self.masks else 0
        masks = [self._mask(ids == number, box) for number, box in zip(things, chosen, strict=True)]
        stacked = torch.stack(masks) if masks and self.masks else torch.zeros(len(things), side, side)
        return chosen, classes, 0.5 + 0.4 * areas / ids.numel(), stacked

    @staticmethod
    def _mask(pixels: Tensor, box: Tensor) -> Tensor:
        y0, x0, y1, x1 = box.long().tolist()
        assert max(y1 - y0, x1 - x0) <= MASK_SIZE
        cells = torch.arange(MASK_SIZE) + 0.5
        rows, columns = (y0 + cells * (y1 - y0) / MASK_SIZE).long(), (x0 + cells * (x1 - x0) / MASK_SIZE).long()
        return pixels[rows][:, columns].float() * 40 - 20


def truthful_predictor(tiling: Tiling | None, side: int = 32, masks: bool = True, semantics: bool = True) -> Predictor:
    """Return a predictor of a truthful network, in tiles of square windows with this side, or on whole images."""
    transform = InputTransform(side, side, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    fusion = PanopticFusion(NUM_STUFF, score_threshold=0.5, overlap_threshold=0.5, min_stuff_area=0)
    arguments = TruthfulNetwork(masks, semantics), transform, fusion, torch.device("cpu"), None, "float32"
    if tiling is None:
        return Predictor(*arguments, only_objects=not semantics)
    return TiledPredictor(*arguments, not semantics, tiling)
