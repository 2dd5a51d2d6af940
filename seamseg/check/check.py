"""Checks of whole data sets, for every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from seamseg.check.findings import Findings
from seamseg.check.image import MOST_SEGMENTS, ImageChecker, ImageReport
from seamseg.check.report import CheckReport, Shown
from seamseg.check.split import ImageTask, SplitEntries, SplitFiles, read_entries
from seamseg.check.statistics import CheckStatistics, ClassStatistics, SplitStatistics
from seamseg.data.formats.class_table import coco_classes
from seamseg.data.formats.coco_files import annotation_files, image_folders, png_folders
from seamseg.data.formats.open import FORMATS, choose_format, open_data_set, split_names
from seamseg.data.formats.panoptic_dataset import PanopticDataset
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
    """The files of a split; None for splits without a panoptic JSON file.

    Args:
        root: of the data set.
        split: one of its splits.
        format_name: of :data:`seamseg.data.formats.open.FORMATS`.

    Raises:
        SeamsegError: the configuration of Vistas' labels is wrong.
    """
    if format_name == "coco":
        json_file = annotation_files(root)[split]
        folders = tuple(image_folders(root, json_file))
        return SplitFiles(split, json_file, folders, tuple(png_folders(json_file)), coco_classes)
    if format_name in _VISTAS:
        layout = find_layout(root, _VISTAS[format_name])
        assert layout is not None, "its format was recognized"
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
    """The images of a split."""
    return [
        ImageTask(
            index, source.image_path(index).name, source.image_path(index), source.annotation_path(index), size, []
        )
        for index, size in enumerate(source.sizes)
    ]


@dataclass(frozen=True)
class ReaderChecker:
    """Reads images as training would.

    Attributes:
        source: the split.
        limit: examples that are kept of each kind of fault.
    """

    source: PanopticDataset
    limit: int

    def __call__(self, task: ImageTask) -> ImageReport:
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
        """The segments of an image that has no fault."""
        return self.source.read_annotation(task.index)

    def _image_fits(self, task: ImageTask, findings: Findings) -> bool:
        try:
            pixels = self.source.read_image(task.index)
            if has_twelve_bits(task.image_path, pixels):
                findings.add("dark-image", f"its largest value is below {TWELVE_BITS} of 65535")
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
        elif not (classes >= self.source.categories.num_stuff).any():
            findings.add("image-without-things", f"{len(classes)} segments of stuff")


Progress = Callable[[str, int, int], None]
"""Is told which split, and how many of how many images are checked."""

_HIDES_SEGMENTS = {"malformed-entry", "unknown-category"}
"""Kinds of faults that leave segments uncounted, so that no category is known to be unused."""


def check_data_set(
    root: Path,
    splits: Sequence[str] = (),
    format_name: str | None = None,
    num_workers: int | None = None,
    num_examples: int = 5,
    on_progress: Progress = lambda split, done, total: None,
) -> CheckReport:
    """Compares everything that a data set says with what its files hold.

    Args:
        root: the folder of a data set of any format that is read as it is.
        splits: which ones; none named means all.
        format_name: of :data:`seamseg.data.formats.open.FORMATS`; None recognizes it.
        num_workers: processes; None takes one per core.
        num_examples: how many faults of each kind the report describes; all are counted.
        on_progress: as above.

    Raises:
        FileNotFoundError: the folder does not exist.
        SeamsegError: it is no data set, or a split that is asked for is not there.
    """
    format_name = choose_format(root, format_name)
    names = split_names(root, format_name)
    wanted = [choose_split(names, split, root) for split in splits] or names
    report = CheckReport(root, FORMATS[format_name].title, Findings(num_examples), CheckStatistics(), [], [], {})
    check = _Check(report, num_workers, on_progress)
    for split in wanted:
        try:
            files = panoptic_files(root, split, format_name)
            if files is None:
                check.by_reading(split, format_name)
            else:
                check.by_entries(files)
        except (SeamsegError, OSError) as error:
            report.findings.add("unreadable-split", f"{split}: {error}")
    check.finish()
    return report


class _Check:
    """A check on its way."""

    def __init__(self, report: CheckReport, num_workers: int | None, on_progress: Progress) -> None:
        self._report, self._num_workers, self._on_progress = report, num_workers, on_progress
        self._findings, self._statistics = report.findings, report.statistics
        self._split_of_image: dict[Path, str] = {}

    def by_entries(self, files: SplitFiles) -> None:
        """A split with a panoptic JSON file."""
        split = read_entries(files, self._findings)
        self._report.splits.append(split)
        statistics = SplitStatistics(files.name, split.num_images, len(split.tasks))
        checker = ImageChecker(split.table, self._findings.limit)
        reports = self._images(split.categories, statistics, split.tasks, checker)
        for position, report in zip(split.positions, reports, strict=True):
            if report.repaired is not None:
                self._report.repaired[files.name, position] = report.repaired
        self._stray_files(split)

    def by_reading(self, name: str, format_name: str) -> None:
        """A split of another kind: what its reader refuses is wrong."""
        source = open_data_set(self._report.root, name, format_name=format_name)
        tasks = numbered_tasks(source)
        statistics = SplitStatistics(name, len(source), len(source))
        checker = ReaderChecker(source, self._findings.limit)
        for _ in self._images(source.categories, statistics, tasks, checker):
            pass

    def finish(self) -> None:
        """What shows only when all splits are checked."""
        categories, classes = self._statistics.categories, self._statistics.classes
        known = classes.segments.any() and not _HIDES_SEGMENTS & self._findings.counts.keys()
        if categories is not None and known:
            for category, number in zip(categories.classes, classes.segments.tolist(), strict=True):
                if number == 0:
                    self._findings.add("unused-category", category.name)
        if not self._statistics.splits and not self._findings.num_errors:
            self._findings.add("unreadable-split", f"{self._report.root} holds no images")

    def _images(
        self,
        categories: Categories,
        statistics: SplitStatistics,
        tasks: Sequence[ImageTask],
        checker: ImageChecker | ReaderChecker,
    ) -> Iterator[ImageReport]:
        same = self._adopt(categories, statistics)
        reports = ordered_map(checker, tasks, processes=self._num_workers)
        for done, (task, report) in enumerate(zip(tasks, reports, strict=True), start=1):
            self._findings.merge(report.findings, f"{statistics.name}, {task.name}")
            self._note_image(task, statistics.name)
            statistics.add(report, categories.num_stuff)
            if same:
                self._statistics.classes.add(report)
            if same and report.readable:
                shown = np.bincount(report.classes, minlength=len(categories)) > 0
                sized = replace(task, size=report.size)
                self._report.shown.append(Shown(statistics.name, sized, shown, checker.annotation))
            self._on_progress(statistics.name, done, len(tasks))
            yield report

    def _adopt(self, categories: Categories, statistics: SplitStatistics) -> bool:
        """Begins a split; whether its classes are those of the others."""
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

    def _note_image(self, task: ImageTask, split: str) -> None:
        image_path = task.image_path.resolve()
        other = self._split_of_image.setdefault(image_path, split)
        if other != split:
            self._findings.add("shared-image", f"{task.name} is in {other} and in {split}")

    def _stray_files(self, split: SplitEntries) -> None:
        if split.named_pngs is None or not split.png_folder.is_dir():
            return
        named = {split.png_folder / name for name in split.named_pngs}
        for path in search_folder(split.png_folder, {".png"}).paths:
            if path not in named:
                self._findings.add("stray-file", f"{split.files.name}: {path.relative_to(split.png_folder)}")
