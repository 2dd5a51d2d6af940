"""``seamseg train-classifier``: start or resume the training of a classification network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from seamseg.builders.classifier import build_classifier_trainer
from seamseg.cli.training_run import add_run_arguments, run_training
from seamseg.config import ClassifierExperiment, known_configs, load_settings, settings_file
from seamseg.config.load import CLASSIFIER


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "train-classifier",
        help="train a classification network",
        description="Train a classification network on images in one folder per class: data.root contains "
        "train/CLASS/image.jpg and val/CLASS/image.jpg. The best model is the one with the highest top-1 accuracy; "
        "`seamseg train CONFIG body.weights=RUN_DIR` starts from its body. RUN_DIR, signals and resuming work as in "
        "`seamseg train`.",
        epilog="To train on 8 GPUs and restart if a process is killed: torchrun --nproc-per-node 8 --max-restarts 10 "
        "-m seamseg train-classifier CONFIG --run-dir RUN_DIR --auto-resume",
    )
    add_run_arguments(subcommand, known_configs(CLASSIFIER))
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    config = settings_file(options.config, CLASSIFIER)
    experiment = load_settings(ClassifierExperiment, config, options.overrides)
    return run_training(experiment, build_classifier_trainer, options.run_dir or Path("runs", config.stem), options)
