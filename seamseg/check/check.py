"""Validation of whole data sets in every supported format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from seamseg.check.detection import DetectionChecker, read_detection_entries
from seamseg.check.findings import Findings
from seamseg.check.image import MOST_SEGMENTS, ImageChecker, ImageReport
from seamseg.check.report import CheckReport, Shown
from seamseg.check.split import ImageTask, SplitEntries, SplitFiles, read_entries
from seamseg.check.statistics import CheckStatistics, ClassStatistics, SplitStatistics
from seamseg.data.formats.annotated_dataset import PanopticDataset, require_no_overlaps
from seamseg.data.formats.class_table import coco_classes
from seamseg.data.formats.coco_files import annotation_files, image_folders, png_folders
from seamseg.data.formats.open import FORMATS, choose_format, open_data_set, split_names
from seamseg.data.formats.split_names import choose_split
from seamseg.data.formats.vistas import VistasVersion, find_layout
from seamseg.data.images import TWELVE_BITS, has_twelve_bits
from seamseg.data.input_folder import search_folder
from seamseg.data.labels.vistas import class_table, read_labels
from seamseg.errors import BrokenImageError, SeamsegError
from seamseg.io.workers import ordered_map
from seamseg.structures import VOID, Categories, PanopticSegmentation

_VISTAS: dict[str, VistasVersion] = {"vistas_v1.2": "v1.2", "vistas_v2.0": "v2.0"}


def panoptic_files(root: Path, split: str, format_name: str) -> SplitFiles | None:
    """Find the files of a split.

    Args:
        root: Folder of the data set.
        split: Name of one of its splits.
        format_name: Key of :data:`seamseg.data.formats.open.FORMATS`.

    Returns:
        The files, or None if the split has no panoptic JSON file.

    Raises:
        SeamsegError: The label configuration of Vistas is invalid.
    """
    if format_name == "coco":
        json_file = annotation_files(root)[split]
        folders = tuple(image_folders(root, json_file))
        return SplitFiles(split, json_file, folders, tuple(png_folders(json_file)), coco_classes)
    if format_name in _VISTAS:
        layout = find_layout(root, _VISTAS[format_name])
        assert layout is not None, "the format has been detected before"
        json_file = layout.panoptic_file(split)
        if json_file.is_file():
            labels = read_labels(layout.config)
            return SplitFiles(
                split,
                json_file,
                (root / split / "images",),
                (json_file.parent,),
                lambda entries, path: class_table(labels, entries, path, config=layout.config),
            )
    return None


def numbered_tasks(source: PanopticDataset) -> list[ImageTask]:
    """Create a task for each image of a split."""
    return [
        ImageTask(
            index, source.image_path(index).name, source.image_path(index), source.annotation_path(index), size, []
        )
        for index, size in enumerate(source.sizes)
    ]


@dataclass(frozen=True)
class ReaderChecker:
    """Checker for images without a panoptic JSON file; it reads them as training would.

    Attributes:
        source: Split to read from.
        limit: Maximum number of examples kept per kind of fault.
    """

    source: PanopticDataset
    limit: int

    def __call__(self, task: ImageTask) -> ImageReport:
        """Check one image."""
        findings = Findings(self.limit)
        image_fits = self._image_fits(task, findings)
        annotation = self._annotation(task, findings)
        if annotation is None:
            none = np.zeros(0, np.int64)
            return ImageReport(findings, False, none, none, none.astype(np.bool_), task.size)
        classes, crowd = annotation.classes.numpy(), annotation.crowd.numpy()
        kept = classes != VOID
        areas = np.bincount(annotation.ids.numpy().ravel(), minlength=len(kept))[kept]
        classes, crowd = classes[kept], crowd[kept]
        self._judge(classes, crowd & (classes < self.source.categories.num_stuff), findings)
        return ImageReport(findings, image_fits, classes, areas, crowd, task.size)

    def annotation(self, task: ImageTask) -> PanopticSegmentation:
        """Read the segments of an image without faults."""
        return self.source.read_annotation(task.index)

    def _image_fits(self, task: ImageTask, findings: Findings) -> bool:
        try:
            pixels = self.source.read_image(task.index)
            if has_twelve_bits(task.image_path, pixels):
                findings.add("dark-image", f"its maximum value is below {TWELVE_BITS} of 65535")
        except BrokenImageError as error:
            findings.add("broken-image" if task.image_path.is_file() else "missing-image", str(error))
            return False
        except SeamsegError as error:
            findings.add("image-size", str(error))
            return False
        return True

    def _annotation(self, task: ImageTask, findings: Findings) -> PanopticSegmentation | None:
        try:
            return self.source.read_annotation(task.index)
        except BrokenImageError as error:
            findings.add("broken-png" if task.png.is_file() else "missing-png", str(error))
        except SeamsegError as error:
            findings.add("unreadable-annotation", str(error))
        return None

    def _judge(self, classes: np.ndarray, crowd_stuff: np.ndarray, findings: Findings) -> None:
        if crowd_stuff.any():
            findings.add("crowd-on-stuff", f"{crowd_stuff.sum()} segments", int(crowd_stuff.sum()))
        if len(classes) > MOST_SEGMENTS:
            findings.add("too-many-segments", f"{len(classes)} segments")
        if not len(classes):
            findings.add("empty-image", "every pixel is void")
        elif self.source.content.boxes and not (classes >= self.source.categories.num_stuff).any():
            findings.add("image-without-things", f"{len(classes)} stuff segments")


Progress = Callable[[str, int, int], None]
"""Callback that receives the split, the number of checked images and the total number of images."""

_HIDES_SEGMENTS = {"malformed-entry", "unknown-category", "invalid-outline", "invalid-box"}
"""Kinds of faults that leave segments uncounted, so that a category cannot be reported as unused."""


def check_data_set(
    root: Path,
    splits: Sequence[str] = (),
    format_name: str | None = None,
    num_workers: int | None = None,
    num_examples: int = 5,
    on_progress: Progress = lambda split, done, total: None,
) -> CheckReport:
    """Compare the entries of a data set with the contents of its files.

    Args:
        root: Folder of a data set in any format that can be read without conversion.
        splits: Names of the splits to check. If empty, check all splits.
        format_name: Key of :data:`seamseg.data.formats.open.FORMATS`. None detects the format.
        num_workers: Number of worker processes. None starts one per core.
        num_examples: Maximum number of faults of each kind that the report describes. All faults are counted.
        on_progress: Called with the split, the number of checked images and the total after each image.

    Raises:
        FileNotFoundError: The folder does not exist.
        SeamsegError: The folder is not a data set, or a requested split does not exist.
    """
    format_name = choose_format(root, format_name)
    names = split_names(root, format_name)
    wanted = [choose_split(names, split, root) for split in splits] or names
    report = CheckReport(root, FORMATS[format_name].title, Findings(num_examples), CheckStatistics(), [], [], {})
    check = _Check(report, num_workers, on_progress)
    for split in wanted:
        try:
            files = panoptic_files(root, split, format_name)
            if files is not None:
                check.check_entries(files)
            elif format_name == "coco_detection":
                check.check_objects(split)
            else:
                check.check_by_reading(split, format_name)
        except (SeamsegError, OSError) as error:
            report.findings.add("unreadable-split", f"{split}: {error}")
    check.finish()
    return report


class _Check:
    """A check in progress."""

    def __init__(self, report: CheckReport, num_workers: int | None, on_progress: Progress) -> None:
        self._report, self._num_workers, self._on_progress = report, num_workers, on_progress
        self._findings, self._statistics = report.findings, report.statistics
        self._split_of_image: dict[Path, str] = {}

    def check_entries(self, files: SplitFiles) -> None:
        """Check a split with a panoptic JSON file."""
        split = read_entries(files, self._findings)
        self._report.splits.append(split)
        statistics = SplitStatistics(files.name, split.num_images, len(split.tasks))
        checker = ImageChecker(split.table, self._findings.limit)
        reports = self._images(split.categories, statistics, split.tasks, checker)
        for position, report in zip(split.positions, reports, strict=True):
            if report.repaired is not None:
                self._report.repaired[files.name, position] = report.repaired
        self._find_stray_files(split)

    def check_objects(self, name: str) -> None:
        """Check a split with a detection JSON file."""
        split = read_detection_entries(self._report.root, name, self._findings)
        statistics = SplitStatistics(name, split.num_images, sum(bool(task.segments) for task in split.tasks))
        checker = DetectionChecker(split.categories, self._findings.limit)
        for _ in self._images(split.categories, statistics, split.tasks, checker):
            pass

    def check_by_reading(self, name: str, format_name: str) -> None:
        """Check a split without a panoptic JSON file by reading it; everything that the reader rejects is a fault."""
        root = self._report.root
        source = require_no_overlaps(open_data_set(root, name, format_name=format_name), f"{name!r} of {root}")
        tasks = numbered_tasks(source)
        statistics = SplitStatistics(name, len(source), len(source))
        checker = ReaderChecker(source, self._findings.limit)
        for _ in self._images(source.categories, statistics, tasks, checker):
            pass

    def finish(self) -> None:
        """Add the faults that can be determined only after all splits have been checked."""
        categories, classes = self._statistics.categories, self._statistics.classes
        known = classes.segments.any() and not _HIDES_SEGMENTS & self._findings.counts.keys()
        if categories is not None and known:
            for category, number in zip(categories.classes, classes.segments.tolist(), strict=True):
                if number == 0:
                    self._findings.add("unused-category", category.name)
        if not self._statistics.splits and not self._findings.num_errors:
            self._findings.add("unreadable-split", f"{self._report.root} contains no images")

    def _images(
        self,
        categories: Categories,
        statistics: SplitStatistics,
        tasks: Sequence[ImageTask],
        checker: ImageChecker | ReaderChecker | DetectionChecker,
    ) -> Iterator[ImageReport]:
        same = self._start_split(categories, statistics)
        reports = ordered_map(checker, tasks, processes=self._num_workers)
        for done, (task, report) in enumerate(zip(tasks, reports, strict=True), start=1):
            self._findings.merge(report.findings, f"{statistics.name}, {task.name}")
            self._find_shared_image(task, statistics.name)
            statistics.add(report, categories.num_stuff)
            if same:
                self._statistics.classes.add(report)
            if same and report.readable:
                shown = np.bincount(report.classes, minlength=len(categories)) > 0
                sized = replace(task, size=report.size)
                self._report.shown.append(Shown(statistics.name, sized, shown, checker.annotation))
            self._on_progress(statistics.name, done, len(tasks))
            yield report

    def _start_split(self, categories: Categories, statistics: SplitStatistics) -> bool:
        """Start a split, and return whether its categories are the same as those of the first split."""
        self._statistics.splits.append(statistics)
        known = self._statistics.categories
        if known is None:
            self._statistics.categories = categories
            self._statistics.classes = ClassStatistics.zeros(len(categories))
            return True
        differences = known.differences(categories, self._statistics.splits[0].name, statistics.name)
        for difference in differences:
            self._findings.add("different-categories", difference)
        return not differences

    def _find_shared_image(self, task: ImageTask, split: str) -> None:
        image_path = task.image_path.resolve()
        other = self._split_of_image.setdefault(image_path, split)
        if other != split:
            self._findings.add("shared-image", f"{task.name} is in both {other} and {split}")

    def _find_stray_files(self, split: SplitEntries) -> None:
        if split.named_pngs is None or not split.png_folder.is_dir():
            return
        named = {split.png_folder / name for name in split.named_pngs}
        for path in search_folder(split.png_folder, {".png"}).paths:
            if path not in named:
                self._findings.add("stray-file", f"{split.files.name}: {path.relative_to(split.png_folder)}")
