"""Pictures of scored images, for TensorBoard and files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seamseg.data.formats.coco_json import ListedSegments, PanopticFiles
from seamseg.metrics.analysis import WorstImage
from seamseg.ops.collectives import gather_objects
from seamseg.score.files import read_segmentation
from seamseg.structures import VOID, Categories, DrawnObjects
from seamseg.visualization.contact_sheet import SheetRow, contact_sheet
from seamseg.visualization.images import Picture, denormalize, resize_picture
from seamseg.visualization.objects import Drawn, resize_drawn

if TYPE_CHECKING:  # `seamseg score` draws its sheets here, and must not wait until the network is imported
    from seamseg.engine.evaluate import ScoredImage

Triple = tuple[float, float, float]


@dataclass
class SampleGallery:
    """Collect the first scored images.

    Attributes:
        categories: Classes of the data set.
        mean: Mean color that the images were normalized with.
        std: Standard deviation of the color that the images were normalized with.
        limit: Maximum number of images.
        measure: Name of the quality of an image.
        rows: Image, ground truth and prediction of each collected image.
    """

    categories: Categories
    mean: Triple
    std: Triple
    limit: int
    measure: str = "PQ"
    rows: list[SheetRow] = field(default_factory=list)

    def add(self, scored: ScoredImage) -> None:
        """Add an image if the gallery is not full."""
        if len(self.rows) < self.limit:
            self.rows.append(self._row(scored))

    def sheet(self, column_width: int = 480) -> Picture:
        """Return one picture of all images.

        Args:
            column_width: Width of a column in pixels.
        """
        return contact_sheet(self.rows, self.categories, column_width)

    def _row(self, scored: ScoredImage) -> SheetRow:
        image = denormalize(scored.image.cpu(), self.mean, self.std)
        size = scored.truth.size
        truth: Drawn = scored.truth
        prediction: Drawn = scored.fused.segmentation
        if scored.objects is not None:
            truth, prediction = (DrawnObjects(size, side) for side in (scored.objects.true, scored.objects.detected))
        return SheetRow(
            name=str(scored.image_id),
            image=resize_picture(image, size),
            truth=truth.cpu(),
            prediction=prediction.cpu(),
            quality=None if math.isnan(scored.quality) else scored.quality,
            measure=self.measure,
        )


@dataclass
class WorstGallery(SampleGallery):
    """Collect the images with the lowest quality at the size in which they are shown.

    Images without any class are skipped.

    Attributes:
        width: Maximum width of a collected image in pixels.
    """

    width: int = 480

    def add(self, scored: ScoredImage) -> None:
        """Add an image if the gallery is not full or the image is worse than one of those in it."""
        last = self.rows[-1].quality if len(self.rows) == self.limit > 0 else math.inf
        if self.limit > 0 and not math.isnan(scored.quality) and scored.quality < (math.inf if last is None else last):
            self._keep_worst([*self.rows, smaller(self._row(scored), self.width)])

    def over_ranks(self) -> None:
        """Keep the worst images of all ranks on every rank; all ranks must call this method."""
        found = gather_objects(self.rows)
        self._keep_worst([row for rows in found if isinstance(rows, list) for row in rows])

    def _keep_worst(self, rows: list[SheetRow]) -> None:
        self.rows = sorted(rows, key=lambda row: (row.quality, row.name))[: self.limit]


def smaller(row: SheetRow, width: int) -> SheetRow:
    """Shrink a row to this width in pixels; return it unchanged if it is not wider."""
    rows, columns = row.image.shape[:2]
    if columns <= width:
        return row
    size = (max(1, round(rows * width / columns)), width)
    truth, prediction = (resize_drawn(side, size) for side in (row.truth, row.prediction))
    return SheetRow(row.name, resize_picture(row.image, size), truth, prediction, row.quality, row.measure)


_RIGHT, _WRONG, _UNPREDICTED, _UNKNOWN = (214, 224, 218), (196, 69, 37), (201, 140, 28), (70, 76, 84)


def file_sheet(truth: PanopticFiles, results: PanopticFiles, worst: Sequence[WorstImage], column_width: int) -> Picture:
    """Draw images in three columns: agreement of the classes, annotation, result.

    In the first column, pixels are light where the classes agree, red where they differ, amber where no class is
    predicted, and dark where the annotation is void.

    Args:
        truth: Annotation files; must contain the images in ``worst``.
        results: Result files; must contain the images in ``worst``.
        worst: Images to draw, in this order; at least one.
        column_width: Width of a column in pixels.
    """
    rows = [
        _row(truth.images[one.image_id], results.images[one.image_id], truth.categories, one.pq, column_width)
        for one in worst
    ]
    return contact_sheet(rows, truth.categories, column_width, first="Agreement of classes")


def _row(true: ListedSegments, predicted: ListedSegments, categories: Categories, pq: float, width: int) -> SheetRow:
    truth, prediction = read_segmentation(true), read_segmentation(predicted)
    picture = _agreement(truth.semantics.numpy(), prediction.semantics.numpy())
    return smaller(SheetRow(str(true.image_id), picture, truth, prediction, pq), width)


def _agreement(true: NDArray[np.int64], predicted: NDArray[np.int64]) -> Picture:
    picture = np.full((*true.shape, 3), _WRONG, np.uint8)
    picture[true == predicted] = _RIGHT
    picture[predicted == VOID] = _UNPREDICTED
    picture[true == VOID] = _UNKNOWN
    return picture
