"""Prediction of large images, one tile after the other.

Each tile is predicted as an image of its own. :mod:`seamseg.algos.tile_classes` blends the class scores of neighboring
tiles, :mod:`seamseg.algos.tile_objects` joins their detections, and the fusion sees the whole image. An image that one
tile covers is predicted as without tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.algos.fusion import PanopticFusion
from seamseg.algos.tile_classes import TileClasses
from seamseg.algos.tile_objects import JoinedObject, ObjectJoiner
from seamseg.algos.tiles import TileGrid, Tiling
from seamseg.data.image_rows import ImageRows
from seamseg.data.transforms import InputTransform
from seamseg.errors import SettingsError
from seamseg.metrics.run_length import encode_patch
from seamseg.networks import SegmentationNet
from seamseg.ops.boxes import scale_boxes
from seamseg.predict.predictor import Augmentation, Prediction, Predictor, Prepared, join_passes
from seamseg.runtime.precision import PrecisionName
from seamseg.structures import Detections, Instance, PanopticSegmentation, SemanticLogits, Size

OnTile = Callable[[int, int], None]
"""Function that is called after each tile with the number of finished tiles and of all tiles of the image."""


def ignore_tile(done: int, total: int) -> None:
    """Do nothing after a tile."""


@dataclass(frozen=True)
class LargeImage(Prepared):
    """An image that needs several tiles; they are resized when the network gets to them.

    Attributes:
        source: Pixels, H×W×3 uint8 RGB, or a file whose rows are read when they are needed.
    """

    source: NDArray[np.uint8] | ImageRows

    def rows(self, start: int, end: int) -> NDArray[np.uint8]:
        """Return rows of the image. The start must not be smaller than in earlier calls."""
        return self.source.read(start, end) if isinstance(self.source, ImageRows) else self.source[start:end]


@dataclass(frozen=True)
class TiledPrediction(Prediction):
    """Prediction for a large image. It has no class scores, and its detections have no mask logits.

    Attributes:
        objects: Objects before fusion, by descending score, each joined from the detections of one or more tiles.
    """

    objects: Sequence[JoinedObject] = ()

    def instances(self, above: float = -math.inf) -> list[Instance]:
        """Return the objects before fusion whose score exceeds a value, with masks of the size of the image."""
        size = self.segmentation.size
        return [_instance(one, size) for one in self.objects if one.score > above]


class TiledPredictor(Predictor):
    """Segmentation of large images, with memory for the network that does not depend on their size.

    Args:
        network: As of :class:`Predictor`, and so are the other arguments.
        transform: Transform from a tile to the network's input.
        fusion: Fusion of joined detections and classes.
        device: Device of the network.
        augmentation: Test-time augmentation of each tile, merged by ``logits``.
        precision: Precision of the network's computations.
        only_objects: Whether the task is to find objects, with or without masks, and nothing else.
        tiling: Size and overlap of the tiles.

    Raises:
        SeamsegError: As :class:`Predictor`, and if ``augmentation.merge`` is not ``logits``.
    """

    fusion: PanopticFusion
    tiling: Tiling

    def __init__(
        self,
        network: SegmentationNet,
        transform: InputTransform,
        fusion: PanopticFusion,
        device: torch.device,
        augmentation: Augmentation | None,
        precision: PrecisionName,
        only_objects: bool,
        tiling: Tiling,
    ) -> None:
        super().__init__(network, transform, fusion, device, augmentation, precision, only_objects)
        if self.augmentation.merge != "logits":
            raise SettingsError(
                f"merge={self.augmentation.merge} does not work with tiles, whose class scores are blended as logits; "
                "use merge=logits"
            )
        self.tiling = tiling

    def prepare(self, image: NDArray[np.uint8] | ImageRows) -> Prepared:
        """Resize an image that one tile covers; tiles of larger images are resized later."""
        size = image.size if isinstance(image, ImageRows) else (image.shape[0], image.shape[1])
        if self.tiling.covers(size):
            return super().prepare(image.read(0, size[0]) if isinstance(image, ImageRows) else image)
        return LargeImage(size, (), image)

    def predict(
        self, images: Sequence[Prepared], batch_size: int = 1, on_tile: OnTile = ignore_tile
    ) -> list[Prediction]:
        """Segment prepared images.

        Args:
            images: Large images of any sizes, and other images of the same shapes.
            batch_size: Maximum number of tiles that the network processes at once.
            on_tile: Called after each tile of a large image.

        Returns:
            One prediction per image, on the CPU.

        Raises:
            BrokenImageError: Rows of a large image cannot be read.
        """
        if not any(isinstance(image, LargeImage) for image in images):
            return super().predict(images)
        return [
            self._large(image, batch_size, on_tile)
            if isinstance(image, LargeImage)
            else Predictor.predict(self, [image])[0]
            for image in images
        ]

    def _large(self, image: LargeImage, batch_size: int, on_tile: OnTile) -> TiledPrediction:
        grid = self.tiling.grid(image.size)
        classes, joiner, input_size = TileClasses(grid), ObjectJoiner(grid), self.input_size(grid.tile)
        for numbers, tiles in _batches(image, grid, batch_size):
            all_passes = self.passes([Predictor.prepare(self, tile) for tile in tiles])
            for number, passes in zip(numbers, all_passes, strict=True):
                detections, semantics = join_passes(passes, input_size, self.selector)
                classes.add(number, semantics)
                boxes = scale_boxes(detections.boxes, input_size, grid.tile)
                joiner.add(number, replace(detections, boxes=boxes))
                on_tile(number + 1, len(grid))
        objects = joiner.joined()
        return TiledPrediction(
            self._fused(objects, classes.classes, math.prod(grid.tile) / math.prod(input_size)),
            _detections(objects),
            SemanticLogits(torch.zeros(0, 0, 0), image.size, image.size),
            self.fusion.score_threshold if self.only_objects else None,
            objects=objects,
        )

    def _fused(self, objects: Sequence[JoinedObject], classes: torch.Tensor, scale: float) -> PanopticSegmentation:
        chosen = [one for one in objects if one.has_mask and one.score > self.fusion.score_threshold]
        found = _detections(chosen)
        patches = (one.patch() for one in chosen)
        return self.fusion.with_patches(found.classes, found.scores, patches, classes, scale)


def _batches(image: LargeImage, grid: TileGrid, batch_size: int) -> Iterator[tuple[range, list[NDArray[np.uint8]]]]:
    """Yield numbers and pixels of tiles, at most ``batch_size`` of one row of tiles at a time."""
    for row, start in enumerate(grid.rows):
        strip = image.rows(start, start + grid.tile[0])
        for first in range(0, len(grid.columns), batch_size):
            columns = grid.columns[first : first + batch_size]
            number = row * len(grid.columns) + first
            tiles = [np.ascontiguousarray(strip[:, left : left + grid.tile[1]]) for left in columns]
            yield range(number, number + len(columns)), tiles


def _detections(objects: Sequence[JoinedObject]) -> Detections:
    return Detections(
        torch.tensor([one.box for one in objects], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([one.category for one in objects], dtype=torch.int64),
        torch.tensor([one.score for one in objects], dtype=torch.float32),
        torch.zeros(len(objects), 0, 0),
    )


def _instance(one: JoinedObject, size: Size) -> Instance:
    if not one.has_mask:
        return Instance(one.category, one.box, None, one.score)
    patch = one.patch()
    return Instance(one.category, one.box, encode_patch(patch.mask.numpy(), patch.top, patch.left, size), one.score)
