"""Report folder: its layout, and the files of each image."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from seamseg.data.images import read_image
from seamseg.errors import BrokenImageError, OutputError
from seamseg.metrics.matching import match
from seamseg.metrics.outcomes import FALSE_ERRORS, TRUE_ERRORS, SegmentOutcome, SideOutcomes, judge
from seamseg.metrics.overlaps import IntArray
from seamseg.report.material import ReportImage
from seamseg.report.segments import mean_object_score, side_record
from seamseg.score.files import image_overlaps, read_segmentation
from seamseg.structures import VOID, Categories, PanopticSegmentation, Size
from seamseg.visualization.images import Picture, resize_picture, resize_segmentation
from seamseg.visualization.overlay import Style, draw_overlay

PAGE = Path(__file__).parent / "page"
"""Folder of the HTML page, style sheets and scripts, which are the same for all reports."""
START = "index.html"
DATA, IMAGES, THUMBNAILS = "data", "images", "thumbnails"
"""Folders of a report, next to the one with style sheets and scripts."""

CONTENT = (START, PAGE.name, DATA, IMAGES, THUMBNAILS)
"""All entries of a report folder."""

_MARK = '<meta name="generator" content="seamseg report">'
_FILES = re.compile(r"index\.html|page/[a-z-]+\.(css|js)|data/index\.js|data/\d{6}\.js|(images|thumbnails)/\d{6}\.jpg")


def check_target(out: Path, overwrite: bool) -> None:
    """Check that a report may be written to a folder.

    Args:
        out: Folder of the report.
        overwrite: Allow an existing report to be replaced.

    Raises:
        SeamsegError: The report would replace a file, other files, or a report without ``overwrite``.
    """
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise OutputError(f"{out} is a file; choose a folder for the report")
    foreign = next(_foreign_files(out), None)
    if foreign is not None:
        raise OutputError(f"{out} holds other files, such as {foreign}; choose a new or empty folder for the report")
    if not overwrite and (out / START).exists():
        raise OutputError(f"{out} already holds a report; pass --overwrite to replace it, or choose another folder")


def _foreign_files(out: Path) -> Iterator[Path]:
    """Yield files that no report has written. Without the start page of a report, these are all files."""
    start = out / START
    ours = start.is_file() and _MARK in start.read_text(encoding="utf-8", errors="replace")
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out)
        if (path.is_symlink() or not path.is_dir()) and not (ours and _FILES.fullmatch(name.as_posix())):
            yield name


THUMBNAIL_SIDE = 384
"""Longer side of the thumbnails in pixels, large enough for high-density screens."""
_JPEG_QUALITY, _THUMBNAIL_QUALITY = 86, 80


@dataclass(frozen=True)
class PictureFiles:
    """Paths of the pictures of one image.

    Attributes:
        image_path: Path of the image, re-encoded so that camera metadata is removed.
        thumbnail: Path of the thumbnail with the prediction drawn over it.
    """

    image_path: Path
    thumbnail: Path


def fit(size: Size, longest: int) -> Size:
    """Scale a size down so that its longer side is at most ``longest`` pixels; the result is at least 1×1."""
    height, width = size
    scale = min(1.0, longest / max(size))
    return max(1, round(height * scale)), max(1, round(width * scale))


def write_pictures(
    files: PictureFiles, image: Picture, segmentation: PanopticSegmentation, categories: Categories, longest: int
) -> None:
    """Write the image and its thumbnail.

    Args:
        files: Paths to write to.
        image: Image at full size, H×W×3 uint8 RGB.
        segmentation: Prediction at full size, H×W.
        categories: Categories of the segments.
        longest: Maximum side of the written image in pixels; smaller images are not enlarged.
    """
    size = fit((image.shape[0], image.shape[1]), longest)
    _write_jpeg(files.image_path, _resized(image, size), _JPEG_QUALITY)
    small = fit(size, THUMBNAIL_SIDE)
    shown = resize_segmentation(segmentation, small)
    drawn = draw_overlay(_resized(image, small), shown, categories, Style(opacity=0.45, labels=False))
    _write_jpeg(files.thumbnail, drawn, _THUMBNAIL_QUALITY)


def _resized(image: Picture, size: Size) -> Picture:
    return image if image.shape[:2] == size else resize_picture(image, size)


def _write_jpeg(path: Path, rgb: Picture, quality: int) -> None:
    written, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert written, path
    path.write_bytes(data.tobytes())


Outcomes = tuple[SideOutcomes, SideOutcomes]
"""Outcomes of the true and of the predicted segments of an image."""

_GRAY = 128  # shown in place of an image that cannot be read


@dataclass(frozen=True)
class ImageSummary:
    """Summary of an image for the index of the report.

    Attributes:
        record: Entry of the image grid: name, file, size, number of predicted segments, mean score of the things,
            true and predicted classes, and numbers of errors by class and outcome (class, outcome, number).
        areas: Number of predicted pixels by class.
        segments: Number of predicted segments by class.
        true_errors, false_errors: Numbers of unmatched true segments and of false predictions by class and outcome.
        fault: Reason why the image cannot be read, to append to its path; None if it can be read.
    """

    record: dict[str, Any]
    areas: Counter[int]
    segments: Counter[int]
    true_errors: Counter[tuple[int, str]]
    false_errors: Counter[tuple[int, str]]
    fault: str | None


@dataclass(frozen=True)
class ImageWriter:
    """Writer of the images of one report; picklable.

    Attributes:
        folder: Folder of the report, with its subfolders.
        categories: Categories of true and predicted segments.
        longest: Maximum side of the written images in pixels.
    """

    folder: Path
    categories: Categories
    longest: int

    def __call__(self, numbered: tuple[int, ReportImage]) -> ImageSummary:
        """Write the files of one image. An image that cannot be read is replaced with gray.

        Args:
            numbered: Number of the image, which names its files, and the image.

        Raises:
            SeamsegError: A PNG of the segments is missing or broken, or sizes differ.
        """
        number, image = numbered
        file = f"{number:06d}"
        prediction = read_segmentation(image.predicted)
        pixels, fault = _pixels(image, prediction.size)
        pictures = PictureFiles(*(self.folder / name / f"{file}.jpg" for name in (IMAGES, THUMBNAILS)))
        write_pictures(pictures, pixels, prediction, self.categories, self.longest)
        outcomes = (
            None if image.true is None else judge(match(image_overlaps(image.true, image.predicted, boundary=False)))
        )
        content = json.dumps(self._content(image, prediction, outcomes), separators=(",", ":"), allow_nan=False)
        (self.folder / DATA / f"{file}.js").write_text(f'seamseg.receiveImage("{file}",{content});\n')
        areas = np.bincount(prediction.ids.numpy().ravel(), minlength=len(image.predicted.ids))
        return _summary(image, file, prediction.size, areas, outcomes, self.categories.num_stuff, fault)

    def _content(
        self, image: ReportImage, prediction: PanopticSegmentation, outcomes: Outcomes | None
    ) -> dict[str, Any]:
        """Return the data of the image's script: its size, its size in the report, and both sides."""
        shown, truth = fit(prediction.size, self.longest), None
        if image.true is not None:
            true = read_segmentation(image.true)
            truth = side_record(true, image.true, outcomes[0] if outcomes else None, self.categories, shown)
        predicted = outcomes[1] if outcomes else None
        record = side_record(prediction, image.predicted, predicted, self.categories, shown)
        return {"size": prediction.size, "shown": shown, "prediction": record, "truth": truth}


def _pixels(image: ReportImage, size: Size) -> tuple[Picture, str | None]:
    """Return the image and None, or a gray image and the reason why the image cannot be read."""
    try:
        # `seamseg predict` applies the EXIF orientation; other programs may have predicted on the stored pixels.
        return read_image(image.image_path, "upright", size, f"its prediction {image.predicted.png} is"), None
    except BrokenImageError as error:
        return np.full((*size, 3), _GRAY, np.uint8), error.reason


def _summary(
    image: ReportImage,
    file: str,
    size: Size,
    areas: IntArray,
    outcomes: Outcomes | None,
    num_stuff: int,
    fault: str | None,
) -> ImageSummary:
    predicted = image.predicted
    present = np.flatnonzero((predicted.classes != VOID) & (areas > 0))
    by_class = Counter[int]()
    for segment in present.tolist():
        by_class[int(predicted.classes[segment])] += int(areas[segment])
    true_errors = _errors(outcomes[0], image.true.classes, TRUE_ERRORS) if outcomes and image.true else Counter()
    false_errors = _errors(outcomes[1], predicted.classes, FALSE_ERRORS) if outcomes else Counter()
    true_classes = set() if image.true is None else set(image.true.classes.tolist()) - {VOID}
    record: dict[str, Any] = {
        "name": image.name,
        "file": file,
        "size": size,
        "segments": len(present),
        "score": mean_object_score(predicted, areas, num_stuff),
        "classes": sorted(set(by_class) | true_classes),
        "errors": [[*key, number] for key, number in sorted((true_errors + false_errors).items())],
    }
    segments = Counter(predicted.classes[present].tolist())
    return ImageSummary(record, by_class, segments, true_errors, false_errors, fault)


def _errors(side: SideOutcomes, classes: IntArray, errors: Sequence[SegmentOutcome]) -> Counter[tuple[int, str]]:
    pairs = zip(classes.tolist(), side.outcomes.tolist(), strict=True)
    return Counter((number, SegmentOutcome(outcome).word) for number, outcome in pairs if outcome in errors)
