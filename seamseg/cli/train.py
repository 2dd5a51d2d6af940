"""``seamseg train``, and whether its run folder is free or holds a run to resume."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from seamseg.builders import build_trainer
from seamseg.cli.output import counted
from seamseg.config import (
    Experiment,
    differing_values,
    known_configs,
    load_experiment,
    parse_experiment,
    save_experiment,
    settings_file,
)
from seamseg.errors import OutputError, SettingsError
from seamseg.export.model_file import SETTINGS_FILE
from seamseg.io.files import is_part, remove_parts
from seamseg.io.progress import progress_bar
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.checkpoint import Checkpoint, checkpoint_paths, load_checkpoint, newest_checkpoint, put_aside_later
from seamseg.runtime.distributed import Process, from_first, started
from seamseg.runtime.stopping import stop_on_signals
from seamseg.structures import Categories

Resume = Literal["no", "yes", "auto"]

# Weights and optimizer state mean the same under any value of these: where files are read, how images are dealt out,
# how many steps follow and how they are computed and bounded, and what is written.
MAY_DIFFER = {
    "body.weights",
    "data.format",
    "data.num_workers",
    "data.root",
    "data.train_batch_size",
    "data.val_batch_size",
    "data.worker_timeout",
    "norm.sync",
    "optimizer.clip_norm",
    "training.accumulate",
    "training.checkpoint_every",
    "training.epochs",
    "training.keep_checkpoints",
    "training.log_every",
    "training.num_pictures",
    "training.precision",
    "training.validate_every",
}


def open_run(folder: Path, experiment: Experiment, resume: Resume, process: Process) -> Checkpoint | None:
    """The state that a run goes on from, or None for one that begins; rank 0 looks and all do the same.

    Args:
        folder: of the run.
        experiment: its settings.
        resume: ``no`` asks for a free folder, ``yes`` for one with a run; ``auto`` takes both.
        process: this rank.

    Raises:
        SeamsegError: the folder is used and resuming was not asked for, there is nothing to resume, the run in it was
            started with other settings, or it has begun more epochs than it may have.
    """
    path = from_first(process, lambda: find_state(folder, resume))
    if path is None:
        return None
    checkpoint = load_checkpoint(path)
    wrong = [key for key in changed_settings(checkpoint, experiment) if key not in MAY_DIFFER]
    if wrong:
        raise SettingsError(f"{folder} was started with other values of {', '.join(wrong)}; give it the same ones")
    begun = checkpoint.position.epoch + checkpoint.position.within_epoch
    if experiment.training.epochs < begun:
        raise SettingsError(
            f"training.epochs={experiment.training.epochs}, but {folder} has begun epoch {begun}; set more"
        )
    return checkpoint


def changed_settings(checkpoint: Checkpoint, experiment: Experiment) -> dict[str, tuple[object, object]]:
    """Settings that are not those of a checkpoint, with its value and the present one."""
    return differing_values(parse_experiment(checkpoint.settings, source="the settings in the checkpoint"), experiment)


def find_state(folder: Path, resume: Resume) -> Path | None:
    """The latest whole checkpoint, or None to begin."""
    used = folder.is_dir() and any(not is_part(path) for path in folder.iterdir())
    if used and resume == "no":
        raise OutputError(f"{folder} is not empty: go on with its run by --resume, or name another --run-dir")
    if checkpoint_paths(folder):
        return newest_checkpoint(folder)[0]
    if (folder / SETTINGS_FILE).exists() and resume != "no":
        return None  # it ended before its first checkpoint: it begins again
    if resume == "yes":
        raise OutputError(f"there is no run in {folder} to go on with; begin one without --resume")
    if used:
        raise OutputError(f"{folder} is not empty and holds no run; name another --run-dir")
    return None


def tidy_up(folder: Path) -> None:
    """Takes away what a killed process left half written, and puts damaged checkpoints aside."""
    if not folder.is_dir():
        return
    remove_parts(folder)
    if checkpoint_paths(folder):
        path, refused = newest_checkpoint(folder)
        for sentence, aside in zip(refused, put_aside_later(folder, path), strict=True):
            print(f"{sentence}; it is now called {aside.name}", file=sys.stderr)


def report_changes(what: str, changed: Mapping[str, tuple[object, object]]) -> None:
    """Prints old and new values by their names, if there are any."""
    if changed:
        said = ", ".join(f"{name}={new} (was {old})" for name, (old, new) in changed.items())
        print(f"other {what} than before: {said}", file=sys.stderr)


def report_resumption(checkpoint: Checkpoint, experiment: Experiment, process: Process, categories: Categories) -> None:
    """Says where a run continues, which settings and ids of classes are not those of the checkpoint, and what another
    number of ranks or of images per batch changes."""
    report_changes("values", changed_settings(checkpoint, experiment))
    old_ids = {entry["name"]: entry["id"] for entry in checkpoint.categories}
    new_ids = {category.name: category.original_id for category in categories.classes}
    report_changes(
        "ids of classes", {name: (old_ids[name], new) for name, new in new_ids.items() if old_ids[name] != new}
    )
    position, images = checkpoint.position, experiment.data.train_batch_size * process.world_size
    print(f"going on from iteration {position.iteration} in epoch {position.epoch + 1}", file=sys.stderr)
    differences = []
    if checkpoint.num_ranks != process.world_size:
        number = process.world_size
        differences.append(f"{number} process{'es' if number > 1 else ''} instead of {checkpoint.num_ranks}")
    if images != position.images_per_batch:
        differences.append(
            f"{counted(images, 'image')} per batch of all processes instead of {position.images_per_batch}"
        )
    if differences:
        print(
            f"{' and '.join(differences)}: the epoch goes on with the images that it has not seen, the schedule at the "
            "same share of the run; the results are not those of an uninterrupted run bit for bit",
            file=sys.stderr,
        )


def add_parser(subcommands: Any) -> None:
    """Adds the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "train",
        help="train a network",
        description="Trains a network, validates it now and then, and keeps the best. RUN_DIR receives config.yaml "
        "(all settings), metrics.jsonl, tensorboard/, checkpoint-ITERATION.pt (the latest states and that of the best "
        "model) and model.safetensors (the best model). Ctrl-C, SIGTERM or SIGUSR1 saves after the present step and "
        "ends with exit code 130, 143 or 138; --resume goes on.",
        epilog="Several processes, started again when one is killed: torchrun --nproc-per-node 8 --max-restarts 10 "
        "-m seamseg train CONFIG --run-dir RUN_DIR --auto-resume",
    )
    subcommand.add_argument(
        "config",
        metavar="CONFIG",
        help=f"YAML file of settings, or the name of a config: {', '.join(known_configs())}",
    )
    subcommand.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="changes a setting, such as optimizer.lr=0.02"
    )
    subcommand.add_argument(
        "--run-dir", type=Path, help="folder of the run; made, or empty; default: runs/NAME of CONFIG"
    )
    resume = subcommand.add_mutually_exclusive_group()
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
    subcommand.add_argument(
        "--device", help="cpu, cuda (each process its own GPU) or cuda:1; default: cuda where there is one"
    )
    subcommand.set_defaults(run=run)


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
            report_rate(experiment, trainer.optimization.learning_rate.lr)
        record.validation.on_wait = stop.check_wait
        total = trainer.num_iterations(record.position)
        with progress_bar("training", total, record.position.iteration, shown=process.is_first) as record.advance:
            position = trainer.run(record.position, record, stop)
        record.close()
        if position.epoch < trainer.intervals.epochs:
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
