"""Python API: load a trained model and segment images."""

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
from seamseg.algos.merging import Merge
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
"""Path of an image file, H×W×3 uint8 RGB array, or PIL image."""


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
class Result:
    """Segmentation of one image, as :meth:`Model.predict` returns it.

    Attributes:
        image: H×W×3 uint8 RGB image that was segmented.
        categories: Classes of the model.
        prediction: Complete output of the model for the image.

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

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Result({height}×{width}, {len(self.segments)} segments)"

    @property
    def panoptic(self) -> PanopticSegmentation:
        """Segment ids, H×W, with the class, score and crowd flag of each id; id 0 is void."""
        return self.prediction.segmentation

    @property
    def detections(self) -> Detections:
        """Detected objects before fusion, with boxes in pixels of the image."""
        return self.prediction.detections

    @cached_property
    def segments(self) -> tuple[ResultSegment, ...]:
        """Segments that have pixels, ordered by id: things by descending score, then stuff."""
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
        """Paint the segmentation over the image.

        Args:
            opacity: Opacity of the colors in 0 … 1.
            labels: Whether to write class names on segments that are large enough.
            scores: Whether to append the score to the class name of each thing.

        Returns:
            H×W×3 uint8 RGB.
        """
        return draw_overlay(self.image, self.panoptic, self.categories, opacity, labels, scores)

    def to_coco(self, image_id: int | str = 1) -> list[dict[str, Any]]:
        """Return the segments in COCO format, ready for ``json.dumps``.

        Each entry has the keys of ``segments_info`` (``id``, ``category_id``, ``area``, ``bbox``, ``iscrowd``) and the
        keys of an instance segmentation result (``image_id``, ``score``, ``segmentation`` as run lengths). Crowd
        segments are omitted, as in ``panoptic.json``.

        Args:
            image_id: Value of ``image_id`` in every entry.
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
        """Return the segments as ``supervision.Detections``, without crowd segments.

        ``xyxy`` holds tight boxes, ``mask`` the pixels, ``confidence`` the scores, ``class_id`` the class indices in
        the model's order, and ``data["class_name"]`` the class names.

        Raises:
            ImportError: The package supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError("to_supervision() requires the package supervision: pip install supervision") from error
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
    """Trained network that segments images; :func:`load_model` creates one.

    Attributes:
        predictor: Predictor that runs the network.
        categories: Classes of the model, in the order of their indices.
    """

    def __init__(self, predictor: Predictor, categories: Categories) -> None:
        self.predictor, self.categories = predictor, categories

    @overload
    def predict(self, images: list[ImageLike] | tuple[ImageLike, ...]) -> list[Result]: ...
    @overload
    def predict(self, images: ImageLike) -> Result: ...
    def predict(self, images: Any) -> Result | list[Result]:
        """Segment one image, or several images one after the other.

        Args:
            images: One image, or a list or tuple of images. An image is a path, an H×W×3 uint8 RGB array, or a PIL
                image. Use ``seamseg predict`` for more images than fit into memory.

        Returns:
            A :class:`Result` for one image, a list of results for a list or tuple.

        Raises:
            SeamsegError: An argument is not an image, or a file cannot be read.

        Example:
            >>> import numpy as np, seamseg
            >>> model = seamseg.load_model("runs/demo", device="cpu")
            >>> array = np.zeros((48, 64, 3), np.uint8)
            >>> len(model.predict(["street.jpg", array]))
            2
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
    merge: Merge = "logits",
    eval_norm: float = 0.0,
) -> Model:
    """Load a trained model; exported as ``seamseg.load_model``.

    Args:
        path: Path of a run folder, a model folder, or another model that ``seamseg predict`` accepts.
        device: Device of torch, such as ``cpu`` or ``cuda:1``. None selects ``cuda`` if there is a GPU, else ``cpu``.
        precision: ``float32`` or ``bf16``, which is faster on devices that support it and slightly less accurate.
        score_threshold: Minimum score of a detection, in 0 … 1. None, here and below, uses the setting of the model.
        overlap_threshold: Maximum fraction of a detection, in 0 … 1, that detections with higher scores may cover.
        min_stuff_area: Minimum area of a stuff segment in pixels of the network's input, or, below 1, as a fraction.
        scales: Factors on the sides of the network's input. Several factors mean test-time augmentation.
        flip: Whether to also predict on the mirrored image.
        merge: Way to merge the class scores of several factors and of the mirrored image: the mean of their ``logits``,
            or, at the size of the image, the ``mean`` or ``max`` of their probabilities, or a ``vote`` for a class.
        eval_norm: Share of an image's own statistics in the norms, in 0 … 1 (EvalNorm); 1/m suits a model that was
            trained with m images at a time and ``norm.name=bn``.

    Returns:
        The model on the chosen device.

    Raises:
        SeamsegError: The model is missing or damaged, the device does not exist, or an option is out of range.

    Example:
        >>> import seamseg
        >>> model = seamseg.load_model("runs/demo", device="cpu", score_threshold=0.7)
        >>> model.categories.names
        ('road', 'car')
        >>> model.predict("street.jpg")
        Result(96×128, 1 segments)
    """
    options = PredictionOptions(
        precision, score_threshold, overlap_threshold, min_stuff_area, tuple(scales), flip, merge, eval_norm
    )
    chosen = choose_device(device)
    model = builders.open_model(expand_home(path), chosen)
    return Model(builders.build_predictor(model, chosen, options), model.output_categories)


def _picture(image: ImageLike) -> NDArray[np.uint8]:
    if isinstance(image, (str, os.PathLike)):
        return read_within_limit(expand_home(image))
    if isinstance(image, np.ndarray):
        check_picture(image)
        return image if image.flags.writeable else image.copy()  # torch warns about read-only arrays
    if hasattr(image, "convert"):
        return _from_pillow(image)
    raise SeamsegError(
        f"an image must be a file path, an H×W×3 uint8 array or a PIL image, not a {type(image).__name__}"
    )


def _from_pillow(image: Any) -> NDArray[np.uint8]:
    """Pixels as if read from the file: upright, and the upper 8 of 16 bits."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        levels = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        pixels = np.repeat(levels[..., None], 3, axis=-1)
    else:
        pixels = np.array(upright.convert("RGB"), np.uint8)
    check_picture(pixels)
    return pixels
