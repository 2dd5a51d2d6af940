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


def random_model(
    config_name: str, size: Size, overrides: Sequence[str], device: torch.device, categories: Categories
) -> LoadedModel:
    """Return a model with the network of a config that does not resize images.

    Args:
        config_name: Name of the config.
        size: Height and width of the images; the height must be the shorter side.
        overrides: Overrides of other settings, such as ``roi.max_predictions=5``.
        device: Device to compute on.
        categories: Classes of the network.
    """
    sides = [f"data.shortest_side={size[0]}", f"data.longest_side={size[1]}"]
    experiment = load_experiment(settings_file(config_name), [*sides, *overrides])
    network = build_initialized_network(experiment, categories).eval().to(device)
    fusion = build_fusion(experiment, categories.num_stuff, categories.num_things)
    return LoadedModel(network, experiment, categories, fusion, build_input_transform(experiment))


def random_predictor(
    config_name: str,
    size: Size,
    overrides: Sequence[str],
    device: torch.device,
    categories: Categories = SCENE_CATEGORIES,
    options: PredictionOptions | None = None,
) -> Predictor:
    """Return a predictor with the model of :func:`random_model`; with options None, it uses the settings."""
    return build_predictor(random_model(config_name, size, overrides, device, categories), device, options)


def plain_predictor(model: LoadedModel, device: torch.device) -> Predictor:
    """Return a predictor that computes with the network as it is built.

    Norms are not folded, the memory format is contiguous and the precision float32.
    """
    return Predictor(model.network, model.transform, model.fusion, device)
