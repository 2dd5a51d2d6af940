"""Category ids, image ids and archive names of the benchmark servers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from seamseg.data.labels.cityscapes import CITYSCAPES as CITYSCAPES_CLASSES
from seamseg.data.labels.coco import COCO_STUFF, COCO_THINGS
from seamseg.data.labels.vistas import VISTAS_STUFF, VISTAS_THINGS
from seamseg.errors import DataError, OutputError
from seamseg.structures import ImageId, Size


class ServerCategory(NamedTuple):
    """Id of a category on a server, and whether it is a thing."""

    category_id: int
    is_thing: bool


@dataclass(frozen=True)
class Benchmark:
    """One data set with a benchmark server.

    Attributes:
        title: Name of the benchmark in messages.
        categories: Categories of the server by name.
        image_id: Function that returns the image id of a file name. It raises a ``SeamsegError`` with an example name
            if the name has another form.
        size: Height and width of all images. None if they differ.
        archive_name: Regular expression for the archive names that the server accepts. None if it accepts any name.
    """

    title: str
    categories: Mapping[str, ServerCategory]
    image_id: Callable[[str], ImageId]
    size: Size | None = None
    archive_name: str | None = None

    def json_name(self, archive: Path) -> str:
        """Return the name of the JSON file in an archive, and of its PNG folder: the archive name without ``.zip``.

        Raises:
            SeamsegError: The server does not accept an archive with this name.
        """
        if self.archive_name is not None and not re.fullmatch(self.archive_name, archive.name):
            start = self.archive_name.partition("_")[0]
            raise OutputError(
                f"{archive.name}: archives for {self.title} must be named {start}_SET_NAME_results.zip, where SET is "
                "val2017, test-dev2017 or test-challenge2017 and NAME is the name of your algorithm"
            )
        return archive.stem


def _coco_id(image_path: str) -> ImageId:
    stem = PurePosixPath(image_path).stem
    if not re.fullmatch(r"\d+", stem, re.ASCII):
        raise DataError("COCO images are named by their image id, for example 000000000139.jpg")
    return int(stem)


def _cityscapes_id(image_path: str) -> ImageId:
    found = re.match(r"[^_]+_\d{6}_\d{6}(?=_|\.|$)", PurePosixPath(image_path).name, re.ASCII)
    if found is None:
        raise DataError("Cityscapes images have names such as aachen_000000_000019_leftImg8bit.png")
    return found.group()


def _vistas_id(image_path: str) -> ImageId:
    return PurePosixPath(image_path).stem


def _categories(things: Mapping[str, int], stuff: Mapping[str, int]) -> dict[str, ServerCategory]:
    return {
        name: ServerCategory(category_id, is_thing)
        for group, is_thing in ((things, True), (stuff, False))
        for name, category_id in group.items()
    }


COCO = Benchmark(
    "COCO",
    _categories(COCO_THINGS, COCO_STUFF),
    _coco_id,
    archive_name=r"panoptic_(val2017|test-dev2017|test-challenge2017)_.+_results\.zip",
)
COCO_OBJECTS = replace(COCO, archive_name=r"detections_(val2017|test-dev2017|test-challenge2017)_.+_results\.zip")
"""COCO's servers for boxes and for masks of things."""
VISTAS = Benchmark("Mapillary Vistas v1.2", _categories(VISTAS_THINGS, VISTAS_STUFF), _vistas_id)
CITYSCAPES = Benchmark(
    "Cityscapes",
    {one.name: ServerCategory(one.original_id, one.is_thing) for one in CITYSCAPES_CLASSES.classes},
    _cityscapes_id,
    size=(1024, 2048),
)
"""Cityscapes; its server requires label ids (road is 7), not train ids (road is 0)."""
