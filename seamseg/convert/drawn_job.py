"""Conversion of shapes drawn in a labeling tool to COCO panoptic."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pycocotools import mask as run_lengths

from seamseg.convert.detection import ObjectMask, segments_of_masks, smaller_in_front
from seamseg.convert.detection_source import SKIP_HINT, WITHOUT_OUTLINE_HINT
from seamseg.convert.drawn import DrawnExport, DrawnImage, DrawnShape
from seamseg.convert.job import Job
from seamseg.convert.masks import divide_images
from seamseg.convert.panoptic_target import PanopticTarget, Placement
from seamseg.convert.remap import read_class_lists
from seamseg.data.formats.outlines import OutlineError, WithoutOutline, box_polygon, read_outline
from seamseg.data.image_header import JPEG
from seamseg.data.image_size import image_size, size_beside
from seamseg.data.images import check_size, has_exif_orientation, read_bytes, read_image, size_text
from seamseg.data.input_folder import unique_stems
from seamseg.data.json_fields import short_text
from seamseg.errors import BrokenImageError, DataError, SeamsegError, SettingsError
from seamseg.io.journal import ItemOutput
from seamseg.structures import VOID, Categories, Category, Size
from seamseg.structures.categories import palette_color

Front = Literal["later", "smaller"]
"""Which of two overlapping shapes is in front: the one drawn later, or the smaller one, with objects before stuff."""

MISSING, UNLABELED_IMAGE = "image(s) that were not found", "image(s) without a labeled area"
_NUM_EXAMPLES = 5


@dataclass(frozen=True)
class DrawnOptions:
    """Options of a conversion.

    Attributes:
        out: Folder of the data set to write.
        classes: YAML file that lists the labels of each class (:func:`read_label_classes`); None to report the labels.
        split: Name of the split.
        val_every: Every how many images one goes to the split val; None for none.
        placement: Whether images are linked or copied.
        front: Which of two overlapping shapes is in front.
        without_outline: Treatment of shapes with a missing or invalid outline.
        skip_missing: Whether images that are not found are left out instead of reported.
    """

    out: Path
    classes: Path | None
    split: str = "train"
    val_every: int | None = None
    placement: Placement = "link"
    front: Front = "later"
    without_outline: WithoutOutline = "error"
    skip_missing: bool = False


class LabelClasses(NamedTuple):
    """Classes, and the class of each label; 255 for labels whose pixels become void."""

    categories: Categories
    class_of_label: Mapping[str, int]


class _Item(NamedTuple):
    """An image as an item of a job."""

    image: DrawnImage
    image_id: int
    png_file: str

    @property
    def name(self) -> str:
        return self.image.name

    @property
    def sources(self) -> tuple[Path, Path]:
        return self.image.image_path, self.image.annotation


def drawn_jobs(exports: Mapping[str, DrawnExport], options: DrawnOptions) -> list[Job[Any]]:
    """Create the jobs that convert an export, one per split.

    Images without shapes are left out, because nobody labeled them.

    Args:
        exports: Content of the export, by split.
        options: Options of the conversion.

    Raises:
        SeamsegError: Labels are not listed in the class file, images are missing or listed twice, or a split is empty.
    """
    labels = {shape.label: None for export in exports.values() for image in export.images for shape in image.shapes}
    source = next(iter(exports.values())).source
    classes = read_label_classes(options.classes, labels, source)
    if options.val_every is not None and len(exports) > 1:
        raise SettingsError(f"{source} is already divided into splits; leave out --val-every")
    jobs = []
    for split, export in exports.items():
        num_images = len(export.images) + len(export.missing)
        check_missing(export.missing, num_images, export.source, options.skip_missing)
        _check_unique(export)
        remarks = _remarks(export, classes, labels)
        labeled = sorted((image for image in export.images if image.shapes), key=lambda image: image.name)
        if not labeled:
            raise DataError(f"{export.source} contains no image with a labeled area")
        divided = divide_images(labeled, options.val_every, split)
        jobs += [_job(name, images, classes, options, remarks) for name, images in divided.items()]
    return jobs


def read_label_classes(path: Path | None, labels: Iterable[str], source: Path) -> LabelClasses:
    """Read the YAML file that says which labels each class consists of.

    The file looks like this::

        stuff: [road, sky]           # classes named like the labels
        things:
          vehicle: [car, truck]      # several labels become one class
          person: Pedestrian         # another name
        void: [ignore]               # these pixels get no class

    Args:
        path: Path of the file; None to raise an error that names the labels.
        labels: Labels in the export.
        source: Path of the export, for error messages.

    Raises:
        SeamsegError: The file is malformed, or lacks a label.
        OSError: The file cannot be read.
    """
    if path is None:
        raise SettingsError(
            f"pass --classes FILE, a YAML file with the lists `stuff`, `things` and `void`; {source} has the labels "
            f"{_listed(labels) or 'none'}"
        )
    listed, dropped = read_class_lists(path)
    class_of_label = dict.fromkeys(dropped, VOID)
    for number, one in enumerate(listed):
        for label in one.sources:
            if label in class_of_label:
                raise SettingsError(f"{path}, {one.name}: {label} is listed twice; each label can have only one class")
            class_of_label[label] = number
    if unlisted := [label for label in labels if label not in class_of_label]:
        raise SettingsError(
            f"{path} does not list {_listed(unlisted)}, which {source} uses; add them to a class, or to `void` to "
            "leave these pixels without a class"
        )
    rows = enumerate(listed)
    try:
        classes = Categories(tuple(Category(one.name, one.is_thing, palette_color(i), i + 1) for i, one in rows))
    except SeamsegError as error:
        raise SettingsError(f"{path}: {error}") from error
    if not classes.classes:
        raise SettingsError(f"{path} lists no classes under `stuff` or `things`; add at least one")
    return LabelClasses(classes, class_of_label)


def _listed(names: Iterable[str]) -> str:
    """Return names from a file in one line; they may contain anything."""
    return ", ".join(map(short_text, names))


def check_missing(missing: Sequence[str], num_images: int, source: Path, skip_missing: bool) -> None:
    """Raise an error if images are missing.

    Args:
        missing: Names of the missing images.
        num_images: Number of all images.
        source: Path of the export.
        skip_missing: Whether missing images are fine.
    """
    if missing and not skip_missing:
        raise DataError(
            f"{len(missing)} of {num_images} images of {source} were not found, such as "
            f"{_listed(missing[:_NUM_EXAMPLES])}; pass their folder with --image-folder, or --skip-missing to leave "
            "them out"
        )


def left_out_remarks(source: Path, counts: Counter[str]) -> tuple[str, ...]:
    """Return a sentence on what is left out of an export, by kind; none if nothing is."""
    parts = [f"{number:,} {kind}" for kind, number in counts.items() if number]
    return (f"left out of {source}: {', '.join(parts)}",) if parts else ()


def _check_unique(export: DrawnExport) -> None:
    known: dict[str, DrawnImage] = {}
    for image in export.images:
        other = known.setdefault(image.name, image)
        if other is not image:
            raise DataError(
                f"{image.annotation} labels the image {image.name} a second time (first in {other.annotation}); remove "
                "one of the two"
            )


def _remarks(export: DrawnExport, classes: LabelClasses, labels: Iterable[str]) -> tuple[str, ...]:
    empty = sum(not image.shapes for image in export.images)
    counts = export.left_out + Counter({UNLABELED_IMAGE: empty, MISSING: len(export.missing)})
    unused = sorted(set(classes.class_of_label) - set(labels))
    sentence = f"labels in the class file that {export.source} does not use: {_listed(unused)}"
    return (*left_out_remarks(export.source, counts), *([sentence] if unused else []))


def _job(
    split: str, images: list[DrawnImage], classes: LabelClasses, options: DrawnOptions, remarks: tuple[str, ...]
) -> Job[Any]:
    target = PanopticTarget(options.out, split, options.placement)
    rows = zip(images, unique_stems(image.name for image in images), strict=True)
    digest = hashlib.sha256(repr([(image.size, image.shapes) for image in images]).encode("utf-8", "surrogatepass"))
    return Job(
        title=split,
        description="from shapes drawn in a labeling tool",
        result=target.json_file,
        head={"categories": classes.categories.to_list()},
        items=[_Item(image, number, f"{stem}.png") for number, (image, stem) in enumerate(rows, start=1)],
        convert=_Conversion(target, classes, options.front, options.without_outline),
        options={
            "placement": options.placement,
            "labels": sorted(classes.class_of_label.items()),
            "front": options.front,
            "without_outline": options.without_outline,
            "shapes": digest.hexdigest(),
        },
        remarks=remarks,
    )


@dataclass(frozen=True)
class _Conversion:
    """Converter of single images; holds what all images of a split share."""

    target: PanopticTarget
    classes: LabelClasses
    front: Front
    without_outline: WithoutOutline

    def __call__(self, item: _Item) -> ItemOutput:
        image, categories = item.image, self.classes.categories
        if image.unpack is not None:
            image.unpack(image)
        size = _checked_size(image)
        masks, counts = self._masks(image.shapes, size)
        if self.front == "smaller":
            masks = smaller_in_front(masks, categories)
        segmentation, num_hidden = segments_of_masks(masks, size, categories)
        written = self.target.write(
            item.image_id,
            image.image_path,
            image.name,
            image.annotation,
            segmentation,
            categories,
            num_hidden=num_hidden,
            png_file=item.png_file,
        )
        return replace(written, num_replaced=counts["replaced"], num_crossing=counts["crossing"])

    def _masks(self, shapes: Iterable[DrawnShape], size: Size) -> tuple[list[ObjectMask], Counter[str]]:
        """Return the masks from back to front, and the numbers of replaced outlines and of polygons with crossings.

        The parts of a group are one mask, which is as far in front as its last part.
        """
        parts: dict[Any, list[dict[str, Any]]] = {}
        shape_of: dict[Any, DrawnShape] = {}
        counts = Counter[str]()
        for position, shape in enumerate(shapes):
            pixels = self._pixels(shape, size, counts)
            if pixels is not None:
                key = position if shape.group is None else (shape.label, shape.group)
                shape_of[key] = shape
                parts[key] = [*parts.pop(key, []), pixels]
        masks = []
        for key, of_object in parts.items():
            merged = run_lengths.merge(of_object) if len(of_object) > 1 else of_object[0]
            masks.append(ObjectMask(self.classes.class_of_label[shape_of[key].label], shape_of[key].crowd, merged))
        return masks, counts

    def _pixels(self, shape: DrawnShape, size: Size, counts: Counter[str]) -> dict[str, Any] | None:
        """Return the run lengths of a shape, or None to leave it out."""
        try:
            pixels = shape.counts(size)
            counts["crossing"] += shape.num_crossing()
        except OutlineError as error:
            if self.without_outline == "error":
                hint = SKIP_HINT if shape.box is None else WITHOUT_OUTLINE_HINT
                raise DataError(f"{error}; {hint}") from error
            counts["replaced"] += 1
            if self.without_outline == "skip":
                return None
            return read_outline([box_polygon(shape.box, size, shape.where)], size, shape.where)
        if not run_lengths.area(pixels):
            counts["replaced"] += 1
            return None
        return pixels


def _checked_size(image: DrawnImage) -> Size:
    """Return the size of an image, which must be the one that the annotation states.

    Most labeling tools turn images by their EXIF orientation. Where that changes the size, the data set has both sizes
    and works; where it does not, as for images that are upside down, the labels would fit the turned image only.
    """
    path, size = image.image_path, image.size
    if size is None:
        height, width = read_image(path, "upright").shape[:2]
        size = height, width
    check_size(path, size_beside(path, size), size, f"{image.annotation} states {size_text(size)}")
    if image.upright and image_size(path) == size and _is_turned(path):
        raise DataError(
            f"{path} has an EXIF orientation, which the labeling tool follows but data sets do not; save the image "
            "upright and without orientation, for example with `exiftran -a` or `mogrify -auto-orient`"
        )
    return size


def _is_turned(path: Path) -> bool:
    data = read_bytes(path)
    if not data.startswith(JPEG):
        return False
    try:
        return has_exif_orientation(data)
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        raise BrokenImageError(path, f"has damaged EXIF data ({error})") from error
