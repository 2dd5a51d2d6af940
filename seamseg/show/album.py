"""Scored images as pictures for people."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from seamseg.evaluate import ScoredImage
from seamseg.ops.collectives import gather_objects
from seamseg.structures import VOID, Categories, PanopticSegmentation
from seamseg.visualization.contact_sheet import SheetRow, contact_sheet
from seamseg.visualization.images import Picture, denormalise, resize_picture, resize_segmentation

Triple = tuple[float, float, float]


@dataclass
class Album:
    """Collects the first scored images.

    Attributes:
        categories: of the data set.
        mean, std: that the images were normalised with.
        limit: images that are kept.
        rows: image, ground truth and prediction of each.
    """

    categories: Categories
    mean: Triple
    std: Triple
    limit: int
    rows: list[SheetRow] = field(default_factory=list)

    def add(self, scored: ScoredImage) -> None:
        """Keeps an image, if there is room."""
        if len(self.rows) < self.limit:
            self.rows.append(self._row(scored))

    def sheet(self, column_width: int = 480) -> Picture:
        """All of them in one picture."""
        return contact_sheet(self.rows, self.categories, column_width)

    def _row(self, scored: ScoredImage) -> SheetRow:
        image = denormalise(scored.image.cpu(), self.mean, self.std)
        truth = scored.truth
        return SheetRow(
            name=str(scored.image_id),
            image=resize_picture(image, truth.size),
            truth=_on_cpu(PanopticSegmentation(truth.ids, truth.classes, (truth.classes != VOID).float(), truth.crowd)),
            prediction=_on_cpu(scored.fused.segmentation),
            pq=None if math.isnan(scored.pq) else scored.pq,
        )


@dataclass
class WorstAlbum(Album):
    """Collects the images with the lowest PQ, at the size in which they will be shown; those without any class are
    left out.

    Attributes:
        width: of the images that are kept, in pixels.
    """

    width: int = 480

    def add(self, scored: ScoredImage) -> None:
        """Keeps an image if it is worse than one of those that are there."""
        last = self.rows[-1].pq if len(self.rows) == self.limit > 0 else math.inf
        if self.limit > 0 and not math.isnan(scored.pq) and scored.pq < (math.inf if last is None else last):
            self._keep([*self.rows, smaller(self._row(scored), self.width)])

    def over_ranks(self) -> None:
        """Keeps the worst of all ranks on each; all of them have to call it."""
        found = gather_objects(self.rows)
        self._keep([row for rows in found if isinstance(rows, list) for row in rows])

    def _keep(self, rows: list[SheetRow]) -> None:
        self.rows = sorted(rows, key=lambda row: (row.pq, row.name))[: self.limit]


def smaller(row: SheetRow, width: int) -> SheetRow:
    """The same in another width, or as it is if it is no wider."""
    rows, columns = row.image.shape[:2]
    if columns <= width:
        return row
    size = (max(1, round(rows * width / columns)), width)
    truth, prediction = (resize_segmentation(side, size) for side in (row.truth, row.prediction))
    return SheetRow(row.name, resize_picture(row.image, size), truth, prediction, row.pq)


def _on_cpu(segmentation: PanopticSegmentation) -> PanopticSegmentation:
    return PanopticSegmentation(
        segmentation.ids.cpu(), segmentation.classes.cpu(), segmentation.scores.cpu(), segmentation.crowd.cpu()
    )
