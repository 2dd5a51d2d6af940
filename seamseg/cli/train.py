"""``seamseg train``: trains a network and keeps the best."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from seamseg.build import build_trainer
from seamseg.config import (
    Experiment,
    differing_keys,
    known_recipes,
    load_experiment,
    parse_experiment,
    save_experiment,
    settings_file,
)
from seamseg.export.model_file import CHECKPOINT_FILE
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.checkpoint import Checkpoint, load_checkpoint
from seamseg.runtime.distributed import Process, started
from seamseg.runtime.files import write_text
from seamseg.runtime.progress import progress_bar
from seamseg.runtime.stopping import stop_on_signals

SETTINGS_FILE = "config.yaml"


def add_parser(verbs: Any) -> None:
    """Adds the verb and its arguments."""
    verb = verbs.add_parser(
        "train",
        help="train a network",
        description="Trains a network, validates it now and then, and keeps the best. RUN_DIR receives config.yaml "
        "(all settings), metrics.jsonl, tensorboard/, checkpoint.pt (the latest state) and model.safetensors (the best "
        "model). Ctrl-C or SIGTERM saves and ends; --resume goes on.",
        epilog="Several processes: torchrun --nproc-per-node 8 -m seamseg train CONFIG --run-dir RUN_DIR",
    )
    verb.add_argument(
        "config",
        metavar="CONFIG",
        help=f"YAML file of settings, or the name of a recipe: {', '.join(known_recipes())}",
    )
    verb.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes a setting, such as optimizer.lr=0.02")
    verb.add_argument("--run-dir", type=Path, help="folder of the run; made, or empty; default: runs/NAME of CONFIG")
    verb.add_argument("--resume", action="store_true", help="go on with the run that RUN_DIR holds")
    verb.add_argument("--device", help="such as cpu or cuda:1; default: CUDA where there is one")
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    config = settings_file(options.config)
    options.run_dir = options.run_dir or Path("runs", config.stem)
    experiment = load_experiment(config, options.overrides)
    keep_freed_memory()
    with started(options.device) as process, stop_on_signals() as stop:
        checkpoint = open_run(options.run_dir, experiment, options.resume, process)
        trainer, record = build_trainer(experiment, options.run_dir, process, checkpoint)
        if process.is_first and checkpoint is None:
            write_settings(options.run_dir, experiment)
            report_rate(experiment, trainer.optimisation.learning_rate.lr)
        with progress_bar(
            "training", trainer.num_iterations, record.position.iteration, shown=process.is_first
        ) as record.advance:
            position = trainer.run(record.position, record, stop)
        record.close()
        if position.epoch < trainer.pace.epochs:
            if process.is_first:
                print(f"stopped and saved at iteration {position.iteration}; --resume goes on", file=sys.stderr)
            return 128 + (stop.signal or 0)
    return 0


def open_run(folder: Path, experiment: Experiment, resume: bool, process: Process) -> Checkpoint | None:
    """Looks whether the folder of a run is free, or reads the state of the one it holds.

    Raises:
        ValueError: the folder is used and ``resume`` was not asked for, or there is nothing to resume.
    """
    if resume and (folder / SETTINGS_FILE).exists() and not (folder / CHECKPOINT_FILE).exists():
        return None  # it ended before its first checkpoint: it begins again
    if resume:
        checkpoint = load_checkpoint(folder / CHECKPOINT_FILE)
        started_with = parse_experiment(checkpoint.settings, source=f"settings in {folder / CHECKPOINT_FILE}")
        changed = differing_keys(started_with, experiment)
        if changed:
            raise ValueError(f"{folder} was started with other values of {', '.join(changed)}; give it the same ones")
        return checkpoint
    if process.is_first and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: go on with its run by --resume, or name another --run-dir")
    return None


def write_settings(folder: Path, experiment: Experiment) -> None:
    """Writes and prints what a new run is made of."""
    settings = save_experiment(experiment)
    write_text(folder / SETTINGS_FILE, settings)
    print(f"seed {experiment.training.seed}; settings ({folder / SETTINGS_FILE}):\n{settings}", file=sys.stderr)


def report_rate(experiment: Experiment, rate: float) -> None:
    """Says what a scaled learning rate has become."""
    settings = experiment.optimizer
    if settings.lr_batch is not None:
        print(f"learning rate {rate:.6g}, scaled from {settings.lr:g} for {settings.lr_batch} images", file=sys.stderr)
