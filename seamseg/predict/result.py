"""Result of one image in the Python API."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seamseg.data.formats.coco_writer import measure_segments, panoptic_segments
from seamseg.metrics.run_length import encode_segments
from seamseg.predict.outputs import object_result
from seamseg.predict.predictor import Prediction
from seamseg.structures import Categories, Detections, Instance, PanopticSegmentation
from seamseg.visualization.images import Picture
from seamseg.visualization.objects import draw
from seamseg.visualization.overlay import Style


@dataclass(frozen=True)
class ResultSegment:
    """One segment of an image.

    Attributes:
        id: Id of the segment in ``Result.panoptic.ids``.
        class_name: Name of the class, such as ``car``.
        class_index: Index of the class in the model's order, stuff first.
        is_thing: Whether the class is a thing (countable objects) rather than stuff (an amorphous region).
        is_crowd: Whether the segment holds the pixels of a thing class that belong to no detected object.
        score: Confidence in 0 … 1; 1 for stuff.
        area: Area in pixels.
        box: Tight bounding box (y0, x0, y1, x1) in pixels, half-open.
    """

    id: int
    class_name: str
    class_index: int
    is_thing: bool
    is_crowd: bool
    score: float
    area: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class ResultObject:
    """One detected object of an image, with its mask.

    Attributes:
        class_name: Name of the class, such as ``car``.
        class_index: Index of the class in the model's order, stuff first.
        score: Confidence in 0 … 1.
        box: Predicted box (y0, x0, y1, x1) in pixels.
        mask: Pixels of the object, H×W bool. Masks of different objects may overlap.
    """

    class_name: str
    class_index: int
    score: float
    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Result:
    """Prediction for one image, as :meth:`Model.predict` returns it. What the task of the model lacks is None or empty.

    | task | ``detections`` | ``instances`` | ``semantic`` | ``panoptic``, ``segments`` |
    |---|---|---|---|---|
    | panoptic | boxes, masks | objects before fusion | class map of the segments | segments |
    | instance | boxes, masks | objects | None | None, () |
    | detection | boxes | None | None | None, () |
    | semantic | None | None | class map | one segment per class |

    Attributes:
        image: H×W×3 uint8 RGB image.
        categories: Classes of the model.
        prediction: Complete output of the model for the image.
        task: Task of the model.

    Example:
        >>> import json, seamseg
        >>> model = seamseg.load_model("runs/demo", device="cpu")
        >>> result = model.predict("street.jpg")
        >>> result.panoptic.ids.shape == result.image.shape[:2]
        True
        >>> for segment in result.segments:
        ...     print(segment.class_name, segment.is_thing, segment.area)
        road False 12288
        >>> result.overlay(opacity=0.7).dtype
        dtype('uint8')
        >>> text = json.dumps(result.to_coco(image_id=7))
    """

    image: Picture
    categories: Categories
    prediction: Prediction
    task: str = "panoptic"

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        if self.panoptic is None:
            return f"Result({height}×{width}, {len(self.prediction.detections)} objects)"
        return f"Result({height}×{width}, {len(self.segments)} segments)"

    @property
    def panoptic(self) -> PanopticSegmentation | None:
        """Segment ids, H×W, with the class, score and crowd flag of each id; id 0 is void."""
        return self.prediction.segmentation if self.task in ("panoptic", "semantic") else None

    @property
    def semantic(self) -> Tensor | None:
        """Class of every pixel, H×W int64; 255 for void."""
        return None if self.panoptic is None else self.panoptic.semantics

    @property
    def confidence(self) -> Tensor | None:
        """Confidence of every pixel, H×W float32 in 0 … 1, of a model loaded with ``confidence=True``; else None.

        The softmax probability of the class for stuff, score times mask probability for things, and 0 for void. None
        also for models that only find objects.
        """
        return None if self.panoptic is None else self.prediction.confidence

    @property
    def detections(self) -> Detections | None:
        """Detected objects before fusion, by descending score, with boxes in pixels of the image."""
        return None if self.task == "semantic" else self.prediction.detections

    @cached_property
    def instances(self) -> tuple[ResultObject, ...] | None:
        """Detected objects before fusion, by descending score, with masks of the size of the image."""
        if self.task not in ("panoptic", "instance"):
            return None
        return tuple(
            ResultObject(self._name(one), one.category + self.categories.num_stuff, one.score, one.box, _decoded(one))
            for one in self._objects
        )

    @cached_property
    def _objects(self) -> list[Instance]:
        return self.prediction.instances()

    def _name(self, one: Instance) -> str:
        return self.categories.classes[one.category + self.categories.num_stuff].name

    @cached_property
    def segments(self) -> tuple[ResultSegment, ...]:
        """Segments that have pixels, ordered by id: things by descending score, then stuff."""
        if self.panoptic is None:
            return ()
        measures = measure_segments(self.panoptic.ids.numpy()).without_void()
        classes, scores = self.panoptic.classes.tolist(), self.panoptic.filled_scores.tolist()
        crowd = self.panoptic.crowd.tolist()
        rows = zip(measures.ids.tolist(), measures.areas.tolist(), measures.boxes.tolist(), strict=True)
        return tuple(
            ResultSegment(
                id=segment,
                class_name=self.categories.classes[classes[segment]].name,
                class_index=classes[segment],
                is_thing=self.categories.classes[classes[segment]].is_thing,
                is_crowd=crowd[segment],
                score=scores[segment],
                area=area,
                box=(box[0], box[1], box[2], box[3]),
            )
            for segment, area, box in rows
        )

    def overlay(self, opacity: float = 0.5, labels: bool = True, scores: bool = True) -> Picture:
        """Paint the segments over the image, or the objects of a model that only finds objects.

        Args:
            opacity: Opacity of the colors in 0 … 1.
            labels: Whether to write class names, on segments if they are large enough.
            scores: Whether to append the score to the class name of each thing.

        Returns:
            H×W×3 uint8 RGB.
        """
        return draw(self.image, self.prediction.drawn(), self.categories, Style(opacity, labels, scores))

    def to_coco(self, image_id: int | str = 1) -> list[dict[str, Any]]:
        """Return the segments, or the objects of a model that only finds objects, in COCO format for ``json.dumps``.

        Objects have the format of COCO's results: ``image_id``, ``category_id``, ``bbox``, ``score``, and
        ``segmentation`` as run lengths if there are masks. Segments are described below.

        Each segment has the keys of ``segments_info`` (``id``, ``category_id``, ``area``, ``bbox``, ``iscrowd``) and
        those of an instance segmentation result (``image_id``, ``score``, ``segmentation`` as run lengths). Crowd
        segments are omitted, as in ``panoptic.json``.

        Args:
            image_id: Value of ``image_id`` in every entry.
        """
        if self.panoptic is None:
            return [{"image_id": image_id} | object_result(one, self.categories) for one in self._objects]
        ids, segments = panoptic_segments(self.panoptic, self.categories)
        masks = encode_segments(ids, [segment["id"] for segment in segments])
        return [
            segment | {"image_id": image_id} | {"segmentation": mask.to_json()}
            for segment, mask in zip(segments, masks, strict=True)
        ]

    def to_supervision(self) -> Any:
        """Return the segments without crowd segments, or the detected objects, as ``supervision.Detections``.

        ``xyxy`` holds the boxes, which are tight for segments, ``mask`` the pixels, if there are masks, ``confidence``
        the scores, ``class_id`` the class indices in the model's order, and ``data["class_name"]`` the class names.

        Raises:
            ImportError: The package supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError("to_supervision() requires the package supervision: pip install supervision") from error
        found: list[_Named]
        if self.panoptic is None:
            found = [_Named(one.box, one.score, one.category + self.categories.num_stuff) for one in self._objects]
            masks = [_decoded(one) for one in self._objects if one.mask is not None]
        else:
            segments = [segment for segment in self.segments if not segment.is_crowd]
            found = [_Named(segment.box, segment.score, segment.class_index) for segment in segments]
            masks = [self.panoptic.ids.numpy() == segment.id for segment in segments]
        if not found:
            return supervision.Detections.empty()
        pixels: Any = np.stack(masks) if masks else None
        y0, x0, y1, x1 = np.array([one.box for one in found], np.float32).T
        names = self.categories.names
        return supervision.Detections(
            xyxy=np.stack([x0, y0, x1, y1], axis=1),
            mask=pixels,
            confidence=np.array([one.score for one in found], np.float32),
            class_id=np.array([one.class_index for one in found]),
            data={"class_name": np.array([names[one.class_index] for one in found])},
        )


class _Named(NamedTuple):
    box: tuple[float, float, float, float]
    score: float
    class_index: int


def _decoded(one: Instance) -> NDArray[np.bool_]:
    assert one.mask is not None, "the task has masks"
    return one.mask.decoded()
