"""``seamseg train``: trains a network and keeps the best."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from seamseg.builders import build_trainer
from seamseg.cli.run_folder import open_run, report_resumption, tidy_up
from seamseg.config import Experiment, known_recipes, load_experiment, save_experiment, settings_file
from seamseg.export.model_file import SETTINGS_FILE
from seamseg.io.progress import progress_bar
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.checkpoint import Checkpoint
from seamseg.runtime.distributed import Process, started
from seamseg.runtime.stopping import stop_on_signals
from seamseg.structures import Categories


def add_parser(verbs: Any) -> None:
    """Adds the verb and its arguments."""
    verb = verbs.add_parser(
        "train",
        help="train a network",
        description="Trains a network, validates it now and then, and keeps the best. RUN_DIR receives config.yaml "
        "(all settings), metrics.jsonl, tensorboard/, checkpoint-ITERATION.pt (the latest states and that of the best "
        "model) and model.safetensors (the best model). Ctrl-C, SIGTERM or SIGUSR1 saves after the present step and "
        "ends with exit code 130, 143 or 138; --resume goes on.",
        epilog="Several processes, started again when one is killed: torchrun --nproc-per-node 8 --max-restarts 10 "
        "-m seamseg train CONFIG --run-dir RUN_DIR --auto-resume",
    )
    verb.add_argument(
        "config",
        metavar="CONFIG",
        help=f"YAML file of settings, or the name of a recipe: {', '.join(known_recipes())}",
    )
    verb.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes a setting, such as optimizer.lr=0.02")
    verb.add_argument("--run-dir", type=Path, help="folder of the run; made, or empty; default: runs/NAME of CONFIG")
    resume = verb.add_mutually_exclusive_group()
    resume.add_argument(
        "--resume",
        action="store_const",
        const="yes",
        default="no",
        help="continue the run in RUN_DIR, perhaps with more training.epochs or another data.root",
    )
    resume.add_argument(
        "--auto-resume",
        action="store_const",
        const="auto",
        dest="resume",
        help="the same, or start a run if RUN_DIR holds none: one command for the first start and every other",
    )
    verb.add_argument(
        "--device", help="cpu, cuda (each process its own GPU) or cuda:1; default: cuda where there is one"
    )
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    config = settings_file(options.config)
    options.run_dir = options.run_dir or Path("runs", config.stem)
    experiment = load_experiment(config, options.overrides)
    keep_freed_memory()
    with started(options.device) as process, stop_on_signals(process.world_size) as stop:
        checkpoint = open_run(options.run_dir, experiment, options.resume, process)
        trainer, record = build_trainer(experiment, options.run_dir, process, checkpoint)
        if process.is_first:
            tidy_up(options.run_dir)
            report_start(options.run_dir, experiment, checkpoint, process, record.categories)
            report_rate(experiment, trainer.optimisation.learning_rate.lr)
        record.validation.on_wait = stop.check_wait
        total = trainer.num_iterations(record.position)
        with progress_bar("training", total, record.position.iteration, shown=process.is_first) as record.advance:
            position = trainer.run(record.position, record, stop)
        record.close()
        if position.epoch < trainer.pace.epochs:
            if process.is_first:
                print(f"stopped and saved at iteration {position.iteration}; --resume goes on", file=sys.stderr)
            return stop.exit_code
    return 0


def report_start(
    folder: Path, experiment: Experiment, checkpoint: Checkpoint | None, process: Process, categories: Categories
) -> None:
    """Says where a run goes on, or what a new one is made of."""
    if checkpoint is not None:
        report_resumption(checkpoint, experiment, process, categories)
    else:
        settings = save_experiment(experiment)
        print(f"seed {experiment.training.seed}; settings ({folder / SETTINGS_FILE}):\n{settings}", file=sys.stderr)


def report_rate(experiment: Experiment, rate: float) -> None:
    """Says what a scaled learning rate has become."""
    settings = experiment.optimizer
    if settings.lr_batch is not None:
        print(f"learning rate {rate:.6g}, scaled from {settings.lr:g} for {settings.lr_batch} images", file=sys.stderr)
