"""COCO's average precision of boxes and masks, computed by hotcoco or pycocotools."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from seamseg.metrics.run_length import RunLengthMask, encode_patch, encode_segments
from seamseg.ops.fusion import paste_mask
from seamseg.structures import VOID, Detections, ImageId, PanopticSegmentation, Size

Library = Literal["pycocotools", "hotcoco"]
IouType = Literal["bbox", "segm"]
"""Whether the IoU of boxes or of masks is thresholded; COCO's ``iouType``."""

_MAX_DETECTIONS = 100  # per class and image, as in COCO
_EVERY_AREA = [0, 1e10]


@dataclass(frozen=True)
class CocoSides:
    """True objects and detections in COCO's format.

    Attributes:
        images: ``id``, ``height`` and ``width`` of each image; ids are integers.
        categories: ``id`` of each category.
        true: Annotations of the true objects. Ids start at 1, since COCO's evaluation uses 0 for "no match".
        detected: Annotations of the detections, with ids from 1 as well.
    """

    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    true: list[dict[str, Any]]
    detected: list[dict[str, Any]]


def fastest_library() -> Library:
    """Return hotcoco if the extra ``fast`` is installed; it gives the same numbers about ten times as fast."""
    return "hotcoco" if importlib.util.find_spec("hotcoco") else "pycocotools"


def average_precision(sides: CocoSides, kind: IouType, library: Library | None = None) -> float:
    """Compute AP@[.5:.95] with at most 100 detections per class and image.

    Args:
        sides: True objects and detections.
        kind: ``"bbox"`` for the AP of boxes, ``"segm"`` for the AP of masks.
        library: Library to use; None means :func:`fastest_library`.

    Returns:
        AP in 0 … 1; NaN if there is no true object, apart from crowd.
    """
    precision = precisions(sides, kind, library or fastest_library())
    counted = precision[precision >= 0]
    return float(np.mean(counted)) if counted.size else float("nan")


def precisions(sides: CocoSides, kind: IouType, library: Library) -> NDArray[np.float64]:
    """Compute the precision of each class at 10 IoU thresholds and 101 recalls.

    Args:
        sides: True objects and detections.
        kind: ``"bbox"`` for boxes, ``"segm"`` for masks.
        library: Library to use.

    Returns:
        Precisions, 10×101×K×1×1; -1 for classes without a true object, apart from crowd.
    """
    return {"pycocotools": _by_pycocotools, "hotcoco": _by_hotcoco}[library](sides, kind)


def _by_pycocotools(sides: CocoSides, kind: IouType) -> NDArray[np.float64]:
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress with print
        evaluation = COCOeval(*(_indexed(sides, annotations) for annotations in (sides.true, sides.detected)), kind)
        evaluation.params.maxDets = [_MAX_DETECTIONS]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [_EVERY_AREA], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"], np.float64)


def _indexed(sides: CocoSides, annotations: list[dict[str, Any]]) -> COCO:
    data = COCO()
    data.dataset = {"images": sides.images, "categories": sides.categories, "annotations": annotations}
    data.createIndex()
    return data


def _by_hotcoco(sides: CocoSides, kind: IouType) -> NDArray[np.float64]:
    import hotcoco  # optional: installed with the extra `fast`

    images, categories = sides.images, [{"name": str(one["id"])} | one for one in sides.categories]
    true, detected = (
        hotcoco.COCO({"images": images, "categories": categories, "annotations": annotations})
        for annotations in (sides.true, sides.detected)
    )
    evaluation = hotcoco.COCOeval(true, detected, kind)
    evaluation.params.max_dets = [_MAX_DETECTIONS]
    evaluation.params.area_rng, evaluation.params.area_rng_lbl = [_EVERY_AREA], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval is not None
    return np.asarray(evaluation.eval["precision"], np.float64)


@dataclass(frozen=True)
class Instance:
    """A true or detected object.

    Attributes:
        category: Class number, 0-based among the things.
        box: Box (y0, x0, y1, x1) in pixels of the original image.
        mask: Mask in pixels of the original image.
        score: Score in 0 … 1; 1 for true objects.
        crowd: Whether it is a crowd of many objects; False for detections.
    """

    category: int
    box: tuple[float, float, float, float]
    mask: RunLengthMask
    score: float = 1.0
    crowd: bool = False


@dataclass(frozen=True)
class ImageInstances:
    """True and detected objects of one image; small, and picklable for other ranks.

    Attributes:
        image_id: Id of the image in the data set.
        size: Height and width of the original image.
        true: True objects.
        detected: Detections.
    """

    image_id: ImageId
    size: Size
    true: list[Instance]
    detected: list[Instance]


class AveragePrecision:
    """COCO's average precision, accumulated image by image.

    True objects come from the panoptic annotation: every segment of a thing class with its tight box. Crowd segments
    have COCO's ``iscrowd``. At most 100 detections count per class and image. Detections with equal scores are ranked
    by ascending image id.

    Attributes:
        state: Objects of the images so far. Concatenating the states of several ranks gives the state of all images.

    Args:
        num_classes: Number of stuff and thing classes.
        num_stuff: Number of stuff classes.
    """

    def __init__(self, num_classes: int, num_stuff: int) -> None:
        self.num_stuff = num_stuff
        self.num_things = num_classes - num_stuff
        self.state: list[ImageInstances] = []

    def update(self, image_id: ImageId, detections: Detections, truth: PanopticSegmentation) -> None:
        """Add one image.

        Args:
            image_id: Id of the image in the data set.
            detections: Detections before fusion, with boxes in pixels of the original image.
            truth: Annotation at the size of the original image.
        """
        true, detected = segment_instances(truth, self.num_stuff), detected_instances(detections, truth.size)
        self.state.append(ImageInstances(image_id, truth.size, true, detected))

    def merge(self, state: Iterable[ImageInstances]) -> None:
        """Add the state of another instance."""
        self.state.extend(state)

    def box_ap(self) -> float:
        """Return the AP of the boxes in 0 … 1; NaN without any true object."""
        return self._evaluate("bbox")

    def mask_ap(self) -> float:
        """Return the AP of the masks in 0 … 1; NaN without any true object."""
        return self._evaluate("segm")

    def _evaluate(self, kind: IouType) -> float:
        if not any(image.true for image in self.state):
            return float("nan")
        return average_precision(self._sides(), kind)

    def _sides(self) -> CocoSides:
        # The order of the images decides among equal scores, so it must not depend on the ranks.
        images = sorted(self.state, key=lambda image: (isinstance(image.image_id, str), image.image_id))
        sizes = [{"id": index, "height": image.size[0], "width": image.size[1]} for index, image in enumerate(images)]
        categories = [{"id": category} for category in range(self.num_things)]
        return CocoSides(sizes, categories, _annotations(images, "true"), _annotations(images, "detected"))


def _annotations(images: Sequence[ImageInstances], side: Literal["true", "detected"]) -> list[dict[str, Any]]:
    instances = [(index, one) for index, image in enumerate(images) for one in getattr(image, side)]
    return [_to_coco(one, image, number) for number, (image, one) in enumerate(instances, start=1)]


def segment_instances(
    segments: PanopticSegmentation, num_stuff: int, scores: Sequence[float] | None = None
) -> list[Instance]:
    """Return the things of a segmented image with their tight boxes, except segments without pixels.

    Args:
        segments: True or predicted segments of the image.
        num_stuff: Number of stuff classes.
        scores: Score of each segment; None for the truth, which has score 1.
    """
    classes, crowd = segments.classes.tolist(), segments.crowd.tolist()
    things = [segment for segment, value in enumerate(classes) if num_stuff <= value != VOID]
    masks = encode_segments(segments.ids.cpu().numpy(), things)
    return [
        Instance(
            classes[segment] - num_stuff, mask.box(), mask, 1.0 if scores is None else scores[segment], crowd[segment]
        )
        for segment, mask in zip(things, masks, strict=True)
        if mask.area() > 0
    ]


def detected_instances(detections: Detections, size: Size) -> list[Instance]:
    """Return the objects of an image before fusion, with the boxes that the network predicted.

    Args:
        detections: Detections with boxes in pixels of the image.
        size: Height and width of the image.
    """
    instances = []
    boxes, classes, scores = detections.boxes.tolist(), detections.classes.tolist(), detections.scores.tolist()
    for index, (box, category, score) in enumerate(zip(boxes, classes, scores, strict=True)):
        patch = paste_mask(detections.masks[index], detections.boxes[index], size)
        mask = encode_patch(patch.mask.cpu().numpy(), patch.top, patch.left, size)
        instances.append(Instance(category, tuple(box), mask, score))
    return instances


def _to_coco(instance: Instance, image: int, number: int) -> dict[str, Any]:
    y0, x0, y1, x1 = instance.box
    return {
        "id": number,
        "image_id": image,
        "category_id": instance.category,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "segmentation": instance.mask.to_coco(),
        "area": instance.mask.area(),
        "iscrowd": int(instance.crowd),
        "score": instance.score,
    }
