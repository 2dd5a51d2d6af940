"""COCO's average precision of boxes and masks, by hotcoco or pycocotools."""

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
Kind = Literal["bbox", "segm"]

_MAX_DETECTIONS = 100  # per class and image, as on COCO
_EVERY_AREA = [0, 1e10]


@dataclass(frozen=True)
class CocoSides:
    """True objects and detections as COCO's files have them.

    Attributes:
        images: ``id``, ``height`` and ``width`` of each; ids are numbers.
        categories: ``id`` of each.
        true, detected: annotations; their ids start at 1, since an evaluation takes a match with 0 for no match.
    """

    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    true: list[dict[str, Any]]
    detected: list[dict[str, Any]]


def fastest_library() -> Library:
    """hotcoco where the extra ``fast`` is installed: the same numbers, about ten times as fast."""
    return "hotcoco" if importlib.util.find_spec("hotcoco") else "pycocotools"


def average_precision(sides: CocoSides, kind: Kind, library: Library | None = None) -> float:
    """AP@[.5:.95] in 0 … 1, at most 100 detections per class and image; NaN without a true object that counts.

    Args:
        sides: what is compared.
        kind: boxes or masks.
        library: None is :func:`fastest_library`.
    """
    precision = precisions(sides, kind, library or fastest_library())
    counted = precision[precision >= 0]
    return float(np.mean(counted)) if counted.size else float("nan")


def precisions(sides: CocoSides, kind: Kind, library: Library) -> NDArray[np.float64]:
    """The precision at 10 thresholds of IoU and 101 recalls, for every class: 10×101×K×1×1; −1 for classes without a
    true object that counts.

    Args:
        sides, kind, library: as :func:`average_precision`.
    """
    return {"pycocotools": _by_pycocotools, "hotcoco": _by_hotcoco}[library](sides, kind)


def _by_pycocotools(sides: CocoSides, kind: Kind) -> NDArray[np.float64]:
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


def _by_hotcoco(sides: CocoSides, kind: Kind) -> NDArray[np.float64]:
    import hotcoco  # an extra

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
    """One object, true or detected.

    Attributes:
        category: 0-based among the things.
        box: (y0, x0, y1, x1) in pixels of the original image.
        mask: its pixels there.
        score: in 0 … 1; 1 for true objects.
        crowd: stands for many objects; detections never do.
    """

    category: int
    box: tuple[float, float, float, float]
    mask: RunLengthMask
    score: float = 1.0
    crowd: bool = False


@dataclass(frozen=True)
class ImageInstances:
    """The objects of one image, both sides; small, and picklable for other ranks."""

    image_id: ImageId
    size: Size
    true: list[Instance]
    detected: list[Instance]


class AveragePrecision:
    """Collects objects and detections, image by image.

    True objects come from the panoptic annotation: every segment of a thing class with its tight box; crowd segments
    are COCO's ``iscrowd``. At most 100 detections count per class and image; of equal scores, those of the image with
    the smaller id come first.

    Attributes:
        state: what was collected; the states of several ranks, one after the other, are that of all images.

    Args:
        num_classes: stuff and things together.
        num_stuff: number of stuff classes.
    """

    def __init__(self, num_classes: int, num_stuff: int) -> None:
        self.num_stuff = num_stuff
        self.num_things = num_classes - num_stuff
        self.state: list[ImageInstances] = []

    def update(self, image_id: ImageId, detections: Detections, truth: PanopticSegmentation) -> None:
        """Collects one image.

        Args:
            image_id: the data set's own id.
            detections: before fusion, boxes in pixels of the original image.
            truth: the annotation at the size of the original image.
        """
        true, detected = segment_instances(truth, self.num_stuff), detected_instances(detections, truth.size)
        self.state.append(ImageInstances(image_id, truth.size, true, detected))

    def merge(self, state: Iterable[ImageInstances]) -> None:
        """Adds what another instance collected."""
        self.state.extend(state)

    def box_ap(self) -> float:
        """AP of the boxes in 0 … 1; NaN without any true object."""
        return self._evaluate("bbox")

    def mask_ap(self) -> float:
        """AP of the masks in 0 … 1; NaN without any true object."""
        return self._evaluate("segm")

    def _evaluate(self, kind: Kind) -> float:
        if not any(image.true for image in self.state):
            return float("nan")
        return average_precision(self._sides(), kind)

    def _sides(self) -> CocoSides:
        # In the order of ids, not in that in which ranks found them: among equal scores it decides.
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
    """The things of an image that is cut into segments, with their tight boxes; those without a pixel are left out.

    Args:
        segments: of the true or of the predicted side.
        num_stuff: number of stuff classes.
        scores: one per segment; None of the truth.
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
    """The objects of an image before fusion, with the boxes that the network gave them.

    Args:
        detections: in pixels of the image.
        size: its height and width.
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
