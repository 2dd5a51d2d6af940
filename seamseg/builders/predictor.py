"""A trained network, asked in a certain way."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch

from seamseg.builders.model import LoadedModel
from seamseg.errors import SettingsError
from seamseg.predict import Predictor
from seamseg.predict.predictor import Augmentation
from seamseg.runtime.precision import PrecisionName


@dataclass(frozen=True)
class PredictionOptions:
    """How to ask a network; None leaves what the model was trained with.

    Attributes:
        precision: ``float32``, or ``bf16``: faster where the device computes in it, and slightly less exact.
        score_threshold: objects must be more probable; 0 … 1.
        overlap_threshold: an object goes if better ones hold more than this part of its mask; 0 … 1.
        min_stuff_area: smaller stuff segments become void; pixels of the network's input, or below 1 a part of the
            image.
        scales: factors on the sides of the network's input; several are test-time augmentation.
        flip: also look at each image in the mirror.

    Raises:
        SeamsegError: a threshold or an area is out of range.
    """

    precision: PrecisionName = "float32"
    score_threshold: float | None = None
    overlap_threshold: float | None = None
    min_stuff_area: float | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        for name in ("score_threshold", "overlap_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise SettingsError(f"{name} is a number in 0 … 1, not {value}")
        if self.min_stuff_area is not None and not 0 <= self.min_stuff_area < float("inf"):
            raise SettingsError(
                f"min_stuff_area is a number of pixels or a part of the image, not {self.min_stuff_area}"
            )


def build_predictor(model: LoadedModel, device: torch.device, options: PredictionOptions | None = None) -> Predictor:
    """What segments images.

    Args:
        model: on the device.
        device: to compute on.
        options: how; None asks as in training.

    Raises:
        SeamsegError: the device does not compute in the precision, or the scales are wrong.
    """
    options = options or PredictionOptions()
    names = {field.name for field in fields(model.fusion)} & {field.name for field in fields(options)}
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return Predictor(
        model.network,
        model.transform,
        replace(model.fusion, **given),
        device,
        Augmentation(options.scales, options.flip),
        options.precision,
    )
