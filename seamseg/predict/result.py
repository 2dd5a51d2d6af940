"""What is in one image, for those who use seamseg as a library."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from seamseg.data.formats.coco_writer import measure_segments, panoptic_segments
from seamseg.metrics.run_length import encode_segments
from seamseg.predict.predictor import Prediction
from seamseg.structures import Categories, Detections, PanopticSegmentation
from seamseg.visualization.images import Picture
from seamseg.visualization.overlay import draw_overlay


@dataclass(frozen=True)
class ResultSegment:
    """One segment of an image.

    Attributes:
        id: its number in the id map.
        class_name: such as ``car``.
        class_index: number of the class in the model's order, stuff first.
        is_thing: whether it is one countable object, rather than all of an amorphous class.
        is_crowd: whether it is what is left of a thing class, which no single object stands behind.
        score: 0 … 1; 1 for stuff.
        area: in pixels.
        box: the tight (y0, x0, y1, x1) in pixels, half-open.
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
class Result:
    """What a model says of one image.

    Attributes:
        image: H×W×3 uint8 RGB, as the model saw it.
        categories: of the model.
        prediction: everything, in the model's own terms.
    """

    image: Picture
    categories: Categories
    prediction: Prediction

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Result({height}×{width}, {len(self.segments)} segments)"

    @property
    def panoptic(self) -> PanopticSegmentation:
        """The H×W segment ids, and class, score and crowd flag of each id; id 0 is void."""
        return self.prediction.segmentation

    @property
    def detections(self) -> Detections:
        """The objects before fusion, boxes in pixels of the image."""
        return self.prediction.detections

    @cached_property
    def segments(self) -> tuple[ResultSegment, ...]:
        """All segments that have pixels, by id: things by falling score, then stuff."""
        measures = measure_segments(self.panoptic.ids.numpy()).without_void()
        classes, scores = self.panoptic.classes.tolist(), self.panoptic.scores.tolist()
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
        """The segmentation painted over the image: H×W×3 uint8 RGB.

        Args:
            opacity: of the colours, 0 … 1.
            labels: write the names of the classes on segments that are large enough.
            scores: follow the names of things by their scores.
        """
        return draw_overlay(self.image, self.panoptic, self.categories, opacity, labels, scores)

    def to_coco(self, image_id: int | str = 1) -> list[dict[str, Any]]:
        """The segments as COCO writes them, ready for ``json.dumps``.

        Each has the keys of an entry of ``segments_info`` (``id``, ``category_id``, ``area``, ``bbox``, ``iscrowd``)
        and those of a result of instance segmentation (``image_id``, ``score``, ``segmentation`` in run lengths). What
        is left of a thing class is left out, as in ``panoptic.json``.
        """
        ids, segments = panoptic_segments(self.panoptic, self.categories)
        masks = encode_segments(ids, [segment["id"] for segment in segments])
        return [
            segment
            | {"image_id": image_id}
            | {"segmentation": {"size": list(mask.size), "counts": mask.counts.decode("ascii")}}
            for segment, mask in zip(segments, masks, strict=True)
        ]

    def to_supervision(self) -> Any:
        """``supervision.Detections`` of all segments but left-overs of thing classes.

        ``xyxy`` are tight boxes, ``mask`` the pixels, ``confidence`` the scores, ``class_id`` the classes in the
        model's order, and ``data["class_name"]`` their names.

        Raises:
            ImportError: the package supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError("to_supervision() needs the package supervision: pip install supervision") from error
        segments = [segment for segment in self.segments if not segment.is_crowd]
        if not segments:
            return supervision.Detections.empty()
        ids = np.array([segment.id for segment in segments])
        y0, x0, y1, x1 = np.array([segment.box for segment in segments], np.float32).T
        return supervision.Detections(
            xyxy=np.stack([x0, y0, x1, y1], axis=1),
            mask=self.panoptic.ids.numpy()[None] == ids[:, None, None],
            confidence=np.array([segment.score for segment in segments], np.float32),
            class_id=np.array([segment.class_index for segment in segments]),
            data={"class_name": np.array([segment.class_name for segment in segments])},
        )
