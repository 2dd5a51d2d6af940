"""Python API: load a trained model and predict on images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from seamseg import builders
from seamseg.algos.merging import Merge
from seamseg.builders import PredictionOptions
from seamseg.errors import SeamsegError
from seamseg.io.files import expand_home
from seamseg.predict import Predictor
from seamseg.predict.images import MOST_PIXELS, MOST_TILED_PIXELS, read_within_limit
from seamseg.predict.result import Result
from seamseg.runtime.distributed import choose_device
from seamseg.runtime.precision import AnyPrecision
from seamseg.structures import Categories
from seamseg.visualization.images import check_picture

ImageLike = str | os.PathLike[str] | NDArray[np.uint8] | Any
"""Path of an image file, H×W×3 uint8 RGB array, or PIL image."""


class Model:
    """Trained network that predicts on images; :func:`load_model` creates one.

    Attributes:
        predictor: Predictor that runs the network.
        categories: Classes of the model, in the order of their indices.
        task: ``panoptic``, ``instance``, ``detection`` or ``semantic``.
    """

    def __init__(self, predictor: Predictor, categories: Categories, task: str = "panoptic") -> None:
        self.predictor, self.categories, self.task = predictor, categories, task

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
        picture = _picture(image, MOST_PIXELS if self.predictor.tiling is None else MOST_TILED_PIXELS)
        (found,) = self.predictor.predict([self.predictor.prepare(picture)])
        return Result(picture, self.categories, found, self.task)


def load_model(
    path: Path | str,
    device: str | None = None,
    *,
    precision: AnyPrecision = "auto",
    score_threshold: float | None = None,
    overlap_threshold: float | None = None,
    min_stuff_area: float | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    merge: Merge = "logits",
    eval_norm: float = 0.0,
    compile: bool = False,
    confidence: bool = False,
    tile: tuple[int, int] | None = None,
    overlap: int | None = None,
) -> Model:
    """Load a trained model; exported as ``seamseg.load_model``.

    Args:
        path: Path of a run folder, a model folder, or another model that ``seamseg predict`` accepts; or
            ``hf://ORG/NAME[@REVISION]``, a model folder on the Hugging Face Hub, which is downloaded once and requires
            the package huggingface_hub.
        device: Device of torch, such as ``cpu`` or ``cuda:1``. None selects ``cuda`` if there is a GPU, else ``cpu``.
        precision: ``float32``, ``bf16``, or ``auto``: bf16 on devices with instructions for it, where it is faster and
            slightly less accurate, else float32.
        score_threshold: Minimum score of a detection, in 0 … 1. None, here and below, uses the setting of the model.
        overlap_threshold: Maximum fraction of a detection, in 0 … 1, that detections with higher scores may cover.
        min_stuff_area: Minimum area of a stuff segment in pixels of the network's input, or, below 1, as a fraction.
        scales: Factors on the sides of the network's input. Several factors mean test-time augmentation.
        flip: Whether to also predict on the mirrored image.
        merge: Way to merge the class scores of several factors and of the mirrored image: the mean of their ``logits``,
            or, at the size of the image, the ``mean`` or ``max`` of their probabilities, or a ``vote`` for a class.
        eval_norm: Share of an image's own statistics in the norms, in 0 … 1 (EvalNorm); 1/m suits a model that was
            trained with m images at a time and ``norm.name=bn``.
        compile: Whether ``torch.compile`` compiles the network, once for images of all sizes. The first predictions
            take minutes.
        confidence: Whether results have the confidence of every pixel; see :attr:`Result.confidence`.
        tile: Height and width of the tiles that large images are predicted in, in pixels of the image. Each tile is
            predicted as an image of its own, and objects that several tiles see are joined. None predicts on whole
            images.
        overlap: Minimum overlap of neighboring tiles in pixels; None uses a quarter of the tile's shorter side.

    Returns:
        The model on the chosen device.

    Raises:
        SeamsegError: The model is missing or damaged, the device does not exist, an option is out of range, or the
            machine lacks what the compiler needs.

    Example:
        >>> import seamseg
        >>> model = seamseg.load_model("runs/demo", device="cpu", score_threshold=0.7)
        >>> model.categories.names
        ('road', 'car')
        >>> model.predict("street.jpg")
        Result(96×128, 1 segments)
    """
    options = PredictionOptions(
        precision,
        score_threshold,
        overlap_threshold,
        min_stuff_area,
        tuple(scales),
        flip,
        merge,
        eval_norm,
        compile,
        confidence,
        tile,
        overlap,
    )
    chosen = choose_device(device)
    model = builders.open_model(expand_home(path), chosen)
    return Model(builders.build_predictor(model, chosen, options), model.output_categories, model.experiment.task)


def _picture(image: ImageLike, most_pixels: int) -> NDArray[np.uint8]:
    if isinstance(image, (str, os.PathLike)):
        return read_within_limit(expand_home(image), most_pixels)
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
