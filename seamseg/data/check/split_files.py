"""Where the formats that have panoptic JSON files keep them."""

from __future__ import annotations

from pathlib import Path

from seamseg.data.check.split import SplitFiles
from seamseg.data.coco_index import coco_classes
from seamseg.data.coco_split import annotation_files, image_folders, png_folders
from seamseg.data.vistas import VistasVersion, find_layout
from seamseg.data.vistas_labels import class_table, read_labels

_VISTAS: dict[str, VistasVersion] = {"vistas_v1.2": "v1.2", "vistas_v2.0": "v2.0"}


def panoptic_files(root: Path, split: str, format_name: str) -> SplitFiles | None:
    """The files of a split; None for splits without a panoptic JSON file.

    Args:
        root: of the data set.
        split: one of its splits.
        format_name: of :data:`seamseg.data.formats.FORMATS`.

    Raises:
        ValueError: the configuration of Vistas' labels is wrong.
    """
    if format_name == "coco":
        json_file = annotation_files(root)[split]
        folders = tuple(image_folders(root, json_file))
        return SplitFiles(split, json_file, folders, tuple(png_folders(json_file)), coco_classes)
    if format_name in _VISTAS:
        layout = find_layout(root, _VISTAS[format_name])
        assert layout is not None, "its format was recognised"
        json_file = layout.panoptic_file(split)
        if json_file.is_file():
            labels = read_labels(layout.config)
            return SplitFiles(
                split,
                json_file,
                (root / split / "images",),
                (json_file.parent,),
                lambda entries, path: class_table(labels, entries, path, config=layout.config),
            )
    return None
