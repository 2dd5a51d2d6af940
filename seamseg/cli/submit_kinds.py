"""The servers that ``seamseg submit`` knows."""

from __future__ import annotations

from dataclasses import dataclass

from seamseg.submit.benchmark import CITYSCAPES, COCO, VISTAS, Benchmark
from seamseg.submit.formats import FormatName


@dataclass(frozen=True)
class Kind:
    """One kind of submission on the command line.

    Attributes:
        name, help, description: as people read them.
        benchmark, format: what is written.
        counted: what its files show, in the plural.
        other_versions: whether an annotation may name other categories.
    """

    name: str
    help: str
    description: str
    benchmark: Benchmark
    format: FormatName
    counted: str = "segments"
    other_versions: bool = False


KINDS = (
    Kind(
        "coco",
        "COCO panoptic",
        "Writes panoptic_SET_NAME_results.zip: a folder of PNGs and its JSON file, both called like the archive. SET "
        "is val2017, test-dev2017 or test-challenge2017.",
        COCO,
        "panoptic",
    ),
    Kind(
        "cityscapes-panoptic",
        "Cityscapes, panoptic",
        "Writes a folder of PNGs and its JSON file, both called like the archive, with label ids (road is 7).",
        CITYSCAPES,
        "panoptic",
    ),
    Kind(
        "cityscapes-instances",
        "Cityscapes, objects",
        "Writes CITY_SEQUENCE_FRAME.txt for every frame, one line per object: its mask (masks/*.png), its label id and "
        "its score.",
        CITYSCAPES,
        "instances",
        "objects",
    ),
    Kind(
        "cityscapes-semantic",
        "Cityscapes, classes of pixels",
        "Writes CITY_SEQUENCE_FRAME_labelIds.png for every frame: label ids, 0 where nothing is predicted.",
        CITYSCAPES,
        "semantic",
    ),
    Kind(
        "vistas",
        "Mapillary Vistas, panoptic",
        "Writes a folder of PNGs and its JSON file, both called like the archive, with the ids of panoptic_2018.json "
        "(v1.2); --categories takes those of another version from its annotation.",
        VISTAS,
        "panoptic",
        other_versions=True,
    ),
)
