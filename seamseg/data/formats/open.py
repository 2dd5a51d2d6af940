"""Recognize and open data sets of the supported formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seamseg.data.formats.annotated_dataset import (
    CLASSES,
    INSTANCES,
    NEEDED_CONTENT,
    PANOPTIC,
    AnnotatedDataset,
    Content,
    require_for_task,
)
from seamseg.data.formats.class_maps import (
    ade20k_splits,
    cityscapes_splits,
    class_map_splits,
    open_ade20k,
    open_cityscapes,
    open_class_maps,
)
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.formats.coco_detection import CocoDetection, detection_files
from seamseg.data.formats.coco_files import annotation_files, json_files
from seamseg.data.formats.seamseg2019 import LIST_FOLDER, METADATA_FILE, Seamseg2019Dataset, legacy_splits
from seamseg.data.formats.vistas import VistasVersion, find_layout, open_vistas
from seamseg.errors import DataError


@dataclass(frozen=True)
class Format:
    """How to recognize and open data sets of one format.

    Attributes:
        title: Name of the format for people.
        looked_for: Files that a folder of this format contains, for error messages.
        fits: Function that returns whether a folder has this format, judging by its file names.
        splits: Function that returns the names of the splits in a folder.
        open: Function that opens one split of a folder, or only its first images.
        content: What the annotation contains at most.
    """

    title: str
    looked_for: str
    fits: Callable[[Path], bool]
    splits: Callable[[Path], list[str]]
    open: Callable[[Path, str, int | None], AnnotatedDataset]
    content: Content = PANOPTIC


def _vistas(version: VistasVersion, looked_for: str) -> Format:
    def splits(root: Path) -> list[str]:
        layout = find_layout(root, version)
        return layout.splits() if layout else []

    def open_split(root: Path, split: str, limit: int | None) -> AnnotatedDataset:
        layout = find_layout(root, version)
        assert layout is not None, "checked when the format was chosen"
        return open_vistas(layout, split, limit)

    return Format(
        f"Mapillary Vistas {version}",
        looked_for,
        lambda root: find_layout(root, version) is not None,
        splits,
        open_split,
    )


def _format(
    title: str,
    looked_for: str,
    splits: Callable[[Path], list[str]],
    open_split: Callable[[Path, str, int | None], AnnotatedDataset],
    content: Content,
) -> Format:
    """Return a format that fits a folder in which it finds a split."""
    return Format(title, looked_for, lambda root: bool(splits(root)), splits, open_split, content)


FORMATS = {
    "coco": Format(
        "COCO panoptic",
        "annotations/panoptic_SPLIT.json",
        lambda root: bool(json_files(root, "panoptic_")),
        lambda root: list(annotation_files(root)),
        CocoPanoptic,
    ),
    "vistas_v1.2": _vistas(
        "v1.2",
        "config_v1.2.json with SPLIT/images and SPLIT/v1.2, or config.json with SPLIT/images and SPLIT/instances",
    ),
    "vistas_v2.0": _vistas("v2.0", "config_v2.0.json with SPLIT/images and SPLIT/v2.0"),
    "seamseg": Format(
        "seamseg of 2019",
        f"{METADATA_FILE} with {LIST_FOLDER}/SPLIT.txt",
        lambda root: (root / METADATA_FILE).is_file() and bool(legacy_splits(root)),
        legacy_splits,
        Seamseg2019Dataset,
    ),
    "coco_detection": _format(
        "COCO detection",
        "annotations/instances_SPLIT.json or SPLIT/_annotations.coco.json",
        lambda root: list(detection_files(root)),
        CocoDetection,
        INSTANCES,
    ),
    "cityscapes": _format(
        "Cityscapes (semantic)",
        "leftImg8bit/SPLIT/CITY with gtFine/SPLIT/CITY/*_labelTrainIds.png",
        cityscapes_splits,
        open_cityscapes,
        CLASSES,
    ),
    "ade20k": _format(
        "ADE20K (semantic)", "images/SPLIT with annotations/SPLIT/*.png", ade20k_splits, open_ade20k, CLASSES
    ),
    "class_maps": _format(
        "class maps (semantic)",
        "classes.yaml with SPLIT/images and SPLIT/classes",
        class_map_splits,
        open_class_maps,
        CLASSES,
    ),
}
"""Supported formats by their name in the setting ``data.format``."""


def choose_format(root: Path, wanted: str | None = None, preferred: str | None = None, task: str | None = None) -> str:
    """Return the name of the format of a data set.

    A folder may hold several annotations of the same images, such as panoptic and detection data of COCO. The format
    with the least content that suffices for the task is then chosen, because boxes and masks are most exact in
    detection data. Without a task, the format with the most content is chosen.

    Args:
        root: Data set folder.
        wanted: Format requested by the user, or None to detect it.
        preferred: Format to prefer if several fit, such as the one that a model was trained on.
        task: Key of :data:`seamseg.data.formats.annotated_dataset.NEEDED_CONTENT`, or None.

    Raises:
        FileNotFoundError: The folder does not exist.
        SeamsegError: The folder does not have the requested format, or has no known format or several.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"the data set folder {root} does not exist")
    found = [name for name, kind in FORMATS.items() if kind.fits(root)]
    if wanted is not None:
        return _check_wanted(root, wanted, found)
    if preferred in found:
        return str(preferred)
    fitting = _best_content(found, task)
    if len(fitting) == 1:
        return fitting[0]
    if not found:
        looked_for = "; ".join(f"{kind.title}: {kind.looked_for}" for kind in FORMATS.values())
        raise DataError(f"{root} is not a data set in a supported format{_hint(root)}; looked for {looked_for}")
    titles = " and ".join(FORMATS[name].title for name in fitting)
    raise DataError(f"{root} contains {titles}: choose one with data.format={fitting[0]} or data.format={fitting[1]}")


def _best_content(found: list[str], task: str | None) -> list[str]:
    """Return the formats among which there is nothing to choose; empty if there are none."""
    amount = {name: sum(vars(FORMATS[name].content).values()) for name in found}
    if task is None:
        return [name for name in found if amount[name] == max(amount.values())]
    enough = [name for name in found if not FORMATS[name].content.lacks(NEEDED_CONTENT[task])] or found
    return [name for name in enough if amount[name] == min(amount[one] for one in enough)]


def split_names(root: Path, format_name: str) -> list[str]:
    """Return the splits of a data set with a format from :func:`choose_format`."""
    return FORMATS[format_name].splits(root)


def open_data_set(
    root: Path, split: str, limit: int | None = None, format_name: str | None = None, task: str | None = None
) -> AnnotatedDataset:
    """Open one split of a data set.

    Args:
        root: Data set folder.
        split: Name of the split, or a unique prefix of it: ``train`` finds ``train2017`` and ``training``.
        limit: Maximum number of images; only the first ones are used. None uses all.
        format_name: Key of :data:`FORMATS`; None detects the format.
        task: ``panoptic``, ``instance``, ``detection`` or ``semantic``, which the annotation must suffice for. None
            accepts any annotation.

    Raises:
        FileNotFoundError: The folder does not exist.
        SeamsegError: The format is unknown, ambiguous or not the requested one, the split is missing or wrong, or its
            annotation does not suffice for the task.

    Example:
        >>> from pathlib import Path
        >>> from seamseg.data import open_data_set
        >>> from seamseg.scenes import write_scenes
        >>> write_scenes(Path("scenes"), num_train=1, num_val=1, size=(64, 128), seed=0)
        >>> data_set = open_data_set(Path("scenes"), "val")
        >>> len(data_set), data_set.categories.num_things
        (1, 4)
        >>> data_set.read_image(0).shape
        (64, 128, 3)
        >>> segmentation = data_set.read_annotation(0)
        >>> segmentation.size
        (64, 128)
    """
    source = FORMATS[choose_format(root, format_name, task=task)].open(root, split, limit)
    if task is not None:
        require_for_task(source, task, f"{split!r} of {root}")
    return source


def _check_wanted(root: Path, wanted: str, found: list[str]) -> str:
    if wanted not in FORMATS:
        raise DataError(f"there is no format {wanted!r}; known formats are {', '.join(FORMATS)}")
    if wanted not in found:
        kind = FORMATS[wanted]
        hint = f"; it looks like {FORMATS[found[0]].title}, data.format={found[0]}" if found else _hint(root)
        raise DataError(f"{root} is not {kind.title} (data.format={wanted}): looked for {kind.looked_for}{hint}")
    return wanted


def _hint(root: Path) -> str:
    """Return a remark about a known format that has to be converted first."""
    if (root / "gtFine").is_dir():
        return " (it looks like Cityscapes, which `seamseg convert cityscapes` converts)"
    return ""
