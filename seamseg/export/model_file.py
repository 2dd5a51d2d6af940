"""A trained network in one file: weights, settings and categories."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seamseg.errors import ModelError
from seamseg.io.files import atomic_write
from seamseg.runtime.finite import check_finite

MODEL_FILE = "model.safetensors"
"""Of a run folder: the best model so far. Of a model folder: the weights."""

SETTINGS_FILE = "config.yaml"
"""Of a run folder and of a model folder: all settings."""


@dataclass(frozen=True)
class ModelFile:
    """What a trained network is made of.

    Attributes:
        settings: of the experiment, as YAML.
        categories: as :meth:`seamseg.structures.Categories.to_list` gives them.
        tensors: the network's state dict.
    """

    settings: str
    categories: list[dict[str, Any]]
    tensors: dict[str, Tensor]


def save_model(path: Path, model: ModelFile) -> None:
    """Writes a safetensors file with settings and categories in its header; whole or not at all.

    Raises:
        FloatingPointError: A tensor holds an infinity or a NaN.
        OSError: it cannot be written, such as to a full disk.
    """
    check_finite(f"{path} is not written: the model", model.tensors)
    metadata = {"format": "seamseg 1", "settings": model.settings, "categories": json.dumps(model.categories)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.tensors.items()}
    try:
        atomic_write(path, lambda temporary: save_file(tensors, temporary, metadata))
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written ({error})") from error


def read_model(path: Path) -> ModelFile:
    """Reads a safetensors file that :func:`save_model` wrote.

    Raises:
        SeamsegError: it is damaged or foreign.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ModelError(f"the model {path} cannot be read ({error}): it is damaged") from error
    if metadata.get("format") != "seamseg 1":
        raise ModelError(f"{path} is a safetensors file, but not one that this program wrote")
    try:
        return ModelFile(metadata["settings"], json.loads(metadata["categories"]), tensors)
    except (KeyError, json.JSONDecodeError) as error:
        raise ModelError(f"the model {path} has a damaged header ({error})") from error
