"""A trained network with all that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

import torch

from seamseg.algos.fusion import PanopticFusion
from seamseg.builders.data import build_input_transform
from seamseg.builders.network import build_fusion, build_network
from seamseg.config import Experiment, parse_experiment
from seamseg.data.transforms import InputTransform
from seamseg.export.model_file import ModelFile
from seamseg.export.model_source import load_model_file
from seamseg.networks import PanopticNet
from seamseg.structures import Categories


@dataclass(frozen=True)
class Model:
    """A trained network with what belongs to it."""

    network: PanopticNet
    experiment: Experiment
    categories: Categories
    fusion: PanopticFusion
    transform: InputTransform


def build_model(file: ModelFile, source: Path, device: torch.device) -> Model:
    """A trained network ready to predict.

    Raises:
        ValueError: the file's settings or classes are wrong, or its weights don't fit them.
    """
    experiment = parse_experiment(file.settings, source=f"settings in {source}")
    try:
        categories = Categories.from_list(file.categories)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the classes in {source} are damaged: {error}") from error
    network = build_network(experiment, categories.num_stuff, categories.num_things)
    try:
        network.load_state_dict(file.tensors)
    except RuntimeError as error:
        reason = shorten(str(error), 200)
        raise ValueError(f"the weights in {source} don't fit the settings beside them: {reason}") from error
    fusion = build_fusion(experiment, categories.num_stuff)
    return Model(network.eval().to(device), experiment, categories, fusion, build_input_transform(experiment))


def load_model(path: Path, device: torch.device) -> Model:
    """A trained network from whatever :func:`seamseg.export.model_source.load_model_file` reads.

    Raises:
        ValueError: nothing is there, or it is damaged or changed.
    """
    return build_model(load_model_file(path), path, device)
