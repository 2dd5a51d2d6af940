"""Predictor with random weights, whose cost is measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seamseg.builders import (
    LoadedModel,
    PredictionOptions,
    build_fusion,
    build_initialized_network,
    build_input_transform,
    build_predictor,
)
from seamseg.config import load_experiment, settings_file
from seamseg.predict import Predictor
from seamseg.scenes import SCENE_CATEGORIES
from seamseg.structures import Categories, Size


def random_predictor(
    config_name: str,
    size: Size,
    overrides: Sequence[str],
    device: torch.device,
    categories: Categories = SCENE_CATEGORIES,
    options: PredictionOptions | None = None,
) -> Predictor:
    """Return a predictor with the network of a config that does not resize images.

    Args:
        config_name: Name of the config.
        size: Height and width of the images; the height must be the shorter side.
        overrides: Overrides of other settings, such as ``roi.max_predictions=5``.
        device: Device to compute on.
        categories: Classes of the network.
        options: Options of the prediction; None uses the settings of the config.
    """
    sides = [f"data.shortest_side={size[0]}", f"data.longest_side={size[1]}"]
    experiment = load_experiment(settings_file(config_name), [*sides, *overrides])
    network = build_initialized_network(experiment, categories).eval().to(device)
    fusion = build_fusion(experiment, categories.num_stuff, categories.num_things)
    model = LoadedModel(network, experiment, categories, fusion, build_input_transform(experiment))
    return build_predictor(model, device, options)
