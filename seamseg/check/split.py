"""Lenient reader for the entries of a panoptic JSON file; one fault does not hide the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

from seamseg.check.findings import Findings
from seamseg.data.formats.class_table import ClassTable
from seamseg.data.formats.coco_entries import AnnotationEntry, Fault, ImageEntry, annotation_entries, image_entries
from seamseg.data.json_fields import field, file_field, image_id_field, load_object
from seamseg.errors import DataError, SeamsegError
from seamseg.structures import Categories, ImageId, Size

TableReader = Callable[[list[Any], Path], ClassTable]
"""Function that creates a class table from the ``categories`` of a file and its path."""


@dataclass(frozen=True)
class SplitFiles:
    """Files and folders of a split.

    Attributes:
        name: Name of the split.
        json_file: Path of the panoptic JSON file.
        image_folders: Folders that may contain the images, the most likely one first.
        png_folders: Folders that may contain the PNGs, the most likely one first.
        read_table: Function that reads the classes of the category ids.
    """

    name: str
    json_file: Path
    image_folders: tuple[Path, ...]
    png_folders: tuple[Path, ...]
    read_table: TableReader


@dataclass(frozen=True)
class ImageTask:
    """One image to check.

    Attributes:
        index: Index of the image in the split.
        name: Name of the image in the JSON file.
        image_path: Path of the image.
        png: Path of the PNG with segment ids.
        size: Height and width stated in the JSON file.
        segments: ``segments_info`` as stated in the JSON file.
    """

    index: int
    name: str
    image_path: Path
    png: Path
    size: Size
    segments: list[Any]


@dataclass(frozen=True)
class SplitEntries:
    """Entries of a panoptic JSON file.

    Attributes:
        files: Files and folders of the split.
        content: Parsed JSON file.
        table: Classes of the split.
        tasks: Images with exactly one annotation, in the order of the annotations.
        positions: Position of the annotation of each task in the file.
        num_images: Number of entries under ``images``.
        image_folder: Folder of the images.
        png_folder: Folder of the PNGs.
        named_pngs: Names of all PNGs listed in annotations, including faulty annotations. None if one of the names
            cannot be read.
    """

    files: SplitFiles
    content: dict[str, Any]
    table: ClassTable
    tasks: list[ImageTask]
    positions: list[int]
    num_images: int
    image_folder: Path
    png_folder: Path
    named_pngs: frozenset[str] | None

    @property
    def categories(self) -> Categories:
        """Categories of the split."""
        return self.table.categories


@dataclass
class Entries:
    """Entries read so far, and the ids in faulty entries, so that consequences of a fault are not reported again.

    Attributes:
        where: Name of the file.
        findings: Findings to which faults are added.
        images: Valid entries under ``images``, by image id.
        annotations: First annotation of each image, by image id.
        faulty_images: Ids in faulty entries under ``images``. None stands for an id that cannot be read.
        faulty_annotations: Image ids in faulty annotations. None stands for an id that cannot be read.
    """

    where: str
    findings: Findings
    images: dict[ImageId, ImageEntry] = dataclass_field(default_factory=dict)
    annotations: dict[ImageId, AnnotationEntry] = dataclass_field(default_factory=dict)
    faulty_images: set[ImageId | None] = dataclass_field(default_factory=set)
    faulty_annotations: set[ImageId | None] = dataclass_field(default_factory=set)

    def add_images(self, entries: list[Any]) -> None:
        """Read ``images``."""
        names = set[str]()
        for image in image_entries(entries, self.where, self._faulty_image):
            if image.image_id in self.images or image.file_name in names:
                example = f"{self.where}: the id {image.image_id} or the file {image.file_name}"
                self.findings.add("duplicate-image", example)
            self.images.setdefault(image.image_id, image)
            names.add(image.file_name)

    def add_annotations(self, entries: list[Any]) -> None:
        """Read ``annotations`` after the images."""
        for annotation in annotation_entries(entries, self.where, self._faulty_annotation):
            image_id = annotation.image_id
            here = f"{self.where}, annotation {annotation.position}: image {image_id}"
            if image_id not in self.images:
                if not {image_id, None} & self.faulty_images:
                    self.findings.add("annotation-without-image", here)
            elif image_id in self.annotations:
                self.findings.add("duplicate-annotation", f"{here}, {self.images[image_id].file_name}")
            else:
                self.annotations[image_id] = annotation

    def find_images_without_annotation(self) -> None:
        """Report the images to which no annotation refers."""
        if None not in self.faulty_annotations:
            for image_id in self.images.keys() - self.annotations.keys() - self.faulty_annotations:
                self.findings.add("image-without-annotation", f"{self.where}: {self.images[image_id].file_name}")

    def _faulty_image(self, fault: Fault) -> None:
        self.findings.add_cause(fault.kind, fault.problem, f"{self.where}, image {fault.position}")
        self.faulty_images.add(_readable_id(fault.entry, "id"))

    def _faulty_annotation(self, fault: Fault) -> None:
        self.findings.add_cause(fault.kind, fault.problem, f"{self.where}, annotation {fault.position}")
        self.faulty_annotations.add(_readable_id(fault.entry, "image_id"))


def read_entries(files: SplitFiles, findings: Findings) -> SplitEntries:
    """Read a JSON file; faults of single entries are added to the findings.

    Raises:
        SeamsegError: The file cannot be read at all, its categories are invalid, or it contains no annotations.
    """
    where = files.json_file.name
    content = load_object(files.json_file)
    images = field(content, "images", list, where)
    annotations = field(content, "annotations", list, where)
    table = files.read_table(field(content, "categories", list, where), files.json_file)
    if not annotations:
        raise DataError(f"{where} contains no annotations")
    entries = Entries(where, findings)
    entries.add_images(images)
    entries.add_annotations(annotations)
    entries.find_images_without_annotation()
    pairs = [(entries.images[image_id], annotation) for image_id, annotation in entries.annotations.items()]
    image_folder = first_folder_with_files(files.image_folders, [image.file_name for image, _ in pairs])
    png_folder = first_folder_with_files(files.png_folders, [annotation.png_file for _, annotation in pairs])
    tasks = [
        ImageTask(
            index,
            image.file_name,
            image_folder / image.file_name,
            png_folder / annotation.png_file,
            image.size,
            annotation.segments_info,
        )
        for index, (image, annotation) in enumerate(pairs)
    ]
    positions = [annotation.position for _, annotation in pairs]
    return SplitEntries(
        files, content, table, tasks, positions, len(images), image_folder, png_folder, _named_pngs(annotations)
    )


def _readable_id(entry: Any, key: str) -> ImageId | None:
    try:
        return image_id_field(entry, key, "")
    except SeamsegError:
        return None


def _named_pngs(annotations: list[Any]) -> frozenset[str] | None:
    try:
        return frozenset(file_field(entry, "file_name", "") for entry in annotations)
    except SeamsegError:
        return None


def first_folder_with_files(candidates: tuple[Path, ...], names: list[str]) -> Path:
    """Return the first candidate that contains any of the named files, or else the first candidate."""
    holding = (folder for folder in candidates if any((folder / name).is_file() for name in names))
    return next(holding, candidates[0])
