"""``seamseg train``: start or resume a training run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from seamseg.builders import build_trainer
from seamseg.cli.training_run import add_run_arguments, run_training
from seamseg.config import known_configs, load_experiment, settings_file


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "train",
        help="train a network",
        description="Train a network, validate it at regular intervals, and keep the best model. RUN_DIR will contain "
        "config.yaml (all settings), metrics.jsonl, tensorboard/, checkpoint-ITERATION.pt (the latest checkpoints and "
        "that of the best model) and model.safetensors (the best model). Ctrl-C, SIGTERM or SIGUSR1 saves a checkpoint "
        "after the current step and exits with code 130, 143 or 138; pass --resume to continue.",
        epilog="To train on 8 GPUs and restart if a process is killed: torchrun --nproc-per-node 8 --max-restarts 10 "
        "-m seamseg train CONFIG --run-dir RUN_DIR --auto-resume",
    )
    add_run_arguments(subcommand, known_configs())
    subcommand.add_argument(
        "--init-from",
        action="append",
        default=[],
        metavar="MODEL[:PART,…]",
        help="start from the weights of a trained model, such as a run folder or a published archive, or of its parts, "
        "such as body,rpn_head; output layers are matched by class name; repeat to overwrite them with another "
        "model; ignored if the run resumes from a checkpoint (sets init_from)",
    )
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    config = settings_file(options.config)
    models = [f"init_from={json.dumps(options.init_from, ensure_ascii=False)}"] if options.init_from else []
    experiment = load_experiment(config, [*options.overrides, *models])
    return run_training(experiment, build_trainer, options.run_dir or Path("runs", config.stem), options)
