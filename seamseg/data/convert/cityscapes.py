"""Cityscapes from its maps of instance ids to COCO panoptic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seamseg.data.convert.cityscapes_labels import CITYSCAPES, LARGEST_LABEL
from seamseg.data.convert.job import Job
from seamseg.data.convert.panoptic_target import PanopticTarget, Placement
from seamseg.data.convert.segmentation import Segmentation
from seamseg.data.input_folder import left_out_sentence, search_folder, subfolders
from seamseg.data.label_map import read_label_map
from seamseg.data.segment_measures import distinct_values
from seamseg.runtime.journal import ItemOutput

IMAGE_FOLDER, IMAGE_ENDING = "leftImg8bit", "_leftImg8bit.png"
LABEL_FOLDER, LABEL_ENDING = "gtFine", "_gtFine_instanceIds.png"
WITHOUT_LABELS = "test"
"""The split whose published maps are void."""

_INSTANCES_PER_LABEL = 1000


@dataclass(frozen=True)
class Frame:
    """One photograph and its map.

    Attributes:
        image_id: in the result, from 1.
        name: CITY_SEQUENCE_FRAME.
        photograph, labels: files.
    """

    image_id: int
    name: str
    photograph: Path
    labels: Path

    @property
    def sources(self) -> Sequence[Path]:
        return self.photograph, self.labels


def cityscapes_jobs(
    source: Path, out: Path, splits: Sequence[str] = (), placement: Placement = "link"
) -> list[Job[Frame]]:
    """One job per split, from ``gtFine/SPLIT/CITY/*_gtFine_instanceIds.png``.

    Args:
        source: the folder that holds ``leftImg8bit`` and ``gtFine``.
        out: folder of the data set to write.
        splits: which ones; none named means all but ``test``, whose maps are not published.
        placement: of photographs.

    Raises:
        FileNotFoundError: the source, or a split that is asked for, does not exist.
        ValueError: there is no map, or one without a photograph.
    """
    folder = source / LABEL_FOLDER
    if not folder.is_dir():
        raise FileNotFoundError(f"{source} is no Cityscapes folder: it has no {LABEL_FOLDER} in it")
    found = [path.name for path in subfolders(folder) if path.name != WITHOUT_LABELS]
    jobs = [_job(source, split, PanopticTarget(out, split, placement)) for split in splits or found]
    jobs = [job for job in jobs if job.items or splits]
    if not jobs:
        raise ValueError(f"{folder} holds no maps: expected SPLIT/CITY/*{LABEL_ENDING} in it")
    return jobs


def _job(source: Path, split: str, target: PanopticTarget) -> Job[Frame]:
    folder = source / LABEL_FOLDER / split
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {folder} of the split does not exist")
    labels = search_folder(folder, {".png"})
    of_cities = (path for path in labels.paths if path.parent.parent == folder and path.name.endswith(LABEL_ENDING))
    paths = sorted(of_cities, key=lambda path: path.name)
    remark = left_out_sentence(folder, [one for one in labels.left_out if one.path.suffix != ".json"])  # of polygons
    frames = []
    for image_id, path in enumerate(paths, start=1):
        name = path.name.removesuffix(LABEL_ENDING)
        photograph = source / IMAGE_FOLDER / split / path.parent.name / f"{name}{IMAGE_ENDING}"
        frames.append(Frame(image_id, name, photograph, path))
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
    """Writes one frame.

    Raises:
        ValueError: a file is missing or broken, sizes differ, or the map holds a label that Cityscapes does not have.
    """
    values = read_label_map(frame.labels)
    try:
        segmentation = segments_of_instance_ids(values)
    except ValueError as error:
        raise ValueError(f"{frame.labels}: {error}") from error
    image_file = f"{frame.name}{IMAGE_ENDING}"
    return target.write(frame.image_id, frame.photograph, image_file, frame.labels, segmentation)


def segments_of_instance_ids(values: NDArray[np.int32]) -> Segmentation:
    """The segments of a map of Cityscapes' instance ids.

    A value below 1000 is a label; of a thing class it is a group of objects that nobody told apart, crowd. Others are
    label · 1000 + number of the object. The numbers stay as ids, except that stuff is one segment per class.

    Raises:
        ValueError: a value stands for no label.
    """
    labels = np.where(values < _INSTANCES_PER_LABEL, values, values // _INSTANCES_PER_LABEL)
    if labels.max() > LARGEST_LABEL or labels.min() < 0:
        wrong = values[(labels > LARGEST_LABEL) | (labels < 0)][0]
        raise ValueError(f"the value {wrong} is no instance id of Cityscapes, whose labels are 0 … {LARGEST_LABEL}")
    class_of = CITYSCAPES.class_of_original_id
    is_class = np.array([label in class_of for label in range(LARGEST_LABEL + 1)])
    is_thing = np.array([class_of.get(label, -1) >= CITYSCAPES.num_stuff for label in range(LARGEST_LABEL + 1)])
    ids = np.where(is_thing[labels], values, np.where(is_class[labels], labels, 0)).astype(np.int32)
    present = [number for number in distinct_values(ids)[0].tolist() if number]
    things_in_groups = [label for label in class_of if is_thing[label]]
    labels_of_ids = {
        number: number if number < _INSTANCES_PER_LABEL else number // _INSTANCES_PER_LABEL for number in present
    }
    return Segmentation(ids, labels_of_ids, frozenset(things_in_groups))
