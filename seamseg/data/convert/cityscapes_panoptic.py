"""Cityscapes from its own panoptic JSON and PNG files to COCO panoptic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seamseg.data.convert.cityscapes import IMAGE_ENDING, IMAGE_FOLDER, LABEL_FOLDER
from seamseg.data.convert.cityscapes_labels import CITYSCAPES
from seamseg.data.convert.job import Job
from seamseg.data.convert.panoptic_target import PanopticTarget, Placement
from seamseg.data.convert.segmentation import Segmentation
from seamseg.data.json_fields import field, file_field, flag_field, load_object
from seamseg.data.panoptic_png import MAX_SEGMENT_ID, read_panoptic_png
from seamseg.data.segment_measures import distinct_values
from seamseg.runtime.journal import ItemOutput

_PREFIX, _TRAIN_IDS = "cityscapes_panoptic_", "_trainId"


@dataclass(frozen=True)
class AnnotatedFrame:
    """One photograph and its segments.

    Attributes:
        image_id: in the result, from 1.
        name: CITY_SEQUENCE_FRAME.
        photograph, png: files.
        segments: id, label id (0 for void) and crowd of each.
    """

    image_id: int
    name: str
    photograph: Path
    png: Path
    segments: tuple[tuple[int, int, bool], ...]

    @property
    def sources(self) -> Sequence[Path]:
        return self.photograph, self.png


def cityscapes_panoptic_jobs(
    source: Path, out: Path, splits: Sequence[str] = (), placement: Placement = "link"
) -> list[Job[AnnotatedFrame]]:
    """One job per split, from ``gtFine/cityscapes_panoptic_SPLIT.json``, with label ids or (``…_trainId``) train ids.

    Args:
        source: the folder that holds ``leftImg8bit`` and ``gtFine``.
        out: folder of the data set to write.
        splits: which ones; none named means all.
        placement: of photographs.

    Raises:
        FileNotFoundError: a split that is asked for does not exist.
        ValueError: there is none, or a JSON file is wrong.
    """
    files = annotation_files(source)
    if not files:
        raise ValueError(f"{source / LABEL_FOLDER} holds no {_PREFIX}SPLIT.json")
    jobs = []
    for split in splits or files:
        if split not in files:
            raise FileNotFoundError(f"{source / LABEL_FOLDER} has no {_PREFIX}{split}.json")
        jobs.append(_job(source, files[split], PanopticTarget(out, split, placement)))
    return jobs


def annotation_files(source: Path) -> dict[str, Path]:
    """The panoptic JSON files by the name of their split, sorted by it; those with label ids go before train ids."""
    files: dict[str, Path] = {}
    for path in sorted((source / LABEL_FOLDER).glob(f"{_PREFIX}*.json")):
        split = path.stem.removeprefix(_PREFIX).removesuffix(_TRAIN_IDS)
        if split not in files or files[split].stem.endswith(_TRAIN_IDS):
            files[split] = path
    return files


def _job(source: Path, path: Path, target: PanopticTarget) -> Job[AnnotatedFrame]:
    entries = field(load_object(path), "annotations", list, str(path))
    frames = [_frame(source, path, position, entry, target.split) for position, entry in enumerate(entries)]
    frames.sort(key=lambda frame: frame.name)
    return Job(
        title=target.split,
        description="Cityscapes, from its panoptic annotation",
        result=target.json_file,
        head={"categories": CITYSCAPES.to_list()},
        items=[_numbered(frame, number) for number, frame in enumerate(frames, start=1)],
        convert=partial(convert_annotated_frame, target),
        options={"placement": target.placement},
    )


def _numbered(frame: AnnotatedFrame, number: int) -> AnnotatedFrame:
    return AnnotatedFrame(number, frame.name, frame.photograph, frame.png, frame.segments)


def _frame(source: Path, path: Path, position: int, entry: Any, split: str) -> AnnotatedFrame:
    where = f"{path}, annotation {position}"
    name = str(field(entry, "image_id", str, where))
    png = path.with_suffix("") / file_field(entry, "file_name", where)
    label_of = _labels_of_categories(path)
    segments = []
    for segment in field(entry, "segments_info", list, where):
        number, category = (field(segment, key, int, where) for key in ("id", "category_id"))
        if not 1 <= number <= MAX_SEGMENT_ID:
            raise ValueError(f"{where}: the id {number} of a segment does not lie in 1 … {MAX_SEGMENT_ID}")
        segments.append((number, label_of.get(category, 0), flag_field(segment, "iscrowd", where)))
    file_name = f"{name}{IMAGE_ENDING}"
    candidates = [
        source / IMAGE_FOLDER / split / name.split("_")[0] / file_name,
        source / IMAGE_FOLDER / split / file_name,
        source / IMAGE_FOLDER / file_name,
    ]
    photograph = next((path for path in candidates if path.is_file()), candidates[0])
    return AnnotatedFrame(position, name, photograph, png, tuple(sorted(segments)))


def _labels_of_categories(path: Path) -> dict[int, int]:
    """Label ids by what the file calls categories; categories that are not evaluated are missing."""
    if path.stem.endswith(_TRAIN_IDS):
        return {number: category.original_id for number, category in enumerate(CITYSCAPES.classes)}
    return {category.original_id: category.original_id for category in CITYSCAPES.classes}


def convert_annotated_frame(target: PanopticTarget, frame: AnnotatedFrame) -> ItemOutput:
    """Writes one frame; its areas and boxes are measured anew.

    Raises:
        ValueError: a file is missing or broken, sizes differ, or the PNG holds ids without an entry.
    """
    ids = read_panoptic_png(frame.png)
    undescribed = set(distinct_values(ids)[0].tolist()) - {0} - {number for number, _, _ in frame.segments}
    if undescribed:
        raise ValueError(f"{frame.png} holds the segment id {min(undescribed)}, which its JSON file does not describe")
    void = [number for number, label, _ in frame.segments if label == 0]
    ids = np.where(np.isin(ids, void), 0, ids).astype(np.int32)
    described = {number: label for number, label, _ in frame.segments if label}
    class_of = CITYSCAPES.class_of_original_id
    things = {number for number, label in described.items() if class_of[label] >= CITYSCAPES.num_stuff}
    crowd = frozenset(number for number, _, is_crowd in frame.segments if is_crowd and number in things)
    segmentation = Segmentation(ids, described, crowd)
    return target.write(frame.image_id, frame.photograph, f"{frame.name}{IMAGE_ENDING}", frame.png, segmentation)
