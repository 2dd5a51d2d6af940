"""For those who use seamseg as a library."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from seamseg import builders
from seamseg.builders import PredictionOptions
from seamseg.data.formats.coco_writer import measure_segments, panoptic_segments
from seamseg.errors import SeamsegError
from seamseg.io.files import expand_home
from seamseg.metrics.run_length import encode_segments
from seamseg.predict import Prediction, Predictor
from seamseg.predict.images import read_within_limit
from seamseg.runtime.distributed import choose_device
from seamseg.runtime.precision import PrecisionName
from seamseg.structures import Categories, Detections, PanopticSegmentation
from seamseg.visualization.images import Picture, check_picture
from seamseg.visualization.overlay import draw_overlay

ImageLike = str | os.PathLike[str] | NDArray[np.uint8] | Any
"""The path of an image file, an H×W×3 uint8 RGB array, or a PIL image."""


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
        """The segmentation painted over the image: H×W×3 uint8 RGB.

        Args:
            opacity: of the colors, 0 … 1.
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


class Model:
    """A trained network that segments images; :func:`load_model` makes one.

    Attributes:
        predictor: what asks the network.
        categories: that it knows, in the order of its class numbers.
    """

    def __init__(self, predictor: Predictor, categories: Categories) -> None:
        self.predictor, self.categories = predictor, categories

    @overload
    def predict(self, images: list[ImageLike] | tuple[ImageLike, ...]) -> list[Result]: ...
    @overload
    def predict(self, images: ImageLike) -> Result: ...
    def predict(self, images: Any) -> Result | list[Result]:
        """Segments one image, or several one after the other.

        Args:
            images: one image, or a list or tuple of images: paths, H×W×3 uint8 RGB arrays, or PIL images. Use ``seamseg
                predict`` for more than fit into memory.

        Returns:
            One result for one image, a list for a list.

        Raises:
            SeamsegError: something is no image, or a file cannot be read.
        """
        if isinstance(images, (list, tuple)):
            return [self._result(image) for image in images]
        return self._result(images)

    def _result(self, image: ImageLike) -> Result:
        picture = _picture(image)
        (found,) = self.predictor.predict([self.predictor.prepare(picture)])
        return Result(picture, self.categories, found)


def load_model(
    path: Path | str,
    device: str | None = None,
    *,
    precision: PrecisionName = "float32",
    score_threshold: float | None = None,
    overlap_threshold: float | None = None,
    min_stuff_area: float | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
) -> Model:
    """A trained network that segments images; ``seamseg.load_model`` is the same.

    >>> model = load_model("runs/demo")                                              # doctest: +SKIP
    >>> model.predict("street.jpg").segments                                         # doctest: +SKIP

    Args:
        path: of a run folder or a model, as ``seamseg predict`` takes it.
        device: ``cpu``, ``cuda``, ``cuda:1`` or another of torch's devices; None means ``cuda`` where there is a GPU.
        precision, score_threshold, overlap_threshold, min_stuff_area, scales, flip: how to ask the network, as in
            :class:`seamseg.builders.PredictionOptions`; None leaves what it was trained with.

    Raises:
        SeamsegError: nothing is there, it is damaged, there is no such device, or an option is out of range.
    """
    options = PredictionOptions(precision, score_threshold, overlap_threshold, min_stuff_area, tuple(scales), flip)
    chosen = choose_device(device)
    model = builders.open_model(expand_home(path), chosen)
    return Model(builders.build_predictor(model, chosen, options), model.categories)


def _picture(image: ImageLike) -> NDArray[np.uint8]:
    if isinstance(image, (str, os.PathLike)):
        return read_within_limit(expand_home(image))
    if isinstance(image, np.ndarray):
        check_picture(image)
        return image if image.flags.writeable else image.copy()  # torch warns of the others
    if hasattr(image, "convert"):
        return _from_pillow(image)
    raise SeamsegError(
        f"an image is the path of a file, an H×W×3 uint8 array or a PIL image, not a {type(image).__name__}"
    )


def _from_pillow(image: Any) -> NDArray[np.uint8]:
    """As the file would be read: upright, and of 16 bits the upper ones."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        levels = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        pixels = np.repeat(levels[..., None], 3, axis=-1)
    else:
        pixels = np.array(upright.convert("RGB"), np.uint8)
    check_picture(pixels)
    return pixels
