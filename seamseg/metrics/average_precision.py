"""Average precision of boxes and masks (COCO's AP@[.5:.95])."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from seamseg.metrics.coco_evaluation import CocoSides, Kind, average_precision
from seamseg.metrics.run_length import RunLengthMask, encode_patch, encode_segments
from seamseg.metrics.segments import Segments
from seamseg.ops.fusion import paste_mask
from seamseg.structures import VOID, Detections, ImageId, Size


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

    def update(self, image_id: ImageId, detections: Detections, truth: Segments) -> None:
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


def segment_instances(segments: Segments, num_stuff: int, scores: Sequence[float] | None = None) -> list[Instance]:
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
