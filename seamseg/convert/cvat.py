"""Reader of CVAT's exports in the formats COCO 1.0 and Segmentation mask 1.1, unpacked or as a zip archive."""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.convert.coco_export import read_coco_export
from seamseg.convert.drawn import ImageFinder
from seamseg.convert.drawn_job import (
    MISSING,
    UNLABELED_IMAGE,
    DrawnOptions,
    check_missing,
    drawn_jobs,
    left_out_remarks,
    read_label_classes,
)
from seamseg.convert.job import Job
from seamseg.convert.masks import LabeledImage, divide_images, paths_by_stem, segments_of_maps
from seamseg.convert.panoptic_target import PanopticTarget
from seamseg.data.formats.mask_classes import MaskClasses
from seamseg.data.images import decode_file, find_images
from seamseg.data.input_folder import IMAGE_SUFFIXES, relative_name
from seamseg.data.json_fields import checked_file_name, short_text
from seamseg.data.png import UNLABELED
from seamseg.errors import BrokenImageError, DataError, SeamsegError, SettingsError
from seamseg.io.files import atomic_directory
from seamseg.io.journal import ItemOutput
from seamseg.structures import VOID

_LABEL_MAP, _CLASSES, _OBJECTS, _LISTS = "labelmap.txt", "SegmentationClass", "SegmentationObject", "ImageSets"
_ANNOTATIONS = "annotations"
_INSTANCES = f"{_ANNOTATIONS}/instances_*.json"
_DEFAULT = "default"
"""Name of the subset of images that belong to none."""

_LABEL_LINE = re.compile(r"(?P<name>.+?):(?P<color>\d+,\d+,\d+):[^:]*:[^:]*")
_BACKGROUND = "background"
_OPAQUE = 128
_DAMAGE = (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError)
_READ_SUFFIXES = IMAGE_SUFFIXES | {".json", ".txt", ".xml"}


def cvat_jobs(
    source: Path, image_folder: Path | None, options: DrawnOptions, *, keep_crowd: bool = False
) -> list[Job[Any]]:
    """Create the jobs that convert an export, one per subset.

    A single subset, and the subset ``default``, become ``options.split``.

    Args:
        source: Folder, zip archive or COCO file. An archive is unpacked to ``OUT/unpacked``, where the links to its
            images point.
        image_folder: Folder of the images; None for those in the export.
        options: Options of the conversion.
        keep_crowd: Whether annotations that are marked as ``iscrowd`` cover many objects; see :func:`read_coco_export`.

    Raises:
        SeamsegError: The export has neither format, or is inconsistent.
        OSError: A file cannot be read or written.
    """
    if source.suffix.lower() == ".json":
        folder, files = source.absolute().parent, [source]
        if folder.name == _ANNOTATIONS:  # of an unpacked export
            folder = folder.parent
    else:
        folder = source if source.is_dir() else unpack_archive(source, options.out / "unpacked")
        files = sorted(folder.glob(_INSTANCES))
    if files:
        images = image_folder or folder / "images"
        exports = {}
        for split, file in _by_split(files, options).items():
            finder = ImageFinder(images / _subset(file), images)
            exports[split] = read_coco_export(file, finder, "cvat", keep_crowd=keep_crowd)
        return drawn_jobs(exports, options)
    if (folder / _CLASSES).is_dir() and (folder / _OBJECTS).is_dir():
        return _mask_jobs(folder, image_folder or folder / "JPEGImages", options)
    raise DataError(
        f"{source} has neither {_INSTANCES} nor the folders {_CLASSES} and {_OBJECTS}; export the task in the format "
        "`COCO 1.0` or `Segmentation mask 1.1`"
    )


def _subset(file: Path) -> str:
    return file.stem.removeprefix("instances_")


def _by_split(files: Sequence[Path], options: DrawnOptions) -> dict[str, Path]:
    """Return the file of each split; images that belong to no subset are in the split of the options."""
    splits = [options.split if len(files) == 1 or _subset(file) == _DEFAULT else _subset(file) for file in files]
    if len(set(splits)) < len(files):
        raise SettingsError(f"the export already has a subset {options.split}; choose another name with --split")
    return dict(zip(splits, files, strict=True))


def unpack_archive(path: Path, folder: Path) -> Path:
    """Unpack the images, lists and annotations of a zip archive into a subfolder, unless it exists.

    Args:
        path: Path of the archive.
        folder: Folder of the subfolder, whose name tells the content of the archive.

    Returns:
        Path of the subfolder, which appears complete or not at all.

    Raises:
        SeamsegError: It is not an archive, it is damaged or encrypted, or the path of a file leads out of it.
        OSError: The archive does not exist, or a file cannot be written.
    """
    path.stat()  # names the file if it does not exist
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            for member in members:
                checked_file_name(member.filename, f"{path}: the name of a file")
            wanted = [member for member in members if Path(member.filename).suffix.lower() in _READ_SUFFIXES]
            _check_members(wanted, path, folder)
            content = repr([(member.filename, member.CRC, member.file_size) for member in wanted])
            target = folder / f"{path.stem}-{zlib.crc32(content.encode('utf-8', 'surrogatepass')):08x}"
            if not target.is_dir():
                atomic_directory(target, partial(_unpack, archive, wanted), None)
            return target
    except _DAMAGE as error:
        damage = "it is truncated, damaged or not a zip archive"
        raise DataError(f"{path} cannot be unpacked ({error}); {damage}") from error


def _check_members(members: list[zipfile.ZipInfo], path: Path, folder: Path) -> None:
    size = sum(member.file_size for member in members)
    existing = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if size > (free := shutil.disk_usage(existing).free):
        raise DataError(f"{path} unpacks to {size >> 20:,} MiB, but only {free >> 20:,} MiB are free")
    for member in members:
        if member.flag_bits & 1 or stat.S_ISLNK(member.external_attr >> 16):
            kind = "encrypted" if member.flag_bits & 1 else "a link"
            raise DataError(f"{path}: {member.filename} is {kind}; unpack the archive and pass the folder")


def _unpack(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path) -> None:
    for member in members:
        target = folder / member.filename.replace("\\", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as packed, target.open("wb") as unpacked:  # never more bytes than stated
            shutil.copyfileobj(packed, unpacked)


@dataclass(frozen=True)
class _Maps:
    """Meaning of the pixels in class maps.

    Attributes:
        classes: Classes by color, as ``red + 256 green + 65536 blue``.
        colors: Colors of the labels in the order of the label map, which gray maps count in.
    """

    classes: MaskClasses
    colors: tuple[int, ...]


def _mask_jobs(folder: Path, image_folder: Path, options: DrawnOptions) -> list[Job[Any]]:
    """Create the jobs for class maps and object maps, one per list of images."""
    maps = _read_maps(folder, options)
    subsets = _subsets(folder, options)
    if options.val_every is not None and len(subsets) > 1:
        raise SettingsError(f"{folder} is already divided into splits; leave out --val-every")
    if not image_folder.is_dir():
        raise DataError(f"{folder} was exported without images; pass their folder with --image-folder")
    images = paths_by_stem(image_folder, find_images(image_folder).paths)
    jobs = []
    for subset, listed in subsets.items():
        stems = [stem for stem in listed if (folder / _CLASSES / f"{stem}.png").is_file()]
        missing = [stem for stem in stems if stem not in images]
        check_missing(missing, len(stems), folder, options.skip_missing)
        remarks = left_out_remarks(folder, Counter({UNLABELED_IMAGE: len(listed) - len(stems), MISSING: len(missing)}))
        labeled = [
            LabeledImage(
                number,
                relative_name(images[stem], image_folder),
                images[stem],
                folder / _CLASSES / f"{stem}.png",
                folder / _OBJECTS / f"{stem}.png",
            )
            for number, stem in enumerate((stem for stem in stems if stem in images), start=1)
        ]
        if not labeled:
            raise DataError(f"{folder} contains no image with a labeled area for the split {subset}")
        divided = divide_images(labeled, options.val_every, subset)
        jobs += [
            _mask_job(split, images_of_split, maps, options, remarks) for split, images_of_split in divided.items()
        ]
    return jobs


def _mask_job(
    split: str, images: list[LabeledImage], maps: _Maps, options: DrawnOptions, remarks: tuple[str, ...]
) -> Job[Any]:
    target = PanopticTarget(options.out, split, options.placement)
    return Job(
        title=split,
        description="from class maps and object maps of CVAT",
        result=target.json_file,
        head={"categories": maps.classes.categories.to_list()},
        items=images,
        convert=partial(_convert_maps, target, maps),
        options={"placement": options.placement, "values": sorted(maps.classes.class_of_value.items())},
        remarks=remarks,
    )


def _read_maps(folder: Path, options: DrawnOptions) -> _Maps:
    path = folder / _LABEL_MAP
    colors = _read_label_map(path)
    classes = read_label_classes(options.classes, [name for name in colors if name != _BACKGROUND], folder)
    class_of_label = {_BACKGROUND: VOID} | dict(classes.class_of_label)
    class_of_color: dict[int, int] = {}
    for name, color in colors.items():
        if class_of_color.setdefault(color, class_of_label[name]) != class_of_label[name]:
            raise DataError(f"{path}: {name} has the color of another label; give each label its own color in CVAT")
    remedy = f"check that {_LABEL_MAP} belongs to this export"
    return _Maps(MaskClasses(classes.categories, class_of_color, colored=True, remedy=remedy), tuple(colors.values()))


def _read_label_map(path: Path) -> dict[str, int]:
    """Read the color of each label, as ``red + 256 green + 65536 blue``, in the order of the file."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a UTF-8 text file") from error
    colors: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LABEL_LINE.fullmatch(line.rstrip("\r"))
        parts = [int(part) for part in match["color"].split(",")] if match else [256]
        if match is None or max(parts) > 255:
            raise DataError(f"{path}, line {number}: expected `label:red,green,blue::`, found {short_text(line)}")
        colors[match["name"]] = parts[0] + 256 * parts[1] + 65536 * parts[2]
    return colors


def _subsets(folder: Path, options: DrawnOptions) -> dict[str, list[str]]:
    """Return the names of the images without suffix, sorted, by split."""
    lists = sorted((folder / _LISTS / "Segmentation").glob("*.txt"))
    if not lists:
        found = (path.relative_to(folder / _CLASSES) for path in (folder / _CLASSES).rglob("*.png"))
        return {options.split: sorted(path.with_suffix("").as_posix() for path in found)}
    subsets = {}
    for split, path in _by_split(lists, options).items():
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not a UTF-8 text file") from error
        stems = {checked_file_name(name, str(path)).replace("\\", "/") for name in names if name}
        subsets[split] = sorted(stems)
    return subsets


def _convert_maps(target: PanopticTarget, maps: _Maps, image: LabeledImage) -> ItemOutput:
    class_map = _colors(image.class_map, np.array(maps.colors))
    objects = _colors(image.instance_map, np.arange(256))
    if class_map.shape != objects.shape:
        raise DataError(f"the sizes of {image.class_map} and {image.instance_map} differ")
    try:
        segmentation = segments_of_maps(class_map, objects, maps.classes)
    except SeamsegError as error:
        raise DataError(f"{image.class_map}: {error}") from error
    categories = maps.classes.categories
    return target.write(image.image_id, image.image_path, image.image_file, image.class_map, segmentation, categories)


def _colors(path: Path, color_of_gray: NDArray[np.int64]) -> NDArray[np.int32]:
    """Read a map as H×W colors, ``red + 256 green + 65536 blue``.

    Args:
        path: Path of the map, whose pixels are colors or, if it is gray, numbers.
        color_of_gray: Color of each number.

    Raises:
        SeamsegError: The file is missing, damaged, of another kind, or contains other numbers.
    """
    pixels = decode_file(path, cv2.IMREAD_UNCHANGED)
    if pixels.dtype == np.uint8 and pixels.ndim == 2:
        if pixels.max() >= len(color_of_gray):
            raise DataError(f"{path} contains the number {pixels.max()}, but there are {len(color_of_gray)} labels")
        return np.asarray(color_of_gray[pixels], np.int32)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise BrokenImageError(path, "is neither an 8-bit gray image nor an 8-bit color image")
    blue, green, red = (pixels[..., channel].astype(np.int32) for channel in range(3))
    colors: NDArray[np.int32] = red + 256 * green + 65536 * blue
    return colors if pixels.shape[2] == 3 else np.where(pixels[..., 3] < _OPAQUE, np.int32(UNLABELED), colors)
