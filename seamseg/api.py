"""For those who use seamseg as a library."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from seamseg import builders
from seamseg.builders import PredictionOptions
from seamseg.io.files import expand_home
from seamseg.predict import Predictor
from seamseg.predict.images import read_photograph
from seamseg.predict.result import Result
from seamseg.runtime.distributed import choose_device
from seamseg.runtime.precision import PrecisionName
from seamseg.structures import Categories
from seamseg.visualization.images import check_picture

ImageLike = str | os.PathLike[str] | NDArray[np.uint8] | Any
"""The path of an image file, an H×W×3 uint8 RGB array, or a PIL image."""


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
            ValueError: something is no image, or a file cannot be read.
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
        ValueError: nothing is there, it is damaged, there is no such device, or an option is out of range.
    """
    options = PredictionOptions(precision, score_threshold, overlap_threshold, min_stuff_area, tuple(scales), flip)
    chosen = choose_device(device)
    model = builders.load_model(expand_home(path), chosen)
    return Model(builders.build_predictor(model, chosen, options), model.categories)


def _picture(image: ImageLike) -> NDArray[np.uint8]:
    if isinstance(image, (str, os.PathLike)):
        return read_photograph(expand_home(image))
    if isinstance(image, np.ndarray):
        check_picture(image)
        return image if image.flags.writeable else image.copy()  # torch warns of the others
    if hasattr(image, "convert"):
        return _from_pillow(image)
    raise ValueError(
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
