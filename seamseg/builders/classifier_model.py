"""Trained classification networks, from runs and from published files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seamseg.builders.classifier import build_classifier
from seamseg.config import parse_settings
from seamseg.config.classifier import ClassifierExperiment
from seamseg.errors import ModelError
from seamseg.export.body_weights import (
    PUBLISHED_NAME,
    FileScale,
    LoadedWeights,
    convert_names,
    load_converted,
    norm_scale,
    read_state_dict,
)
from seamseg.export.model_folder import load_model_file
from seamseg.networks.classifier import Classifier


@dataclass(frozen=True)
class LoadedClassifier:
    """A trained classification network.

    Attributes:
        network: Network in evaluation mode.
        experiment: Settings of the network and of its data.
        num_classes: Number of classes.
        classes: Names of the classes in the order of the network; None if the file does not contain them.
        report: Sentence on the weights if they were converted to other settings; empty otherwise.
    """

    network: Classifier
    experiment: ClassifierExperiment
    num_classes: int
    classes: tuple[str, ...] | None
    report: str


@dataclass(frozen=True)
class _Weights:
    """Weights of a classification network in the order and under the names of :class:`Classifier`.

    Attributes:
        tensors: Weights by name.
        scale: How the norms scale; None for a file that does not show it.
        classes: Names of the classes; None for a file without them.
        experiment: Settings of the network; None for a file without them.
    """

    tensors: dict[str, Tensor]
    scale: FileScale | None
    classes: tuple[str, ...] | None = None
    experiment: ClassifierExperiment | None = None


def open_classifier(path: Path, config: ClassifierExperiment | None, device: torch.device) -> LoadedClassifier:
    """Open a trained classification network.

    Args:
        path: Run folder, ``model.safetensors``, checkpoint, or a file of torch with the weights of a published in-place
            network or of a ResNet of torchvision.
        config: Settings of the network that gets the weights. None uses those in the file, which published files lack.
        device: Device of the network.

    Raises:
        SeamsegError: There is no model, it is damaged or not that of a classification network, its tensors do not fit
            the settings, or settings are missing.
    """
    weights = _read(path)
    experiment = config or weights.experiment
    if experiment is None:
        raise ModelError(f"{path} contains no settings; name a config of its network, such as --config resnext101")
    bias = weights.tensors.get("classifier.fc.bias")
    if bias is None:
        raise ModelError(f"{path} contains no classification network: the layer classifier.fc is missing")
    network = build_classifier(experiment, bias.numel())
    # A file without settings was trained with the kind of norm in the given ones.
    scale = weights.scale or norm_scale(experiment.norm.name, "abs")
    loaded = load_converted(network, weights.tensors, scale, experiment.body.name, str(path))
    report = "" if experiment is weights.experiment else _report(loaded, scale, experiment, weights.experiment)
    return LoadedClassifier(network.eval().to(device), experiment, bias.numel(), weights.classes, report)


def _read(path: Path) -> _Weights:
    if not path.exists():
        raise ModelError(f"there is no model {path}; pass a run folder, a model file or a published file")
    if path.is_dir() or path.suffix == ".safetensors" or path.name.startswith("checkpoint-"):
        file = load_model_file(path)
        experiment = parse_settings(ClassifierExperiment, file.settings, source=f"settings in {path}")
        classes = tuple(str(entry["name"]) for entry in file.categories)
        scale = norm_scale(experiment.norm.name, experiment.norm.scale)
        return _Weights(file.tensors, scale, classes, experiment)
    tensors = read_state_dict(path, str(path))
    if "layer1.0.conv1.weight" in tensors:
        return _Weights({_our_name(name): tensor for name, tensor in convert_names(tensors).items()}, "plain")
    tensors = {_our_name(name): tensor for name, tensor in tensors.items()}
    return _Weights(tensors, None if f"body.{PUBLISHED_NAME}" in tensors else "plain")


def _our_name(name: str) -> str:
    """Return the name of an entry of a published file in our network."""
    if name.startswith("fc."):
        return f"classifier.{name}"
    return name if name.startswith("classifier.") else f"body.{name}"


def _report(
    loaded: LoadedWeights, scale: FileScale, experiment: ClassifierExperiment, trained: ClassifierExperiment | None
) -> str:
    """Describe in one sentence what of the weights was used, converted and left out."""
    parts = [f"{len(loaded.used)} entries used", f"{len(loaded.unexpected)} left out"]
    if loaded.missing:
        parts.append(f"{len(loaded.missing)} counters of norms missing")
    ours = norm_scale(experiment.norm.name, experiment.norm.scale)
    if ours != scale and experiment.norm.name != "gn":
        parts.append(
            f"the weights of the norms converted from {scale} to {ours}, {loaded.num_changed} of them to the nearest "
            "value that an in-place norm supports"
        )
    if trained is not None and trained.norm.activation != experiment.norm.activation:
        parts.append(f"activation {experiment.norm.activation} instead of {trained.norm.activation}")
    return f"{loaded.source}: {'; '.join(parts)}"
