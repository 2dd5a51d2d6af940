"""Builder of the network as it is at the start of training: random, pretrained and frozen weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from seamseg.algos.class_weights import ClassWeights
from seamseg.builders.body import load_and_freeze
from seamseg.builders.model import open_model
from seamseg.builders.network import build_network, initialize
from seamseg.config import Experiment
from seamseg.errors import SettingsError
from seamseg.export.body_weights import count_and_names
from seamseg.export.weight_transfer import (
    MOST_NAMES,
    Rows,
    all_rows,
    split_parts,
    top_parts,
    transfer_weights,
    untouched_modules,
)
from seamseg.modules.abn import ABN
from seamseg.modules.fpn import PyramidBody
from seamseg.modules.torchvision_body import TorchvisionBody
from seamseg.networks import SegmentationNet
from seamseg.structures import Categories


def build_initialized_network(
    experiment: Experiment,
    categories: Categories,
    tell: Callable[[str], None] | None = None,
    read_weights: bool = True,
    class_weights: ClassWeights | None = None,
) -> SegmentationNet:
    """Build the network as it is at the start of training: with random or pretrained weights, and with parts frozen.

    Args:
        experiment: Settings of the network.
        categories: Categories of the data set.
        tell: Function called with a few lines that describe the pretrained weights used; None for no report.
        read_weights: Whether ``body.weights`` and the models of ``init_from`` are read; False for a network that gets
            the weights of a checkpoint.
        class_weights: Weights of classes in the losses; None for 1.

    Raises:
        SeamsegError: ``body.weights`` or a model of ``init_from`` cannot be read or belongs to another network, or
            ``training.frozen`` names an unknown part, a part with random weights, or all parts.
    """
    network = build_network(experiment, categories.num_stuff, categories.num_things, class_weights)
    generator = torch.Generator().manual_seed(experiment.training.seed)
    initialize(network, experiment.norm.activation, experiment.norm.slope, generator)
    backbone = network.body.backbone if isinstance(network.body, PyramidBody) else network.body
    load_and_freeze(backbone, experiment.body, tell, read_weights)
    if read_weights:
        random = _use_models(network, experiment, categories, tell)
        _check_not_random(experiment, random)
    _freeze(network, experiment.training.frozen)
    return network


def _use_models(
    network: SegmentationNet, experiment: Experiment, categories: Categories, tell: Callable[[str], None] | None
) -> list[str]:
    """Copy weights of the models of ``init_from``; return the modules that still have their random initial weights."""
    rows = all_rows(network)
    filled: list[Rows] = []
    if experiment.body.weights is not None:
        prefix = "body.backbone." if isinstance(network.body, PyramidBody) else "body."
        filled.append({name: rows[name] for name in rows if name.startswith(prefix)})
    for given in experiment.init_from:
        model = open_model(Path(split_parts(given)[0]), torch.device("cpu"))
        report = transfer_weights(network, categories, model.network, model.categories, given)
        filled.append(report.rows)
        if tell is not None:
            tell(str(report))
    random = untouched_modules(rows, filled)
    if tell is not None and experiment.init_from:
        modules = count_and_names("modules", random, MOST_NAMES)
        tell(f"still random, in whole or in part: {modules}" if random else "no weights are random")
    return random


def _check_not_random(experiment: Experiment, random: list[str]) -> None:
    """Check that no part to freeze has random weights.

    Raises:
        SeamsegError: A part has some.
    """
    for part in experiment.training.frozen:
        inside = [name for name in random if name.partition(".")[0] == part]
        if inside:
            raise SettingsError(
                f"training.frozen: {part} would keep random weights ({count_and_names('modules', inside)}); pass "
                "--init-from with a model that has them, or do not freeze it"
            )


def _freeze(network: SegmentationNet, frozen: tuple[str, ...]) -> None:
    """Stop training parts of the network, and let their norms keep their statistics.

    Raises:
        SeamsegError: There is no such part, or nothing is left to train.
    """
    parts = top_parts(network)
    for part in frozen:
        if part not in parts:
            raise SettingsError(f"training.frozen: the network has no part {part}; its parts are {', '.join(parts)}")
        module = network.get_submodule(part).requires_grad_(False)
        for child in module.modules():
            if isinstance(child, ABN):
                child.freeze()
            elif isinstance(child, TorchvisionBody):
                child.freeze_norms()
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise SettingsError(f"training.frozen={list(frozen)} leaves nothing to train; omit at least one part")
