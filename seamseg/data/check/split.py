"""The entries of a panoptic JSON file, read so that one fault does not hide the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamseg.data.check.findings import Findings
from seamseg.data.coco_index import ClassTable
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
    """

    files: SplitFiles
    content: dict[str, Any]
    table: ClassTable
    tasks: list[ImageTask]
    positions: list[int]
    num_images: int
    image_folder: Path
    png_folder: Path

    @property
    def categories(self) -> Categories:
        return self.table.categories


@dataclass(frozen=True)
class _Image:
    name: str
    size: Size


def read_entries(files: SplitFiles, findings: Findings) -> SplitEntries:
    """Reads a JSON file; faults of single entries go to the findings.

    Raises:
        ValueError: it cannot be read at all, or its categories are wrong.
    """
    where = files.json_file.name
    content = load_object(files.json_file)
    image_entries = field(content, "images", list, where)
    annotations = field(content, "annotations", list, where)
    table = files.read_table(field(content, "categories", list, where), files.json_file)
    images = _images(image_entries, where, findings)
    found: dict[ImageId, tuple[int, str, list[Any]]] = {}
    for position, entry in enumerate(annotations):
        _take_annotation(position, entry, images, found, where, findings)
    for image_id in images.keys() - found.keys():
        findings.add("image-without-annotation", f"{where}: {images[image_id].name}")
    image_folder = _folder(files.image_folders, [images[image_id].name for image_id in found])
    png_folder = _folder(files.png_folders, [png for _, png, _ in found.values()])
    tasks = [
        ImageTask(index, image.name, image_folder / image.name, png_folder / png, image.size, segments)
        for index, (image, png, segments) in enumerate(
            (images[image_id], png, segments) for image_id, (_, png, segments) in found.items()
        )
    ]
    positions = [position for position, _, _ in found.values()]
    return SplitEntries(files, content, table, tasks, positions, len(image_entries), image_folder, png_folder)


def _images(entries: list[Any], where: str, findings: Findings) -> dict[ImageId, _Image]:
    images: dict[ImageId, _Image] = {}
    names: set[str] = set()
    for position, entry in enumerate(entries):
        try:
            image_id, image = _image(entry, f"{where}, image {position}")
        except ValueError as error:
            findings.add("malformed-entry", str(error))
            continue
        if image_id in images or image.name in names:
            findings.add("duplicate-image", f"{where}: the id {image_id} or the file {image.name}")
        images.setdefault(image_id, image)
        names.add(image.name)
    return images


def _image(entry: Any, where: str) -> tuple[ImageId, _Image]:
    size = field(entry, "height", int, where), field(entry, "width", int, where)
    if min(size) < 1:
        raise ValueError(f"{where}: a size of {size[0]}×{size[1]} (height×width) is impossible")
    return image_id_field(entry, "id", where), _Image(file_field(entry, "file_name", where), size)


def _take_annotation(
    position: int,
    entry: Any,
    images: dict[ImageId, _Image],
    found: dict[ImageId, tuple[int, str, list[Any]]],
    where: str,
    findings: Findings,
) -> None:
    try:
        here = f"{where}, annotation {position}"
        image_id, png = image_id_field(entry, "image_id", here), file_field(entry, "file_name", here)
        segments = field(entry, "segments_info", list, here)
    except ValueError as error:
        findings.add("malformed-entry", str(error))
        return
    if image_id not in images:
        findings.add("annotation-without-image", f"{here}: image {image_id}")
    elif image_id in found:
        findings.add("duplicate-annotation", f"{here}: image {image_id}, {images[image_id].name}")
    else:
        found[image_id] = position, png, segments


def _folder(candidates: tuple[Path, ...], names: list[str]) -> Path:
    """The first that holds one of the named files; the likeliest, if none does."""
    holding = (folder for folder in candidates if any((folder / name).is_file() for name in names))
    return next(holding, candidates[0])
