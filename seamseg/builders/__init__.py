"""Builders: functions that create objects from settings. Only this package knows both."""

from seamseg.builders.data import build_evaluation_loader, build_input_transform, build_training_loader, open_split
from seamseg.builders.initial_weights import build_initialized_network
from seamseg.builders.model import (
    LoadedModel,
    Publication,
    build_model,
    export_model,
    import_model,
    open_model,
    with_eval_norm,
)
from seamseg.builders.network import build_fusion, build_network
from seamseg.builders.predictor import PredictionOptions, build_predictor
from seamseg.builders.training import build_trainer

__all__ = [
    "LoadedModel",
    "PredictionOptions",
    "Publication",
    "build_evaluation_loader",
    "build_fusion",
    "build_initialized_network",
    "build_input_transform",
    "build_model",
    "build_network",
    "build_predictor",
    "build_trainer",
    "build_training_loader",
    "export_model",
    "import_model",
    "open_model",
    "open_split",
    "with_eval_norm",
]
