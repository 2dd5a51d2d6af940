"""Scored images as pictures for people."""

from __future__ import annotations

from dataclasses import dataclass, field

from seamseg.evaluate import ScoredImage
from seamseg.metrics.panoptic_quality import PanopticQuality
from seamseg.metrics.segments import Segments
from seamseg.structures import VOID, Categories, PanopticSegmentation
from seamseg.visualization.contact_sheet import SheetRow, contact_sheet
from seamseg.visualization.images import Picture, denormalise
from seamseg.visualization.resize import resize_picture

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
        quality = PanopticQuality(len(self.categories), self.categories.num_stuff)
        quality.update(Segments.of_prediction(scored.fused.segmentation), truth)
        return SheetRow(
            name=str(scored.image_id),
            image=resize_picture(image, truth.size),
            truth=_on_cpu(PanopticSegmentation(truth.ids, truth.classes, (truth.classes != VOID).float(), truth.crowd)),
            prediction=_on_cpu(scored.fused.segmentation),
            pq=quality.over_all().pq,
        )


def _on_cpu(segmentation: PanopticSegmentation) -> PanopticSegmentation:
    return PanopticSegmentation(
        segmentation.ids.cpu(), segmentation.classes.cpu(), segmentation.scores.cpu(), segmentation.crowd.cpu()
    )
