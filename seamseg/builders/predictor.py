"""Builder of predictors, with options that override the settings of the model."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch

from seamseg.algos.merging import Merge
from seamseg.algos.tiles import Tiling
from seamseg.builders.model import LoadedModel, with_eval_norm
from seamseg.errors import SettingsError
from seamseg.modules import fold_norms
from seamseg.modules.compilation import compile_network
from seamseg.networks import SegmentationNet
from seamseg.predict import Predictor
from seamseg.predict.predictor import Augmentation
from seamseg.predict.tiled import TiledPredictor
from seamseg.runtime.precision import AnyPrecision, Precision, PrecisionName, choose_precision, prefers_channels_last
from seamseg.structures import Size


@dataclass(frozen=True)
class PredictionOptions:
    """Options of a prediction; None uses the settings of the model.

    Attributes:
        precision: ``float32``, ``bf16``, or ``auto``: bf16 on devices with instructions for it, where it is faster and
            slightly less accurate, else float32.
        score_threshold: Minimum score of an object (exclusive), in 0 … 1.
        overlap_threshold: Maximum fraction of an object, in 0 … 1, that higher-scoring objects may cover; objects
            covered more are dropped.
        min_stuff_area: Minimum area of a stuff segment, in pixels of the network's input or, if below 1, as a fraction
            of the image. Smaller segments become void.
        scales: Factors on the sides of the network's input. Several of them are test-time augmentation: their
            predictions are merged.
        flip: Whether to also predict on the mirrored image.
        merge: Way to merge the class scores of several passes: the mean of their ``logits``, or, at the size of the
            image, the ``mean`` or ``max`` of their probabilities, or a ``vote`` of each pass for a class.
        eval_norm: Share of an image's own statistics in the norms, in 0 … 1; see
            :func:`seamseg.modules.eval_norm.eval_norms`.
        compile: Whether the network runs compiled; see :mod:`seamseg.modules.compilation`.
        confidence: Whether to compute the confidence of every pixel; see :func:`seamseg.algos.fusion.pixel_confidence`.
        tile: Height and width of the tiles that large images are predicted in, in pixels of the image; None predicts
            on whole images.
        overlap: Minimum overlap of neighboring tiles in pixels; None uses a quarter of the tile's shorter side.

    Raises:
        SeamsegError: A threshold, the area, the tile or the overlap is out of range, or there is an overlap without a
            tile.
    """

    precision: AnyPrecision = "auto"
    score_threshold: float | None = None
    overlap_threshold: float | None = None
    min_stuff_area: float | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    merge: Merge = "logits"
    eval_norm: float = 0.0
    compile: bool = False
    confidence: bool = False
    tile: Size | None = None
    overlap: int | None = None

    def __post_init__(self) -> None:
        for name in ("score_threshold", "overlap_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise SettingsError(f"{name} must be in 0 … 1, not {value}")
        if self.min_stuff_area is not None and not 0 <= self.min_stuff_area < float("inf"):
            raise SettingsError(
                f"min_stuff_area must be a number of pixels or a fraction of the image, not {self.min_stuff_area}"
            )
        if self.tile is None and self.overlap is not None:
            raise SettingsError(f"an overlap of {self.overlap} pixels needs tiles; set the size of a tile, too")
        if self.tile is not None and self.confidence:
            raise SettingsError("confidence and tiles exclude each other: tiles never have the class scores of a pixel")
        _ = self.tiling  # checks tile and overlap

    @property
    def tiling(self) -> Tiling | None:
        """Tiles of large images; None for predictions on whole images."""
        if self.tile is None:
            return None
        return Tiling(self.tile, min(self.tile) // 4 if self.overlap is None else self.overlap)


def build_predictor(model: LoadedModel, device: torch.device, options: PredictionOptions | None = None) -> Predictor:
    """Build a predictor of a model.

    Its network is a copy whose norms are folded into the layers before them, in the faster memory format, and whose
    convolutions and linear layers have weights of the precision.

    Args:
        model: Model whose network is on ``device``.
        device: Device to compute on.
        options: Options of the prediction; None uses the settings of the model.

    Raises:
        SeamsegError: The device does not support the precision, the scales are invalid, the norms cannot mix in the
            statistics of an image, or the machine lacks what the compiler needs.
    """
    options = options or PredictionOptions()
    model = with_eval_norm(model, options.eval_norm)
    names = {field.name for field in fields(model.fusion)} & {field.name for field in fields(options)}
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    precision = choose_precision(options.precision, device)
    network = _for_inference(model, device, precision)
    if options.compile:
        compile_network(network, device)
    fusion = replace(model.fusion, **given)
    augmentation = Augmentation(options.scales, options.flip, options.merge)
    only_objects = model.experiment.task in ("instance", "detection")
    arguments = network, model.transform, fusion, device, augmentation, precision, only_objects
    return Predictor(*arguments) if options.tiling is None else TiledPredictor(*arguments, options.tiling)


def _for_inference(model: LoadedModel, device: torch.device, precision: PrecisionName) -> SegmentationNet:
    network = fold_norms(model.network)
    if prefers_channels_last(device, precision):
        network.to(memory_format=torch.channels_last)
    Precision(precision, device).convert_weights(network)
    return network
