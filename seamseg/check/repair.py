"""Writer for a copy of a data set with corrected areas and boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seamseg.check.report import CheckReport
from seamseg.check.split import SplitEntries
from seamseg.data.formats.coco_files import image_folders, png_folders
from seamseg.errors import DataError, OutputError
from seamseg.io.files import write_text


def write_repaired(report: CheckReport, out: Path) -> list[Path]:
    """Write a copy of a COCO panoptic data set with measured areas and boxes.

    Entries without pixels are left out; everything else stays the same. Images and PNGs become symbolic links to the
    folders of the original data set. JSON files that need no repair are written as well, so that the copy is complete.

    Args:
        report: Report of the check.
        out: Folder of the copy. It is created if needed.

    Returns:
        The paths of the JSON files.

    Raises:
        SeamsegError: The folder already contains annotations or images, or the data set has another format.
    """
    if (out / "annotations").exists() or (out / "images").exists():
        raise OutputError(f"{out} already contains annotations or images; choose another folder for the repaired copy")
    if not report.splits:
        raise DataError(
            f"{report.root} ({report.format_title}) has no panoptic JSON file that can be read; only areas and boxes "
            "of COCO panoptic data sets can be repaired"
        )
    for split in report.splits:
        if split.png_folder not in png_folders(split.files.json_file):
            raise DataError(f"{report.root} is {report.format_title}; only COCO panoptic data sets can be repaired")
    return [_write(split, report, out) for split in report.splits]


def _write(split: SplitEntries, report: CheckReport, out: Path) -> Path:
    json_file = out / "annotations" / split.files.json_file.name
    json_file.parent.mkdir(parents=True, exist_ok=True)
    _link(png_folders(json_file)[0], split.png_folder)
    _link(image_folders(out, json_file)[0], split.image_folder)
    new = {position: entries for (name, position), entries in report.repaired.items() if name == split.files.name}
    annotations: list[Any] = [
        entry | {"segments_info": new[position]} if position in new else entry
        for position, entry in enumerate(split.content["annotations"])
    ]
    write_text(json_file, json.dumps(split.content | {"annotations": annotations}, separators=(",", ":")))
    return json_file


def _link(place: Path, target: Path) -> None:
    if target.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target.absolute())
