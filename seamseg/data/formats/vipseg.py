"""Videos in VIPSeg's layout: a COCO panoptic file whose images and annotations are grouped by video.

``videos`` lists the ``video_id`` and the ``images`` of each video, ``annotations`` its ``video_id`` and the
``annotations`` of its frames, which have the form of COCO panoptic. The PNG of a frame is ``VIDEO_ID/FILE_NAME``, and a
thing has the same id in all frames of a video.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from seamseg.data.formats.class_table import ClassTable, match_categories
from seamseg.data.formats.coco_entries import RESULTS, TRUTH, SegmentKeys
from seamseg.data.formats.coco_files import PREFIX, png_folders
from seamseg.data.formats.coco_json import ListedSegments, listed_annotations, listed_categories
from seamseg.data.json_fields import checked_file_name, field, load_object
from seamseg.errors import DataError
from seamseg.structures import Categories

VIDEO_PREFIX = "video_"
"""Beginning of the names of the annotation files of drives."""

_PNG_FOLDERS = ("panomasksRGB", "pan_pred", "panoptic_video")
"""Folders of the PNGs in VIPSeg, in the results of its baseline, and in Cityscapes-VPS."""

Clips = dict[str, list[ListedSegments]]
"""Annotations of the frames by name of the video."""


def open_videos(json_file: Path, folder: Path | None) -> tuple[Categories, Clips]:
    """Read an annotation of videos.

    Args:
        json_file: Path of a file with ``categories`` and ``annotations``.
        folder: Folder of the PNGs; None looks next to the JSON file.

    Returns:
        The categories, and the frames of each video in the order of the file.

    Raises:
        SeamsegError: The file does not have this format, or no PNG is found.
    """
    content = load_object(json_file)
    categories = listed_categories(content, json_file)
    return categories, _clips(
        content, json_file, folder, ClassTable(categories, categories.class_of_original_id), TRUTH
    )


def open_video_results(json_file: Path, folder: Path | None, categories: Categories) -> tuple[Clips, tuple[str, ...]]:
    """Read results for videos.

    Args:
        json_file: Path of a file with ``annotations``; its ``categories``, if it has any, are matched by name.
        folder: Folder of the PNGs; None looks next to the JSON file.
        categories: Categories of the annotation.

    Returns:
        The frames of each video, and sentences on how the categories differ.

    Raises:
        SeamsegError: The file does not have this format, names a category that the annotation lacks, or no PNG is
            found.
    """
    content = load_object(json_file)
    table = match_categories(content.get("categories"), categories, str(json_file))
    return _clips(content, json_file, folder, table, RESULTS), table.notes


def _clips(
    content: dict[str, Any], json_file: Path, folder: Path | None, table: ClassTable, keys: SegmentKeys
) -> Clips:
    clips: Clips = {}
    for position, entry in enumerate(field(content, "annotations", list, str(json_file))):
        where = f"{json_file}, video {position}"
        if isinstance(entry, dict) and "video_id" not in entry and "image_id" in entry:
            raise DataError(f"{json_file} lists images, not videos in VIPSeg's layout; score it without --video")
        name = checked_file_name(field(entry, "video_id", str, where), where)
        if name in clips:
            raise DataError(f"{json_file} lists video {name} twice; make the names unique")
        folders = [one / name for one in ([folder] if folder is not None else _folders(json_file))]
        source = f"{json_file}, video {name}"
        clips[name] = list(listed_annotations(entry, source, table, keys, folders).values())
    if not clips:
        raise DataError(f"{json_file} contains no videos")
    return clips


def _folders(json_file: Path) -> list[Path]:
    """Return the folders that may contain the PNGs, most likely first."""
    named = json_file.with_name(PREFIX + json_file.name.removeprefix(VIDEO_PREFIX))
    return [*png_folders(json_file), named.with_suffix(""), *(json_file.parent / name for name in _PNG_FOLDERS)]


def write_videos(
    path: Path,
    info: Mapping[str, Any],
    categories: Categories,
    lists: Mapping[str, Iterable[tuple[str, dict[str, Any]]]],
) -> None:
    """Write a file in this layout, with at most one frame in memory at a time.

    Args:
        path: Path of the file.
        info: Entries of ``info``.
        categories: Categories of the segments.
        lists: Name of the video and entry of each frame, video by video, under ``images`` and ``annotations``.
    """
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"info":{_compact(info)},\n"categories":{_compact(categories.to_list())}')
        for key, inner in (("videos", "images"), ("annotations", "annotations")):
            file.write(f',\n"{key}":[')
            _write_grouped(file, inner, lists[inner])
            file.write("]")
        file.write("}\n")


def _write_grouped(file: TextIO, key: str, frames: Iterable[tuple[str, dict[str, Any]]]) -> None:
    last: str | None = None
    for video, entry in frames:
        if video != last:
            file.write(("" if last is None else "]},") + f'\n{{"video_id":{_compact(video)},"{key}":[\n')
        else:
            file.write(",\n")
        file.write(_compact(entry))
        last = video
    file.write("" if last is None else "]}")


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def framed(entries: Iterable[dict[str, Any]], names: Iterable[str], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the video of each frame, and its entry of a COCO panoptic file in the form of this layout.

    Args:
        entries: Entries of ``images`` or ``annotations``; paths in ``file_name`` are shortened to the file.
        names: Name of each frame, ``VIDEO/FRAME``.
        key: Key of the frame's id in the entries, ``id`` or ``image_id``.
    """
    for entry, name in zip(entries, names, strict=True):
        video, _, frame = name.rpartition("/")
        yield video, entry | {key: frame, "file_name": entry["file_name"].rpartition("/")[2]}
