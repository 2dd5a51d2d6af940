"""The entries of a panoptic JSON file, read so that one fault does not hide the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

from seamseg.check.findings import Findings
from seamseg.data.formats.coco_json import ClassTable
from seamseg.data.json_fields import field, file_field, image_id_field, load_object
from seamseg.structures import Categories, ImageId, Size

TableReader = Callable[[list[Any], Path], ClassTable]
"""Makes the table of classes from a file's ``categories`` and its path."""


@dataclass(frozen=True)
class SplitFiles:
    """Where the parts of a split lie.

    Attributes:
        name: of the split.
        json_file: panoptic JSON.
        image_folders, png_folders: where photographs and PNGs may lie, the likeliest first.
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
        name: of its photograph, as the JSON file says.
        photograph, png: files.
        size: height and width as the JSON file says.
        segments: ``segments_info`` as it stands there.
    """

    index: int
    name: str
    photograph: Path
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
        image_folder, png_folder: where photographs and PNGs lie.
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


@dataclass(frozen=True)
class _Image:
    name: str
    size: Size


@dataclass
class _Entries:
    """What is read of a file so far, and which ids belong to faulty entries: what follows from those is no other fault.

    Attributes:
        where: Name of the file.
        findings: Faults of its entries.
        images: Sound entries under ``images``.
        found: Position, PNG and segments of the annotation of each image.
        faulty_images, faulty_annotations: Ids of the images that faulty entries describe; None for an id that cannot be
            read.
    """

    where: str
    findings: Findings
    images: dict[ImageId, _Image] = dataclass_field(default_factory=dict)
    found: dict[ImageId, tuple[int, str, list[Any]]] = dataclass_field(default_factory=dict)
    faulty_images: set[ImageId | None] = dataclass_field(default_factory=set)
    faulty_annotations: set[ImageId | None] = dataclass_field(default_factory=set)

    def take_image(self, position: int, entry: Any, names: set[str]) -> None:
        here = f"{self.where}, image {position}"
        try:
            image_id, image = _image(entry, here)
        except ValueError as error:
            self._malformed(error, here)
            self.faulty_images.add(_readable_id(entry, "id"))
            return
        if image_id in self.images or image.name in names:
            self.findings.add("duplicate-image", f"{self.where}: the id {image_id} or the file {image.name}")
        self.images.setdefault(image_id, image)
        names.add(image.name)

    def take_annotation(self, position: int, entry: Any) -> None:
        here = f"{self.where}, annotation {position}"
        try:
            image_id, png = image_id_field(entry, "image_id", here), file_field(entry, "file_name", here)
            segments = field(entry, "segments_info", list, here)
        except ValueError as error:
            self._malformed(error, here)
            self.faulty_annotations.add(_readable_id(entry, "image_id"))
            return
        if image_id not in self.images:
            if not {image_id, None} & self.faulty_images:
                self.findings.add("annotation-without-image", f"{here}: image {image_id}")
        elif image_id in self.found:
            self.findings.add("duplicate-annotation", f"{here}: image {image_id}, {self.images[image_id].name}")
        else:
            self.found[image_id] = position, png, segments

    def find_images_without_annotation(self) -> None:
        if None not in self.faulty_annotations:
            for image_id in self.images.keys() - self.found.keys() - self.faulty_annotations:
                self.findings.add("image-without-annotation", f"{self.where}: {self.images[image_id].name}")

    def _malformed(self, error: ValueError, here: str) -> None:
        self.findings.add_cause("malformed-entry", str(error).removeprefix(f"{here}: "), here)


def read_entries(files: SplitFiles, findings: Findings) -> SplitEntries:
    """Reads a JSON file; faults of single entries go to the findings.

    Raises:
        ValueError: it cannot be read at all, its categories are wrong, or it holds no annotations.
    """
    where = files.json_file.name
    content = load_object(files.json_file)
    image_entries = field(content, "images", list, where)
    annotations = field(content, "annotations", list, where)
    table = files.read_table(field(content, "categories", list, where), files.json_file)
    if not annotations:
        raise ValueError(f"{where} holds no annotations")
    entries, names = _Entries(where, findings), set[str]()
    for position, entry in enumerate(image_entries):
        entries.take_image(position, entry, names)
    for position, entry in enumerate(annotations):
        entries.take_annotation(position, entry)
    entries.find_images_without_annotation()
    images, found = entries.images, entries.found
    image_folder = _folder(files.image_folders, [images[image_id].name for image_id in found])
    png_folder = _folder(files.png_folders, [png for _, png, _ in found.values()])
    tasks = [
        ImageTask(index, image.name, image_folder / image.name, png_folder / png, image.size, segments)
        for index, (image, png, segments) in enumerate(
            (images[image_id], png, segments) for image_id, (_, png, segments) in found.items()
        )
    ]
    positions = [position for position, _, _ in found.values()]
    return SplitEntries(
        files, content, table, tasks, positions, len(image_entries), image_folder, png_folder, _named_pngs(annotations)
    )


def _image(entry: Any, where: str) -> tuple[ImageId, _Image]:
    size = field(entry, "height", int, where), field(entry, "width", int, where)
    if min(size) < 1:
        raise ValueError(f"{where}: a size of {size[0]}×{size[1]} (height×width) is impossible")
    return image_id_field(entry, "id", where), _Image(file_field(entry, "file_name", where), size)


def _readable_id(entry: Any, key: str) -> ImageId | None:
    try:
        return image_id_field(entry, key, "")
    except ValueError:
        return None


def _named_pngs(annotations: list[Any]) -> frozenset[str] | None:
    try:
        return frozenset(file_field(entry, "file_name", "") for entry in annotations)
    except ValueError:
        return None


def _folder(candidates: tuple[Path, ...], names: list[str]) -> Path:
    """The first that holds one of the named files; the likeliest, if none does."""
    holding = (folder for folder in candidates if any((folder / name).is_file() for name in names))
    return next(holding, candidates[0])
