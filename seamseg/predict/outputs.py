"""Output files of one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import cv2
import numpy as np

from seamseg.data.formats.coco_writer import panoptic_entries, panoptic_segments
from seamseg.data.png import write_panoptic_png
from seamseg.errors import OutputError
from seamseg.io.files import atomic_write_unsynced
from seamseg.io.journal import ItemOutput
from seamseg.metrics.calibration import confidence_levels
from seamseg.predict.pre_annotations import cvat_entries, label_studio_entry
from seamseg.predict.predictor import Prediction
from seamseg.predict.ranking import expected_error
from seamseg.structures import Categories, Instance
from seamseg.visualization.images import Picture, encode_image
from seamseg.visualization.objects import draw
from seamseg.visualization.overlay import USUAL, Style

OutputKind = Literal[
    "overlay", "panoptic", "semantic", "instances", "raw", "labelstudio", "cvat", "confidence", "ranking", "step"
]
OUTPUT_KINDS: tuple[OutputKind, ...] = get_args(OutputKind)
_LARGEST_JPEG = 65_500  # maximum side of a JPEG image in pixels
_LARGEST_STEP_ID = 65_535


class Named(Protocol):
    """An image or video frame with a name."""

    @property
    def name(self) -> str:
        """Relative path of its results without suffix."""
        ...

    @property
    def file_name(self) -> str:
        """Name of the image in the JSON files."""
        ...


class OutputWriter:
    """Write the outputs of one image after another. Each file is written atomically. Threads may share a writer.

    - ``overlay``: ``overlay/NAME.jpg``, the segmentation or the objects drawn over the image (.png if a side is too
      long for JPEG).
    - ``panoptic``: ``panoptic/NAME.png`` with segment ids, and an entry of ``panoptic.json``.
    - ``semantic``: ``semantic/NAME.png``, one gray byte per pixel: the class number, 255 for void.
    - ``instances``: entries of ``instances.json``, the objects before fusion.
    - ``raw``: ``raw/NAME.npz``, the arrays that the other outputs are made from.
    - ``labelstudio``: an entry of ``labelstudio.json``, a task with the segments or objects as predictions.
    - ``cvat``: entries of ``cvat.json``, the segments or objects as COCO annotations.
    - ``confidence``: ``confidence/NAME.png``, 16-bit gray: the confidence of every pixel times 65535.
    - ``ranking``: an entry of ``ranking.json``, the expected error.
    - ``step``: ``step/NAME.png``, classes and ids of tracked things as in the data set KITTI-STEP.

    Args:
        folder: Folder of the results.
        kinds: Kinds of output to write.
        categories: Categories of the model.
        style: Style of the overlays.
    """

    def __init__(self, folder: Path, kinds: Sequence[OutputKind], categories: Categories, style: Style = USUAL) -> None:
        self.folder, self.kinds, self.categories, self.style = folder, tuple(kinds), categories, style

    def write(self, image: Named, picture: Picture, found: Prediction) -> ItemOutput:
        """Write the files of one image.

        Args:
            image: Image or frame that the files are named after.
            picture: Pixels, H×W×3 uint8 RGB; only overlays need them.
            found: Prediction for the image.

        Returns:
            The files, and the entries of the JSON files, in which images and instances have no number yet.

        Raises:
            OSError: A file cannot be written.
        """
        files: list[Path] = []
        entries: dict[str, list[dict[str, Any]]] = {}
        for kind in self.kinds:
            if kind == "overlay":
                files.append(self._overlay(image.name, picture, found))
            elif kind == "panoptic":
                files.append(self._panoptic(image, found, entries))
            elif kind == "semantic":
                files.append(self._file(kind, image.name, ".png", lambda path: write_semantic(path, found)))
            elif kind == "raw":
                files.append(self._file(kind, image.name, ".npz", lambda path: write_raw(path, found)))
            elif kind == "labelstudio":
                prediction = label_studio_entry(found, self.categories)
                entries[kind] = [{"file_name": image.file_name, "prediction": prediction}]
            elif kind == "cvat":
                entries |= cvat_entries(found, self.categories, image.file_name)
            elif kind == "confidence":
                files.append(self._file(kind, image.name, ".png", lambda path: write_confidence(path, found)))
            elif kind == "ranking":
                entries[kind] = [
                    {"file_name": image.file_name} | asdict(expected_error(found, self.categories.num_stuff))
                ]
            elif kind == "step":
                files.append(
                    self._file(kind, image.name, ".png", lambda path: write_step(path, found, self.categories))
                )
            else:
                entries["instances"] = instance_results(found, self.categories, image.file_name)
        return ItemOutput(tuple(files), entries)

    def _overlay(self, name: str, picture: Picture, found: Prediction) -> Path:
        overlay = draw(picture, found.drawn(), self.categories, self.style)
        suffix = ".jpg" if max(picture.shape) <= _LARGEST_JPEG else ".png"
        data = encode_image(Path(name + suffix), overlay)
        return self._file("overlay", name, suffix, lambda path: path.write_bytes(data))

    def _panoptic(self, image: Named, found: Prediction, entries: dict[str, list[dict[str, Any]]]) -> Path:
        ids, segments = panoptic_segments(found.segmentation, self.categories)
        size = ids.shape[0], ids.shape[1]
        entries |= panoptic_entries(image.file_name, f"{image.name}.png", size, segments)
        return self._file("panoptic", image.name, ".png", lambda path: write_panoptic_png(path, ids))

    def _file(self, kind: OutputKind, name: str, suffix: str, write: Callable[[Path], object]) -> Path:
        path = self.folder / kind / f"{name}{suffix}"
        atomic_write_unsynced(path, write)
        return path


def instance_results(found: Prediction, categories: Categories, file_name: str) -> list[dict[str, Any]]:
    """Return the objects before fusion as COCO's results, without ``image_id``; masks may overlap."""
    return [{"file_name": file_name} | object_result(one, categories) for one in found.instances()]


def object_result(one: Instance, categories: Categories) -> dict[str, Any]:
    """Return an object in COCO's result format of detection, or, if it has a mask, of instance segmentation."""
    y0, x0, y1, x1 = (round(edge, 2) for edge in one.box)
    result = {
        "category_id": categories.classes[one.category + categories.num_stuff].original_id,
        "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
        "score": round(one.score, 6),
    }
    return result if one.mask is None else result | {"segmentation": one.mask.to_json()}


def write_raw(path: Path, found: Prediction) -> None:
    """Write the prediction as an uncompressed ``.npz`` file.

    The arrays are ``ids`` (H×W int32); ``classes``, ``scores`` and ``crowd`` of the segments 0 … K; ``boxes`` (D×4,
    (y0, x0, y1, x1) in pixels), ``box_classes`` (0-based among the things), ``box_scores`` and ``mask_logits`` (D×M×M)
    of the objects before fusion; and ``semantic_logits`` (C×h×w float16) of the semantic head, a regular grid that
    covers the image. Arrays of heads that the network does not have are empty.
    """
    segmentation, objects = found.segmentation, found.detections
    with path.open("wb") as file:
        np.savez(
            file,
            ids=segmentation.ids.numpy().astype(np.int32),
            classes=segmentation.classes.numpy(),
            scores=segmentation.filled_scores.numpy(),
            crowd=segmentation.crowd.numpy(),
            boxes=objects.boxes.float().numpy(),
            box_classes=objects.classes.numpy(),
            box_scores=objects.scores.float().numpy(),
            mask_logits=objects.masks.float().numpy(),
            semantic_logits=found.semantics.logits.half().numpy(),
        )


def write_semantic(path: Path, found: Prediction) -> None:
    """Write the class of every pixel as a gray PNG; void is 255.

    Pixels of a thing class that belong to no object keep their class.
    """
    classes = found.segmentation.semantics.numpy().astype(np.uint8)
    path.write_bytes(cv2.imencode(".png", classes)[1].tobytes())


def write_step(path: Path, found: Prediction, categories: Categories) -> None:
    """Write tracked segments as an RGB PNG in the format of KITTI-STEP: class, and the two bytes of the instance id.

    The class is the index in ``categories.json``, 255 for void. The instance id is the id of the segment minus the
    number of classes for things, and 0 for stuff.

    Raises:
        SeamsegError: An instance id has more than 16 bits.
    """
    segmentation = found.segmentation.without_crowd()
    ids = segmentation.ids.numpy()
    instances = np.maximum(np.arange(len(segmentation.classes)) - len(categories), 0)
    if int(instances[ids].max()) > _LARGEST_STEP_ID:
        raise OutputError(f"{path} cannot store more than {_LARGEST_STEP_ID:,} things; leave out step of --write")
    colors = np.stack([instances & 255, instances >> 8, segmentation.classes.numpy()], axis=1).astype(np.uint8)
    path.write_bytes(cv2.imencode(".png", colors[ids])[1].tobytes())


def write_confidence(path: Path, found: Prediction) -> None:
    """Write the confidence of every pixel as a 16-bit gray PNG; 65535 is 1."""
    assert found.confidence is not None, "the predictor computes no confidence"
    path.write_bytes(cv2.imencode(".png", confidence_levels(found.confidence.numpy()))[1].tobytes())
