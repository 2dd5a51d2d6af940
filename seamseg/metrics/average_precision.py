"""COCO's average precision of boxes and masks, accumulated image by image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import numpy as np

from seamseg.metrics.coco_evaluation import CocoSides, CocoTables, IouType, average_precision, coco_tables
from seamseg.metrics.run_length import encode_patch, encode_segments
from seamseg.ops.fusion import paste_mask
from seamseg.structures import (
    VOID,
    Detections,
    ImageId,
    ImageInstances,
    Instance,
    LayeredSegmentation,
    PanopticSegmentation,
    Size,
)


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

    def tables(self, kind: IouType) -> CocoTables:
        """Return the complete evaluation of boxes or masks."""
        if not any(image.true for image in self.state):
            return CocoTables(
                np.full((10, 101, self.num_things, 4, 3), -1.0), np.full((10, self.num_things, 4, 3), -1.0)
            )
        return coco_tables(self.sides(kind), kind)

    def _evaluate(self, kind: IouType) -> float:
        if not any(image.true for image in self.state):
            return float("nan")
        return average_precision(self.sides(kind), kind)

    def sides(self, kind: IouType) -> CocoSides:
        """Return the objects so far in COCO's format, as the evaluation of boxes or masks requires them."""
        # The order of the images decides among equal scores, so it must not depend on the ranks.
        images = sorted(self.state, key=lambda image: (isinstance(image.image_id, str), image.image_id))
        sizes = [{"id": index, "height": image.size[0], "width": image.size[1]} for index, image in enumerate(images)]
        categories = [{"id": category} for category in range(self.num_things)]
        true, detected = (
            [(index, one) for index, image in enumerate(images) for one in side(image)]
            for side in (attrgetter("true"), attrgetter("detected"))
        )
        return CocoSides(
            sizes,
            categories,
            [_to_coco(one, image, number, False) for number, (image, one) in enumerate(true, start=1)],
            [_to_coco(one, image, number, kind == "bbox") for number, (image, one) in enumerate(detected, start=1)],
        )


def segment_instances(
    segments: PanopticSegmentation, num_stuff: int, scores: Sequence[float] | None = None
) -> list[Instance]:
    """Return the things of a segmented image with their tight boxes, except segments without pixels.

    Args:
        segments: True or predicted segments of the image.
        num_stuff: Number of stuff classes.
        scores: Score of each segment; None for the truth, which has score 1.
    """
    return list(_by_segment(segments, num_stuff, scores).values())


def true_instances(truth: LayeredSegmentation, num_stuff: int) -> list[Instance]:
    """Return the annotated things of an image, with boxes and areas as the annotation states them.

    Args:
        truth: Annotation of the image, in which objects may overlap.
        num_stuff: Number of stuff classes.
    """
    found = [pair for layer in truth.by_layer for pair in _by_segment(layer, num_stuff).items()]
    if truth.stated is None:
        return [one for _, one in found]
    stated = truth.stated.tolist()
    return [_with_stated(one, stated[segment]) for segment, one in found]


def _by_segment(
    segments: PanopticSegmentation, num_stuff: int, scores: Sequence[float] | None = None
) -> dict[int, Instance]:
    classes, crowd = segments.classes.tolist(), segments.crowd.tolist()
    things = [segment for segment, value in enumerate(classes) if num_stuff <= value != VOID]
    masks = encode_segments(segments.ids.cpu().numpy(), things)
    return {
        segment: Instance(
            classes[segment] - num_stuff, mask.box(), mask, 1.0 if scores is None else scores[segment], crowd[segment]
        )
        for segment, mask in zip(things, masks, strict=True)
        if mask.area() > 0
    }


def _with_stated(one: Instance, stated: list[float]) -> Instance:
    """Return an object with the stated box (y0, x0, y1, x1) and area, as far as they are not NaN."""
    y0, x0, y1, x1, area = stated
    box = one.box if any(map(math.isnan, stated[:4])) else (y0, x0, y1, x1)
    return replace(one, box=box, stated_area=None if math.isnan(area) else area)


def detected_instances(detections: Detections, size: Size) -> list[Instance]:
    """Return the objects of an image before fusion, with the boxes that the network predicted.

    Args:
        detections: Detections with boxes in pixels of the image.
        size: Height and width of the image.
    """
    instances = []
    boxes, classes, scores = detections.boxes.tolist(), detections.classes.tolist(), detections.scores.tolist()
    for index, (box, category, score) in enumerate(zip(boxes, classes, scores, strict=True)):
        mask = None
        if detections.has_masks:
            patch = paste_mask(detections.masks[index], detections.boxes[index], size)
            mask = encode_patch(patch.mask.cpu().numpy(), patch.top, patch.left, size)
        instances.append(Instance(category, tuple(box), mask, score))
    return instances


def _to_coco(instance: Instance, image: int, number: int, has_box_area: bool) -> dict[str, Any]:
    """Return an annotation. As in COCO's evaluation, detected boxes have their own area, and all others the mask's."""
    y0, x0, y1, x1 = instance.box
    mask, height, width = instance.mask, y1 - y0, x1 - x0
    area = height * width if has_box_area or mask is None else mask.area()
    annotation = {
        "id": number,
        "image_id": image,
        "category_id": instance.category,
        "bbox": [x0, y0, width, height],
        "area": area if instance.stated_area is None else instance.stated_area,
        "iscrowd": int(instance.crowd),
        "score": instance.score,
    }
    return annotation if mask is None else annotation | {"segmentation": mask.to_coco()}
