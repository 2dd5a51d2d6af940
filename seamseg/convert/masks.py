"""Conversion of a user's own class maps and instance maps to COCO panoptic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.convert.job import Job
from seamseg.convert.panoptic_target import PanopticTarget, Placement
from seamseg.data.formats.coco_writer import distinct_values
from seamseg.data.formats.mask_classes import CLASS_FILE, MaskClasses, read_mask_classes
from seamseg.data.images import find_images
from seamseg.data.input_folder import FoundFiles, left_out_sentence, relative_name, search_folder, subfolders
from seamseg.data.png import UNLABELED, read_label_map
from seamseg.errors import DataError, SettingsError
from seamseg.io.journal import ItemOutput
from seamseg.structures import VOID, PanopticSegmentation

IMAGES, CLASSES, INSTANCES = "images", "classes", "instances"

T = TypeVar("T")


@dataclass(frozen=True)
class LabeledImage:
    """An image with its class map and instance map.

    Attributes:
        image_id: Id of the image in the result, counted from 1.
        image_file: Path of the image relative to the image folder.
        image_path: Path of the image.
        class_map: Path of the class map.
        instance_map: Path of the instance map.
    """

    image_id: int
    image_file: str
    image_path: Path
    class_map: Path
    instance_map: Path

    @property
    def name(self) -> str:
        """Name of the item in the journal."""
        return self.image_file

    @property
    def sources(self) -> Sequence[Path]:
        """Files that the result is made from."""
        return self.image_path, self.class_map, self.instance_map


def mask_jobs(
    source: Path, out: Path, val_every: int | None = None, placement: Placement = "link"
) -> list[Job[LabeledImage]]:
    """Create one job per split.

    ``SOURCE/classes.yaml`` lists the classes (:func:`seamseg.data.formats.mask_classes.read_mask_classes`). Every
    folder ``SOURCE/SPLIT`` that contains ``images``, ``classes`` and ``instances`` is a split. If ``SOURCE`` itself
    contains these folders, its images form the split train, and optionally every N-th image by name goes to the split
    val. A map has the name of its image with the suffix ``.png``.

    Args:
        source: Folder with ``classes.yaml``, images and maps.
        out: Folder of the data set to write.
        val_every: Every how many images one goes to the split val, at least 2. None puts all images into train.
        placement: Whether images are linked or copied.

    Raises:
        FileNotFoundError: A folder or ``classes.yaml`` does not exist.
        SeamsegError: ``classes.yaml`` is invalid, an image lacks a map, a map lacks an image, or there are no images.
    """
    classes = read_mask_classes(source / CLASS_FILE)
    if (source / IMAGES).is_dir():
        sources = _divide_source(_read_source(source), val_every)
    elif val_every is None:
        folders = [folder for folder in subfolders(source) if (folder / IMAGES).is_dir()]
        sources = {folder.name: _read_source(folder) for folder in folders}
    else:
        raise SettingsError(f"{source} is already divided into splits; leave out --val-every")
    if not sources:
        raise FileNotFoundError(f"{source} contains neither {IMAGES} nor a split folder with {IMAGES}")
    return [_job(classes, content, PanopticTarget(out, split, placement)) for split, content in sources.items()]


@dataclass(frozen=True)
class _Source:
    """Images of a split, and a sentence about files that are left out."""

    images: list[LabeledImage]
    remark: str | None


def _divide_source(source: _Source, val_every: int | None) -> dict[str, _Source]:
    divided = divide_images(source.images, val_every)
    return {split: _Source(images, source.remark) for split, images in divided.items()}


def divide_images(images: Sequence[T], val_every: int | None, split: str = "train") -> dict[str, list[T]]:
    """Divide images into splits.

    Args:
        images: Images by name.
        val_every: Every how many images one goes to the split val, at least 2. None puts all images into one split.
        split: Name of the other split.

    Raises:
        SeamsegError: A split would be empty, or both have the same name.
    """
    if val_every is None:
        return {split: list(images)}
    if split == "val":
        raise SettingsError("--val-every puts images into the split val, so --split needs another name")
    if not 2 <= val_every <= len(images):
        raise SettingsError(
            f"--val-every is {val_every}, but it must be between 2 and the number of images, {len(images)}, so that "
            "both splits get images"
        )
    chosen = set(range(val_every - 1, len(images), val_every))
    others = [image for position, image in enumerate(images) if position not in chosen]
    return {split: others, "val": [image for position, image in enumerate(images) if position in chosen]}


def _read_source(folder: Path) -> _Source:
    """List the images of a folder with their maps, by name; raise an error if any map or image has no partner."""
    for maps in (CLASSES, INSTANCES):
        if not (folder / maps).is_dir():
            raise FileNotFoundError(
                f"the folder {folder / maps} does not exist; it must contain a map for every image in {folder / IMAGES}"
            )
    found = {IMAGES: find_images(folder / IMAGES)}
    found |= {maps: search_folder(folder / maps, {".png"}) for maps in (CLASSES, INSTANCES)}
    image_paths, class_maps, instance_maps = (
        paths_by_stem(folder / part, files.paths) for part, files in found.items()
    )
    for part, by_stem in ((CLASSES, class_maps), (INSTANCES, instance_maps)):
        _check_partners(set(image_paths), set(by_stem), folder / part, folder / IMAGES, found[part])
    images = [
        LabeledImage(number, relative_name(path, folder / IMAGES), path, class_maps[stem], instance_maps[stem])
        for number, (stem, path) in enumerate(image_paths.items(), start=1)
    ]
    return _Source(images, left_out_sentence(folder, [one for files in found.values() for one in files.left_out]))


def paths_by_stem(folder: Path, paths: Iterable[Path]) -> dict[str, Path]:
    """Return paths by their name relative to the folder, without suffix.

    Raises:
        SeamsegError: Two paths differ only in their suffix.
    """
    found: dict[str, Path] = {}
    for path in paths:
        stem = PurePosixPath(relative_name(path, folder)).with_suffix("").as_posix()
        other = found.setdefault(stem, path)
        if other is not path:
            raise DataError(
                f"{other} and {path} differ only in their suffix, but images and maps are matched by name without "
                "suffix; rename or remove one of them"
            )
    return found


def _check_partners(stems: set[str], with_map: set[str], maps: Path, images: Path, found: FoundFiles) -> None:
    for unmatched, what in (
        (stems - with_map, f"image(s) in {images} have no map in {maps}"),
        (with_map - stems, f"map(s) in {maps} have no image in {images}"),
    ):
        if unmatched:
            examples = ", ".join(sorted(unmatched)[:5])
            left_out = left_out_sentence(maps, found.left_out)
            hint = f"; maps must be PNG files; {left_out}" if left_out else ""
            raise DataError(f"{len(unmatched)} {what}, such as {examples}{hint}")


def _job(classes: MaskClasses, source: _Source, target: PanopticTarget) -> Job[LabeledImage]:
    return Job(
        title=target.split,
        description="from class maps and instance maps",
        result=target.json_file,
        head={"categories": classes.categories.to_list()},
        items=source.images,
        convert=partial(convert_labeled_image, target, classes),
        options={"placement": target.placement, "values": sorted(classes.class_of_value.items())}
        | ({"color_distance": classes.color_distance} if classes.color_distance else {}),
        remarks=(source.remark,) if source.remark else (),
    )


def convert_labeled_image(target: PanopticTarget, classes: MaskClasses, image: LabeledImage) -> ItemOutput:
    """Write one image.

    Raises:
        SeamsegError: A file is broken, the sizes differ, or the class map contains a value that belongs to no class.
    """
    class_map, instance_map = read_label_map(image.class_map), read_label_map(image.instance_map)
    if class_map.shape != instance_map.shape:
        raise DataError(f"the sizes of {image.class_map} and {image.instance_map} differ")
    try:
        segmentation = segments_of_maps(class_map, instance_map, classes)
    except ValueError as error:
        raise DataError(f"{image.class_map}: {error}") from error
    return target.write(
        image.image_id, image.image_path, image.image_file, image.class_map, segmentation, classes.categories
    )


def segments_of_maps(
    class_map: NDArray[np.int32], instance_map: NDArray[np.int32], classes: MaskClasses
) -> PanopticSegmentation:
    """Convert a class map and an instance map to segments.

    Each stuff class is one segment, and each pair of thing class and instance number is one object. Pixels of a thing
    class with the instance number 0 form one crowd segment. Instance numbers need to differ only within a class; they
    are ignored for stuff and void.

    Args:
        class_map: H×W class values.
        instance_map: H×W instance numbers.
        classes: Classes of the values in the class map.

    Raises:
        SeamsegError: The class map contains a value that belongs neither to a class nor to void, and no listed color is
            close enough.
    """
    values, value_of_pixel = distinct_values(class_map)
    num_stuff = classes.categories.num_stuff
    class_of_pixel = classes.classes_of(values, value_of_pixel)[value_of_pixel]
    thing = (class_of_pixel >= num_stuff) & (class_of_pixel != VOID) & (instance_map != UNLABELED)
    pairs, pair_of_pixel = distinct_values(class_of_pixel << 24 | np.where(thing, instance_map, 0))
    owners = [(pair >> 24, pair & (2**24 - 1)) for pair in pairs.tolist()]
    labeled = [(number, instance) for number, instance in owners if number != VOID]
    ids = np.arange(1, len(owners) + 1)
    ids[len(labeled) :] = 0  # void is the last pair
    shown = torch.tensor([VOID, *(number for number, _ in labeled)])
    crowd = torch.tensor([False, *(number >= num_stuff and instance == 0 for number, instance in labeled)])
    return PanopticSegmentation(torch.from_numpy(ids[pair_of_pixel]), shown, crowd)
