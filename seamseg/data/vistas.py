"""Mapillary Vistas (Neuhold et al. 2017) as it is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seamseg.data.annotated_images import AnnotatedImages
from seamseg.data.coco_index import read_index
from seamseg.data.coco_split import choose_folder
from seamseg.data.input_folder import subfolders
from seamseg.data.labels.vistas import class_table, read_labels
from seamseg.data.panoptic_split import PanopticSplit
from seamseg.data.split_names import choose_split, first_images
from seamseg.data.vistas_instances import VistasInstances

VistasVersion = Literal["v1.2", "v2.0"]
PANOPTIC_FILE = {"v1.2": "panoptic_2018.json", "v2.0": "panoptic_2020.json"}


@dataclass(frozen=True)
class VistasLayout:
    """Where a version of Vistas keeps its annotation.

    Attributes:
        config: of the labels.
        version: v1.2 or v2.0.
        subfolder: of a split's folder, which holds ``panoptic`` and ``instances``; empty in older downloads.
    """

    config: Path
    version: VistasVersion
    subfolder: str

    @property
    def root(self) -> Path:
        return self.config.parent

    def panoptic_file(self, split: str) -> Path:
        return self.root / split / self.subfolder / "panoptic" / PANOPTIC_FILE[self.version]

    def instance_folder(self, split: str) -> Path:
        return self.root / split / self.subfolder / "instances"

    def splits(self) -> list[str]:
        """The folders with images and annotation, sorted; ``testing`` has none."""
        return sorted(
            folder.name
            for folder in subfolders(self.root)
            if (folder / "images").is_dir()
            and (self.panoptic_file(folder.name).is_file() or self.instance_folder(folder.name).is_dir())
        )


def find_layout(root: Path, version: VistasVersion) -> VistasLayout | None:
    """How a version lies in a folder; None if it doesn't.

    Downloads of 2018 and before hold what later was called v1.2 beside ``config.json``, without a folder of that name.
    """
    layouts = [VistasLayout(root / f"config_{version}.json", version, version)]
    if version == "v1.2":
        layouts.append(VistasLayout(root / "config.json", version, ""))
    return next((layout for layout in layouts if layout.config.is_file() and layout.splits()), None)


def open_vistas(layout: VistasLayout, split: str, limit: int | None = None) -> AnnotatedImages:
    """One split: from its panoptic JSON and PNGs, or, where it lacks them, from its PNGs of instances.

    Stuff classes come first, then things, both in the order of the configuration. Labels that are not evaluated are
    void; things with "group" in their name, and segments that the panoptic file calls so, are crowd.

    Args:
        layout: of the data set.
        split: the folder, such as ``training``, or an unmistakable beginning of its name.
        limit: take only that many images, the first ones.

    Raises:
        ValueError: the split is not there or not unique, a file contradicts itself or another, no image or no PNG is
            found, or the limit is not positive.
    """
    name = choose_split(layout.splits(), split, layout.root)
    image_folder = layout.root / name / "images"
    if not layout.panoptic_file(name).is_file():
        return VistasInstances(layout.config, image_folder, layout.instance_folder(name), limit)
    return _open_panoptic(layout.config, layout.panoptic_file(name), image_folder, limit)


def _open_panoptic(config: Path, panoptic_file: Path, image_folder: Path, limit: int | None) -> PanopticSplit:
    labels = read_labels(config)
    categories, records = read_index(
        panoptic_file, lambda entries, path: class_table(labels, entries, path, config=config)
    )
    records = first_images(records, limit)
    images, pngs = (record.image_file for record in records), (record.png_file for record in records)
    choose_folder([image_folder], images, f"images of {panoptic_file}")
    choose_folder([panoptic_file.parent], pngs, f"PNG files of {panoptic_file}")
    return PanopticSplit(panoptic_file, categories, records, image_folder, panoptic_file.parent)
