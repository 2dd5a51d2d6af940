"""The entries of a panoptic JSON file, read so that one fault does not hide the next."""

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
"""Makes the table of classes from a file's ``categories`` and its path."""


@dataclass(frozen=True)
class SplitFiles:
    """Where the parts of a split lie.

    Attributes:
        name: of the split.
        json_file: panoptic JSON.
        image_folders, png_folders: where images and PNGs may lie, the likeliest first.
        read_table: what its category ids mean.
    """

    name: str
    json_file: Path
    image_folders: tuple[Path, ...]
    png_folders: tuple[Path, ...]
    read_table: TableReader


@dataclass(frozen=True)
class ImageTask:
    """One image to look at.

    Attributes:
        index: among the images of the split.
        name: of its image, as the JSON file says.
        image, png: files.
        size: height and width as the JSON file says.
        segments: ``segments_info`` as it stands there.
    """

    index: int
    name: str
    image_path: Path
    png: Path
    size: Size
    segments: list[Any]


@dataclass(frozen=True)
class SplitEntries:
    """A JSON file.

    Attributes:
        files: where it lies.
        content: as parsed.
        table: its classes.
        tasks: the images that have one annotation, in the order of the annotations.
        positions: of their annotations in the file.
        num_images: entries under ``images``.
        image_folder, png_folder: where images and PNGs lie.
        named_pngs: Names of all PNGs that annotations name, faulty annotations included; None if the name of one cannot
            be read.
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
        return self.table.categories


@dataclass
class _Entries:
    """What is read of a file so far, and which ids belong to faulty entries: what follows from those is no other fault.

    Attributes:
        where: Name of the file.
        findings: Faults of its entries.
        images: Sound entries under ``images``.
        found: The annotation of each image.
        faulty_images, faulty_annotations: Ids of the images that faulty entries describe; None for an id that cannot be
            read.
    """

    where: str
    findings: Findings
    images: dict[ImageId, ImageEntry] = dataclass_field(default_factory=dict)
    found: dict[ImageId, AnnotationEntry] = dataclass_field(default_factory=dict)
    faulty_images: set[ImageId | None] = dataclass_field(default_factory=set)
    faulty_annotations: set[ImageId | None] = dataclass_field(default_factory=set)

    def take_images(self, entries: list[Any]) -> None:
        names = set[str]()
        for image in image_entries(entries, self.where, self._faulty_image):
            if image.image_id in self.images or image.file_name in names:
                example = f"{self.where}: the id {image.image_id} or the file {image.file_name}"
                self.findings.add("duplicate-image", example)
            self.images.setdefault(image.image_id, image)
            names.add(image.file_name)

    def take_annotations(self, entries: list[Any]) -> None:
        for annotation in annotation_entries(entries, self.where, self._faulty_annotation):
            image_id = annotation.image_id
            here = f"{self.where}, annotation {annotation.position}: image {image_id}"
            if image_id not in self.images:
                if not {image_id, None} & self.faulty_images:
                    self.findings.add("annotation-without-image", here)
            elif image_id in self.found:
                self.findings.add("duplicate-annotation", f"{here}, {self.images[image_id].file_name}")
            else:
                self.found[image_id] = annotation

    def find_images_without_annotation(self) -> None:
        if None not in self.faulty_annotations:
            for image_id in self.images.keys() - self.found.keys() - self.faulty_annotations:
                self.findings.add("image-without-annotation", f"{self.where}: {self.images[image_id].file_name}")

    def _faulty_image(self, fault: Fault) -> None:
        self.findings.add_cause(fault.kind, fault.problem, f"{self.where}, image {fault.position}")
        self.faulty_images.add(_readable_id(fault.entry, "id"))

    def _faulty_annotation(self, fault: Fault) -> None:
        self.findings.add_cause(fault.kind, fault.problem, f"{self.where}, annotation {fault.position}")
        self.faulty_annotations.add(_readable_id(fault.entry, "image_id"))


def read_entries(files: SplitFiles, findings: Findings) -> SplitEntries:
    """Reads a JSON file; faults of single entries go to the findings.

    Raises:
        SeamsegError: it cannot be read at all, its categories are wrong, or it holds no annotations.
    """
    where = files.json_file.name
    content = load_object(files.json_file)
    images = field(content, "images", list, where)
    annotations = field(content, "annotations", list, where)
    table = files.read_table(field(content, "categories", list, where), files.json_file)
    if not annotations:
        raise DataError(f"{where} holds no annotations")
    entries = _Entries(where, findings)
    entries.take_images(images)
    entries.take_annotations(annotations)
    entries.find_images_without_annotation()
    pairs = [(entries.images[image_id], annotation) for image_id, annotation in entries.found.items()]
    image_folder = _folder(files.image_folders, [image.file_name for image, _ in pairs])
    png_folder = _folder(files.png_folders, [annotation.png_file for _, annotation in pairs])
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


def _folder(candidates: tuple[Path, ...], names: list[str]) -> Path:
    """The first that holds one of the named files; the likeliest, if none does."""
    holding = (folder for folder in candidates if any((folder / name).is_file() for name in names))
    return next(holding, candidates[0])
