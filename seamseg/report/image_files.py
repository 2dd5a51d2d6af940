"""Writes the files of one image: its pictures, and a script that holds what its page knows."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamseg.data.images import read_image
from seamseg.data.stated_size import check_size, size_text
from seamseg.metrics.segment_verdicts import ImageVerdicts, SideVerdicts, Verdict, judge
from seamseg.report.folder import DATA, PHOTOGRAPHS, THUMBNAILS
from seamseg.report.material import ReportImage
from seamseg.report.pictures import PictureFiles, fit, write_pictures
from seamseg.report.segments import as_segmentation, mean_object_score, side_record
from seamseg.score import image_overlaps, read_segments
from seamseg.structures import VOID, Categories, PanopticSegmentation, Size

IntArray = NDArray[np.int64]

ERRORS = (Verdict.MISSED, Verdict.WRONG_CLASS, Verdict.BADLY_CUT, Verdict.FALSE)


@dataclass(frozen=True)
class ImageSummary:
    """What the overview knows of an image.

    Attributes:
        record: for the grid: name, file, size, number of predicted segments, mean score of its things, classes on
            either side, and how many segments of each class, of both sides, went wrong in which way (class, kind,
            number).
        areas: predicted pixels by class.
        segments: predicted segments by class.
        true_errors, predicted_errors: wrong segments of each side by class and kind.
    """

    record: dict[str, Any]
    areas: Counter[int]
    segments: Counter[int]
    true_errors: Counter[tuple[int, str]]
    predicted_errors: Counter[tuple[int, str]]


@dataclass(frozen=True)
class ImageWriter:
    """Writes images of one report; picklable.

    Attributes:
        folder: of the report; its folders are there.
        categories: of both sides.
        longest: of the photographs' sides, in pixels.
    """

    folder: Path
    categories: Categories
    longest: int

    def __call__(self, numbered: tuple[int, ReportImage]) -> ImageSummary:
        """Writes the files of image ``number``.

        Raises:
            ValueError: a file is missing or broken, or sizes differ.
        """
        number, image = numbered
        file = f"{number:06d}"
        prediction = as_segmentation(read_segments(image.predicted), image.predicted)
        size = prediction.ids.shape[0], prediction.ids.shape[1]
        pixels = read_image(image.photograph)
        check_size(image.photograph, pixels.shape, size, f"its prediction {image.predicted.png} is {size_text(size)}")
        pictures = PictureFiles(*(self.folder / name / f"{file}.jpg" for name in (PHOTOGRAPHS, THUMBNAILS)))
        write_pictures(pictures, pixels, prediction, self.categories, self.longest)
        verdicts = None if image.true is None else judge(image_overlaps(image.true, image.predicted, boundary=False))
        content = json.dumps(self._content(image, prediction, verdicts), separators=(",", ":"), allow_nan=False)
        (self.folder / DATA / f"{file}.js").write_text(f'seamseg.receiveImage("{file}",{content});\n')
        areas = np.bincount(prediction.ids.numpy().ravel(), minlength=len(image.predicted.ids))
        return _summary(image, file, size, areas, verdicts, self.categories.num_stuff)

    def _content(
        self, image: ReportImage, prediction: PanopticSegmentation, verdicts: ImageVerdicts | None
    ) -> dict[str, Any]:
        """Of the script: size of the photograph, size at which it is shown, and both sides."""
        size = prediction.ids.shape[0], prediction.ids.shape[1]
        shown, truth = fit(size, self.longest), None
        if image.true is not None:
            true = as_segmentation(read_segments(image.true), image.true)
            truth = side_record(true, image.true, verdicts.true if verdicts else None, self.categories, shown)
        predicted = verdicts.predicted if verdicts else None
        record = side_record(prediction, image.predicted, predicted, self.categories, shown)
        return {"size": size, "shown": shown, "prediction": record, "truth": truth}


def _summary(
    image: ReportImage, file: str, size: Size, areas: IntArray, verdicts: ImageVerdicts | None, num_stuff: int
) -> ImageSummary:
    predicted = image.predicted
    there = np.flatnonzero((predicted.classes != VOID) & (areas > 0))
    by_class = Counter[int]()
    for segment in there.tolist():
        by_class[int(predicted.classes[segment])] += int(areas[segment])
    true_errors = _errors(verdicts.true, image.true.classes) if verdicts and image.true else Counter()
    predicted_errors = _errors(verdicts.predicted, predicted.classes) if verdicts else Counter()
    true_classes = set() if image.true is None else set(image.true.classes.tolist()) - {VOID}
    record: dict[str, Any] = {
        "name": image.name,
        "file": file,
        "size": size,
        "segments": len(there),
        "score": mean_object_score(predicted, areas, num_stuff),
        "classes": sorted(set(by_class) | true_classes),
        "errors": [[*key, number] for key, number in sorted((true_errors + predicted_errors).items())],
    }
    segments = Counter(predicted.classes[there].tolist())
    return ImageSummary(record, by_class, segments, true_errors, predicted_errors)


def _errors(side: SideVerdicts, classes: IntArray) -> Counter[tuple[int, str]]:
    pairs = zip(classes.tolist(), side.verdicts, strict=True)
    return Counter((number, verdict.value) for number, verdict in pairs if verdict in ERRORS)
