"""Loading, importing and exporting of trained models."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from seamseg import __version__
from seamseg.algos.fusion import PanopticFusion
from seamseg.builders.data import build_input_transform
from seamseg.builders.network import build_fusion, build_network
from seamseg.config import Experiment, parse_experiment, save_experiment
from seamseg.data.transforms import InputTransform
from seamseg.errors import ModelError
from seamseg.export.hub_models import model_name
from seamseg.export.hub_weights import HUB
from seamseg.export.model_card import SCORES, ModelFacts, model_card
from seamseg.export.model_file import MODEL_FILE, ModelFile
from seamseg.export.model_folder import ALL_FILES, EXAMPLE_FILE, load_model_file, write_model_folder
from seamseg.export.published import load_published
from seamseg.export.published_semantic import load_semantic
from seamseg.io.files import check_free
from seamseg.modules.eval_norm import eval_norms
from seamseg.modules.semantic_head import NUM_LEVELS
from seamseg.networks import DeepLabNet, SegmentationNet
from seamseg.runtime.log import read_metrics
from seamseg.structures import Categories


@dataclass(frozen=True)
class LoadedModel:
    """A trained network with its settings and categories.

    Attributes:
        network: Network in evaluation mode.
        experiment: Settings it was trained with.
        categories: Classes that it predicts.
        fusion: Panoptic fusion with the settings of the experiment.
        transform: Transform from an image to the input of the network.
    """

    network: SegmentationNet
    experiment: Experiment
    categories: Categories
    fusion: PanopticFusion
    transform: InputTransform

    @property
    def output_categories(self) -> Categories:
        """Classes of the predicted segments: a semantic network treats things like stuff."""
        return self.categories.as_stuff() if self.experiment.task == "semantic" else self.categories


def build_model(file: ModelFile, source: str, device: torch.device) -> LoadedModel:
    """Build a trained network that is ready to predict.

    Args:
        file: Content of a model file.
        source: Name of the model in error messages.
        device: Device of the network.

    Raises:
        SeamsegError: The settings or classes in the file are invalid, or the weights do not match them.
    """
    experiment = parse_experiment(file.settings, source=f"settings in {source}")
    try:
        categories = Categories.from_list(file.categories)
    except (ValueError, TypeError) as error:
        raise ModelError(f"the classes in {source} are damaged: {error}") from error
    network = build_network(experiment, categories.num_stuff, categories.num_things)
    try:
        network.load_state_dict(file.tensors)
    except RuntimeError as error:
        reason = shorten(str(error), 200)
        raise ModelError(f"the weights in {source} do not match its settings: {reason}") from error
    fusion = build_fusion(experiment, categories.num_stuff, categories.num_things)
    return LoadedModel(network.eval().to(device), experiment, categories, fusion, build_input_transform(experiment))


def open_model(path: Path, device: torch.device) -> LoadedModel:
    """Open a trained network.

    Args:
        path: Any model that :func:`seamseg.export.model_folder.load_model_file` can read.
        device: Device of the network.

    Raises:
        SeamsegError: There is no model, or it is damaged or has been changed.
    """
    return build_model(load_model_file(path), model_name(path), device)


def with_eval_norm(model: LoadedModel, share: float) -> LoadedModel:
    """Let the norms of a model mix the statistics of each image into the stored ones (EvalNorm).

    Args:
        model: Trained model; not modified.
        share: Share of an image's own statistics, in 0 … 1; 0 returns the model as it is. See
            :func:`seamseg.modules.eval_norm.eval_norms`.

    Raises:
        SeamsegError: The share is not in 0 … 1, or the model has no norm that was trained with batch statistics.
    """
    if share == 0:
        return model
    return replace(model, network=eval_norms(model.network, share))


def import_model(source: Path, out: Path, overwrite: bool) -> tuple[str, ...]:
    """Convert a published model to a model folder.

    Args:
        source: Published zip archive, the folder it was unpacked to, or the published semantic model.
        out: Output folder; missing or empty.
        overwrite: Whether to replace an existing model folder ``out``.

    Returns:
        Notes about settings that were dropped or replaced, one sentence each.

    Raises:
        SeamsegError: The model is damaged or requires an unsupported network, or ``out`` contains other files.
        OSError: The folder cannot be written.
    """
    check_free(out, ALL_FILES if overwrite else None)
    published = load_semantic(source) or load_published(source)
    model = build_model(published.file, str(source), torch.device("cpu"))
    write_model_folder(out, _model_file(model), None, overwrite)
    return published.notes


@dataclass(frozen=True)
class Publication:
    """What a publisher adds to the card of a model.

    Attributes:
        license: License of the weights as the Hugging Face Hub names it; None leaves it open.
        example: JPEG file with a prediction; None for none.
        repository: Repository on the Hub, ``ORG/NAME``; None if the model is not uploaded.
    """

    license: str | None = None
    example: bytes | None = None
    repository: str | None = None


def export_model(run: Path, out: Path, overwrite: bool, publication: Publication | None = None) -> None:
    """Write a model, such as the best one of a run, as a model folder with a model card.

    Paths of this machine are removed: ``data.root`` becomes null, and paths in ``body.weights`` and ``init_from`` are
    reduced to their file names.

    Args:
        run: Any model that can be opened; a run folder also provides the scores for the model card.
        out: Output folder; missing or empty.
        overwrite: Whether to replace an existing model folder ``out``.
        publication: License, picture and repository for the model card; None for none.

    Raises:
        SeamsegError: There is no model, it is damaged, or ``out`` contains other files.
        OSError: The folder cannot be written.
    """
    check_free(out, ALL_FILES if overwrite else None)
    model = build_model(load_model_file(run), model_name(run), torch.device("cpu"))
    root = model.experiment.data.root
    data_set = None if root is None else Path(root).resolve().name
    model = replace(model, experiment=_without_paths(model.experiment))
    publication = publication or Publication()
    facts = replace(
        _facts(out.resolve().name, model, data_set, _best_validation(run, model.experiment.task)),
        license=publication.license,
        repository=publication.repository,
        example=None if publication.example is None else EXAMPLE_FILE,
    )
    write_model_folder(out, _model_file(model), model_card(facts), overwrite, publication.example)


def _model_file(model: LoadedModel) -> ModelFile:
    return ModelFile(save_experiment(model.experiment), model.categories.to_list(), model.network.state_dict())


def _without_paths(experiment: Experiment) -> Experiment:
    data = experiment.data.model_copy(update={"root": None})
    weights = experiment.body.weights
    if weights is not None and not weights.startswith(HUB):
        weights = Path(weights).name
    body = experiment.body.model_copy(update={"weights": weights})
    # Parts contain no slash.
    models = tuple(given if given.startswith(HUB) else Path(given).name for given in experiment.init_from)
    return experiment.model_copy(update={"data": data, "body": body, "init_from": models})


def _best_validation(run: Path, task: str) -> dict[str, Any] | None:
    """Return the validation entry of the best model of a run: the first one with the highest score of its task."""
    key = next(iter(SCORES[task]))
    if not (run / MODEL_FILE).is_file():
        return None
    entries = [entry for entry in read_metrics(run) if entry["kind"] == "validation" and entry.get(key) is not None]
    return max(entries, key=lambda entry: float(entry[key]), default=None)


def _facts(name: str, model: LoadedModel, data_set: str | None, best: dict[str, Any] | None) -> ModelFacts:
    data = model.experiment.data
    return ModelFacts(
        name=name,
        task=model.experiment.task,
        version=__version__,
        num_parameters=sum(parameter.numel() for parameter in model.network.parameters()),
        categories=model.categories,
        data_set=data_set,
        train_split=data.train_split,
        val_split=data.val_split,
        settings=dict(_settings(model)),
        command=shlex.join(["seamseg", "train", "config.yaml", "data.root=DATASET", "--run-dir", f"runs/{name}"]),
        scores={} if best is None else {key: best.get(key) for key in SCORES[model.experiment.task]},
        iteration=None if best is None else int(best["iteration"]),
    )


def _settings(model: LoadedModel) -> Sequence[tuple[str, str]]:
    """Return the main settings for the model card, as names and values."""
    experiment = model.experiment
    data, norm, training = experiment.data, experiment.norm, experiment.training
    heads = "" if norm.heads is None else f", {norm.heads} in the RPN and RoI heads"
    batch = data.train_batch_size * training.accumulate
    return (
        ("backbone", f"{experiment.body.name}, initialized with {experiment.body.weights or 'random'} weights"),
        *((("then initialized from", ", ".join(experiment.init_from)),) if experiment.init_from else ()),
        ("norm", f"{norm.name} ({norm.scale}), {norm.activation}{heads}"),
        ("feature pyramid", _pyramid(model.network, experiment)),
        ("image size", f"shorter side {data.shortest_side} pixels, longer side at most {data.longest_side} pixels"),
        ("optimizer", f"{experiment.optimizer.name}, learning rate {experiment.optimizer.lr:g}"),
        ("schedule", experiment.schedule.name),
        ("epochs", str(training.epochs)),
        ("images per process per step", str(batch)),
        ("precision", training.precision),
        ("seed", str(training.seed)),
    )


def _pyramid(network: SegmentationNet, experiment: Experiment) -> str:
    if isinstance(network, DeepLabNet):
        return "none; DeepLab head"
    strides = experiment.fpn.strides if network.finds_objects else experiment.fpn.strides[:NUM_LEVELS]
    return f"{experiment.fpn.channels} channels, strides {', '.join(map(str, strides))}"
