"""Conversion of Cityscapes to COCO panoptic, from instance id maps or from its own panoptic JSON files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seamseg.convert.job import Job
from seamseg.convert.panoptic_target import PanopticTarget, Placement, number_segments
from seamseg.data.formats.class_maps import IMAGE_ENDING, IMAGE_FOLDER, LABEL_FOLDER, WITHOUT_LABELS
from seamseg.data.formats.coco_writer import distinct_values
from seamseg.data.input_folder import left_out_sentence, search_folder, subfolders
from seamseg.data.json_fields import field, file_field, flag_field, load_object
from seamseg.data.labels.cityscapes import CITYSCAPES, LARGEST_LABEL
from seamseg.data.png import MAX_SEGMENT_ID, read_label_map, read_panoptic_png
from seamseg.errors import DataError
from seamseg.io.journal import ItemOutput
from seamseg.structures import VOID, PanopticSegmentation

LABEL_ENDING = "_gtFine_instanceIds.png"
_INSTANCES_PER_LABEL = 1000


@dataclass(frozen=True)
class Frame:
    """One image and its map of ids.

    Attributes:
        image_id: Id of the image in the result, counted from 1.
        name: Name of the frame, ``CITY_SEQUENCE_FRAME``.
        image_path: Path of the image.
        labels: Path of the PNG with the instance ids or segment ids.
    """

    image_id: int
    name: str
    image_path: Path
    labels: Path

    @property
    def sources(self) -> Sequence[Path]:
        """Files that the result is made from."""
        return self.image_path, self.labels


def cityscapes_jobs(
    source: Path, out: Path, splits: Sequence[str] = (), placement: Placement = "link"
) -> list[Job[Frame]]:
    """Create one job per split from ``gtFine/SPLIT/CITY/*_gtFine_instanceIds.png``.

    Args:
        source: Folder that contains ``leftImg8bit`` and ``gtFine``.
        out: Folder of the data set to write.
        splits: Names of the splits to convert. If empty, convert all splits except ``test``, which has no published
            labels.
        placement: Whether images are linked or copied.

    Raises:
        FileNotFoundError: The source or a requested split does not exist.
        SeamsegError: There are no maps.
    """
    folder = source / LABEL_FOLDER
    if not folder.is_dir():
        raise FileNotFoundError(f"{source} is not a Cityscapes folder: it does not contain {LABEL_FOLDER}")
    found = [path.name for path in subfolders(folder) if path.name != WITHOUT_LABELS]
    jobs = [_job(source, split, PanopticTarget(out, split, placement)) for split in splits or found]
    jobs = [job for job in jobs if job.items or splits]
    if not jobs:
        raise DataError(f"{folder} contains no maps: expected SPLIT/CITY/*{LABEL_ENDING}")
    return jobs


def _job(source: Path, split: str, target: PanopticTarget) -> Job[Frame]:
    folder = source / LABEL_FOLDER / split
    if not folder.is_dir():
        raise FileNotFoundError(f"the split folder {folder} does not exist")
    labels = search_folder(folder, {".png"})
    city_maps = (path for path in labels.paths if path.parent.parent == folder and path.name.endswith(LABEL_ENDING))
    paths = sorted(city_maps, key=lambda path: path.name)
    # The JSON files hold the polygons of the annotation.
    remark = left_out_sentence(folder, [one for one in labels.left_out if one.path.suffix != ".json"])
    frames = []
    for image_id, path in enumerate(paths, start=1):
        name = path.name.removesuffix(LABEL_ENDING)
        image_path = source / IMAGE_FOLDER / split / path.parent.name / f"{name}{IMAGE_ENDING}"
        frames.append(Frame(image_id, name, image_path, path))
    return Job(
        title=split,
        description="Cityscapes, from its instance ids",
        result=target.json_file,
        head={"categories": CITYSCAPES.to_list()},
        items=frames,
        convert=partial(convert_frame, target),
        options={"placement": target.placement},
        remarks=(remark,) if remark else (),
    )


def convert_frame(target: PanopticTarget, frame: Frame) -> ItemOutput:
    """Write one frame.

    Raises:
        SeamsegError: A file is missing or broken, the sizes differ, or the map contains a label that Cityscapes does
            not have.
    """
    values = read_label_map(frame.labels)
    try:
        segmentation, png_ids = segments_of_instance_ids(values)
    except ValueError as error:
        raise DataError(f"{frame.labels}: {error}") from error
    image_file = f"{frame.name}{IMAGE_ENDING}"
    return target.write(
        frame.image_id, frame.image_path, image_file, frame.labels, segmentation, CITYSCAPES, png_ids=png_ids
    )


def segments_of_instance_ids(values: NDArray[np.int32]) -> tuple[PanopticSegmentation, list[int]]:
    """Convert an H×W map of Cityscapes instance ids to segments.

    A value below 1000 is a label. For a thing class, it marks a group of objects that were not annotated individually
    and becomes crowd. Larger values are label · 1000 + object number. The values are kept as segment ids, except that
    each stuff class becomes one segment.

    Returns:
        The segmentation, and the original ids of its segments 1 … K.

    Raises:
        SeamsegError: A value does not belong to any label.
    """
    labels = np.where(values < _INSTANCES_PER_LABEL, values, values // _INSTANCES_PER_LABEL)
    if labels.max() > LARGEST_LABEL or labels.min() < 0:
        wrong = values[(labels > LARGEST_LABEL) | (labels < 0)][0]
        raise DataError(f"the value {wrong} is not a Cityscapes instance id; labels range from 0 to {LARGEST_LABEL}")
    class_of = CITYSCAPES.class_of_original_id
    is_class = np.array([label in class_of for label in range(LARGEST_LABEL + 1)])
    is_thing = np.array([class_of.get(label, -1) >= CITYSCAPES.num_stuff for label in range(LARGEST_LABEL + 1)])
    ids, present = number_segments(np.where(is_thing[labels], values, np.where(is_class[labels], labels, 0)))
    classes = [class_of[one if one < _INSTANCES_PER_LABEL else one // _INSTANCES_PER_LABEL] for one in present]
    crowd = [one < _INSTANCES_PER_LABEL and bool(is_thing[one]) for one in present]
    return PanopticSegmentation(ids, torch.tensor([VOID, *classes]), torch.tensor([False, *crowd])), present


_PREFIX, _TRAIN_IDS = "cityscapes_panoptic_", "_trainId"


@dataclass(frozen=True)
class AnnotatedFrame(Frame):
    """One image, its map of segment ids, and its segments.

    Attributes:
        segments: Id, label id (0 for void) and crowd flag of each segment.
    """

    segments: tuple[tuple[int, int, bool], ...]


def cityscapes_panoptic_jobs(
    source: Path, out: Path, splits: Sequence[str] = (), placement: Placement = "link"
) -> list[Job[AnnotatedFrame]]:
    """Create one job per split from ``gtFine/cityscapes_panoptic_SPLIT.json``, with label ids or train ids.

    Files with train ids are named ``cityscapes_panoptic_SPLIT_trainId.json``.

    Args:
        source: Folder that contains ``leftImg8bit`` and ``gtFine``.
        out: Folder of the data set to write.
        splits: Names of the splits to convert. If empty, convert all splits.
        placement: Whether images are linked or copied.

    Raises:
        FileNotFoundError: A requested split does not exist.
        SeamsegError: There are no splits, or a JSON file is invalid.
    """
    files = annotation_files(source)
    if not files:
        raise DataError(f"{source / LABEL_FOLDER} contains no {_PREFIX}SPLIT.json")
    jobs = []
    for split in splits or files:
        if split not in files:
            raise FileNotFoundError(f"{source / LABEL_FOLDER} does not contain {_PREFIX}{split}.json")
        jobs.append(_panoptic_job(source, files[split], PanopticTarget(out, split, placement)))
    return jobs


def annotation_files(source: Path) -> dict[str, Path]:
    """Find the panoptic JSON file of each split; return them by split name, in ascending order.

    If a split has two files, the one with label ids takes precedence over the one with train ids.
    """
    files: dict[str, Path] = {}
    for path in sorted((source / LABEL_FOLDER).glob(f"{_PREFIX}*.json")):
        split = path.stem.removeprefix(_PREFIX).removesuffix(_TRAIN_IDS)
        if split not in files or files[split].stem.endswith(_TRAIN_IDS):
            files[split] = path
    return files


def _panoptic_job(source: Path, path: Path, target: PanopticTarget) -> Job[AnnotatedFrame]:
    entries = field(load_object(path), "annotations", list, str(path))
    frames = [_annotated_frame(source, path, position, entry, target.split) for position, entry in enumerate(entries)]
    frames.sort(key=lambda frame: frame.name)
    return Job(
        title=target.split,
        description="Cityscapes, from its panoptic annotation",
        result=target.json_file,
        head={"categories": CITYSCAPES.to_list()},
        items=[replace(frame, image_id=number) for number, frame in enumerate(frames, start=1)],
        convert=partial(convert_annotated_frame, target),
        options={"placement": target.placement},
    )


def _annotated_frame(source: Path, path: Path, position: int, entry: Any, split: str) -> AnnotatedFrame:
    where = f"{path}, annotation {position}"
    name = str(field(entry, "image_id", str, where))
    png = path.with_suffix("") / file_field(entry, "file_name", where)
    label_of = _labels_of_categories(path)
    segments = []
    for segment in field(entry, "segments_info", list, where):
        number, category = (field(segment, key, int, where) for key in ("id", "category_id"))
        if not 1 <= number <= MAX_SEGMENT_ID:
            raise DataError(f"{where}: the segment id {number} is not in the range 1 … {MAX_SEGMENT_ID}")
        segments.append((number, label_of.get(category, 0), flag_field(segment, "iscrowd", where)))
    file_name = f"{name}{IMAGE_ENDING}"
    candidates = [
        source / IMAGE_FOLDER / split / name.split("_")[0] / file_name,
        source / IMAGE_FOLDER / split / file_name,
        source / IMAGE_FOLDER / file_name,
    ]
    image_path = next((path for path in candidates if path.is_file()), candidates[0])
    return AnnotatedFrame(position, name, image_path, png, tuple(sorted(segments)))


def _labels_of_categories(path: Path) -> dict[int, int]:
    """Label id of each category id in the file; categories that are not evaluated are left out."""
    if path.stem.endswith(_TRAIN_IDS):
        return {number: category.original_id for number, category in enumerate(CITYSCAPES.classes)}
    return {category.original_id: category.original_id for category in CITYSCAPES.classes}


def convert_annotated_frame(target: PanopticTarget, frame: AnnotatedFrame) -> ItemOutput:
    """Write one frame, with newly measured areas and boxes.

    Raises:
        SeamsegError: A file is missing or broken, the sizes differ, or the PNG contains ids without an entry.
    """
    ids = read_panoptic_png(frame.labels)
    undescribed = set(distinct_values(ids)[0].tolist()) - {0} - {number for number, _, _ in frame.segments}
    if undescribed:
        raise DataError(f"{frame.labels} contains the segment id {min(undescribed)}, which its JSON file does not list")
    void = [number for number, label, _ in frame.segments if label == 0]
    numbered, present = number_segments(np.where(np.isin(ids, void), 0, ids))
    class_of = {number: CITYSCAPES.class_of_original_id[label] for number, label, _ in frame.segments if label}
    crowd_ids = {number for number, _, is_crowd in frame.segments if is_crowd}
    classes = [class_of[one] for one in present]
    crowd = [one in crowd_ids and class_of[one] >= CITYSCAPES.num_stuff for one in present]
    segmentation = PanopticSegmentation(numbered, torch.tensor([VOID, *classes]), torch.tensor([False, *crowd]))
    image_file = f"{frame.name}{IMAGE_ENDING}"
    return target.write(
        frame.image_id, frame.image_path, image_file, frame.labels, segmentation, CITYSCAPES, png_ids=present
    )
