"""Training runs on the command line: run folder, resuming, progress, signals and exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from seamseg.cli.arguments import add_device
from seamseg.cli.output import counted
from seamseg.config import TrainableSettings, differing_values, parse_settings
from seamseg.config.training import AUTO, AUTOMATIC
from seamseg.engine.record import TrainingRecorder
from seamseg.engine.step_profile import PROFILE_FILE, TRACE_FILE, ProfilingObserver
from seamseg.engine.train import Trainer
from seamseg.errors import OutputError, SettingsError
from seamseg.export.model_file import SETTINGS_FILE
from seamseg.io.files import is_part, remove_parts
from seamseg.io.progress import progress_bar
from seamseg.runtime.allocator import LARGE_BLOCK, keep_freed_memory
from seamseg.runtime.checkpoint import Checkpoint, checkpoint_paths, load_checkpoint, newest_checkpoint, put_aside_later
from seamseg.runtime.distributed import Process, from_first, started
from seamseg.runtime.stopping import StopRequest, stop_on_signals
from seamseg.runtime.training_progress import TrainingProgress

Resume = Literal["no", "yes", "auto"]

# Settings that may change when a run is resumed, because weights and optimizer state keep their meaning: where files
# are read, how images are distributed, how many steps follow, how they are computed and clipped, and what is written.
MAY_DIFFER = {
    "body.weights",
    "data.format",
    "data.num_workers",
    "data.root",
    "data.train_batch_size",
    "data.val_batch_size",
    "data.worker_timeout",
    "init_from",
    "norm.sync",
    "optimizer.clip_norm",
    "training.accumulate",
    "training.checkpoint_every",
    "training.compile",
    "training.epochs",
    "training.keep_checkpoints",
    "training.log_every",
    "training.num_pictures",
    "training.precision",
    "training.validate_every",
}


def open_run(folder: Path, experiment: TrainableSettings, resume: Resume, process: Process) -> Checkpoint | None:
    """Load the checkpoint to resume from; rank 0 inspects the folder and all ranks follow its decision.

    Args:
        folder: Run folder.
        experiment: Settings of the run.
        resume: ``no`` requires an empty folder, ``yes`` requires one with a run, ``auto`` accepts both.
        process: This rank.

    Returns:
        The checkpoint, or None to start a new run.

    Raises:
        SeamsegError: The folder is in use and ``resume`` is ``no``, there is no run to resume, the run was started
            with other settings, or it is already in a later epoch than ``training.epochs``.
    """
    path = from_first(process, lambda: find_state(folder, resume))
    if path is None:
        return None
    checkpoint = load_checkpoint(path)
    wrong = [key for key in changed_settings(checkpoint, experiment) if key not in MAY_DIFFER]
    if wrong:
        raise SettingsError(
            f"the run in {folder} was started with other values of {', '.join(wrong)}; resume it with the same values"
        )
    begun = checkpoint.position.epoch + checkpoint.position.within_epoch
    if experiment.training.epochs < begun:
        raise SettingsError(
            f"training.epochs={experiment.training.epochs}, but the run in {folder} has already started epoch {begun}; "
            f"set training.epochs to at least {begun}"
        )
    return checkpoint


def changed_settings(checkpoint: Checkpoint, experiment: TrainableSettings) -> dict[str, tuple[object, object]]:
    """Return the settings that differ from those in a checkpoint: by dotted key, the old and the new value.

    Automatic settings do not differ, because a resumed run keeps its values.
    """
    old = parse_settings(type(experiment), checkpoint.settings, source="the settings in the checkpoint")
    changed = differing_values(old, experiment)
    kept = [f"training.{key}" for key in AUTOMATIC if getattr(experiment.training, key) == AUTO]
    return {key: values for key, values in changed.items() if key not in kept}


def find_state(folder: Path, resume: Resume) -> Path | None:
    """Return the newest undamaged checkpoint, or None to start a new run."""
    used = folder.is_dir() and any(not is_part(path) for path in folder.iterdir())
    if used and resume == "no":
        raise OutputError(f"{folder} is not empty; pass --resume to continue its run, or name another --run-dir")
    if checkpoint_paths(folder):
        return newest_checkpoint(folder)[0]
    if (folder / SETTINGS_FILE).exists() and resume != "no":
        return None  # the run ended before its first checkpoint, so it starts over
    if resume == "yes":
        raise OutputError(f"there is no run to resume in {folder}; leave out --resume to start one")
    if used:
        raise OutputError(f"{folder} is not empty and does not contain a run; name another --run-dir")
    return None


def tidy_up(folder: Path) -> None:
    """Remove partial files that a killed process left behind, and rename damaged checkpoints."""
    if not folder.is_dir():
        return
    remove_parts(folder)
    if checkpoint_paths(folder):
        path, refused = newest_checkpoint(folder)
        for sentence, aside in zip(refused, put_aside_later(folder, path), strict=True):
            print(f"{sentence}; renamed it to {aside.name}", file=sys.stderr)


def report_changes(what: str, changed: Mapping[str, tuple[object, object]]) -> None:
    """Print new and old values by name; print nothing if there are none."""
    if changed:
        values = ", ".join(f"{name}={new} (was {old})" for name, (old, new) in changed.items())
        print(f"changed {what}: {values}", file=sys.stderr)


def report_resumption(
    checkpoint: Checkpoint, experiment: TrainableSettings, process: Process, classes: list[dict[str, Any]]
) -> None:
    """Print where a run resumes and what has changed since the checkpoint.

    Changes are settings, category ids, the number of ranks, and the number of images per batch.
    """
    changed = changed_settings(checkpoint, experiment)
    changed.pop("init_from", None)  # that of the checkpoint stays
    report_changes("settings", changed)
    old_ids, new_ids = ({entry["name"]: entry["id"] for entry in one} for one in (checkpoint.categories, classes))
    report_changes(
        "category ids", {name: (old_ids[name], new) for name, new in new_ids.items() if old_ids[name] != new}
    )
    position, images = checkpoint.position, experiment.data.train_batch_size * process.world_size
    print(f"resuming from iteration {position.iteration} in epoch {position.epoch + 1}", file=sys.stderr)
    differences = []
    if checkpoint.num_ranks != process.world_size:
        number = process.world_size
        differences.append(f"{number} process{'es' if number > 1 else ''} instead of {checkpoint.num_ranks}")
    if images != position.images_per_batch:
        differences.append(
            f"{counted(images, 'image')} per batch over all processes instead of {position.images_per_batch}"
        )
    if differences:
        print(
            f"{' and '.join(differences)}: the epoch continues with the images not yet seen, and the schedule at the "
            "same fraction of the run; the results are not bitwise identical to those of an uninterrupted run",
            file=sys.stderr,
        )


def add_run_arguments(subcommand: argparse.ArgumentParser, configs: Iterable[str]) -> None:
    """Add the arguments of a training run.

    Args:
        subcommand: Parser of the subcommand.
        configs: Names of the built-in configs.
    """
    subcommand.add_argument(
        "config",
        metavar="CONFIG",
        help=f"YAML file of settings, or name of a built-in config: {', '.join(configs)}",
    )
    subcommand.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="override a setting, such as optimizer.lr=0.02; docs/settings.md lists all settings",
    )
    subcommand.add_argument(
        "--run-dir",
        type=Path,
        help="run folder; must be empty or missing for a new run (default: runs/NAME, with NAME from CONFIG)",
    )
    resume = subcommand.add_mutually_exclusive_group()
    resume.add_argument(
        "--resume",
        action="store_const",
        const="yes",
        default="no",
        help="resume the run in RUN_DIR; settings such as training.epochs and data.root may change",
    )
    resume.add_argument(
        "--auto-resume",
        action="store_const",
        const="auto",
        dest="resume",
        help="resume the run in RUN_DIR, or start one if there is none; use it to restart a run automatically",
    )
    subcommand.add_argument(
        "--profile",
        action="store_true",
        help=f"also measure where a step spends its time and memory, early in the run: RUN_DIR/{PROFILE_FILE} and "
        f"RUN_DIR/{TRACE_FILE}, which chrome://tracing and ui.perfetto.dev show",
    )
    add_device(subcommand)


ExperimentT = TypeVar("ExperimentT", bound=TrainableSettings)
Build = Callable[[ExperimentT, Path, Process, Checkpoint | None], tuple[Trainer, TrainingRecorder]]
"""Builder of the trainer and the recorder of a run, such as :func:`seamseg.builders.build_trainer`."""


def run_training(experiment: ExperimentT, build: Build[ExperimentT], folder: Path, options: argparse.Namespace) -> int:
    """Train until the end or a signal, and return the exit code.

    Args:
        experiment: Settings of the run.
        build: Builder of the trainer and the recorder.
        folder: Run folder.
        options: Values of the arguments that :func:`add_run_arguments` adds.
    """
    if options.profile and experiment.training.memory == "compile":
        raise SettingsError("--profile cannot follow compiled code; set training.memory=none or checkpoint")
    if options.profile and experiment.training.compile:
        raise SettingsError("--profile cannot follow compiled code; set training.compile=false")
    keep_freed_memory(below=LARGE_BLOCK)
    with started(options.device) as process, stop_on_signals(process.world_size) as stop:
        checkpoint = open_run(folder, experiment, options.resume, process)
        trainer, record = build(experiment, folder, process, checkpoint)
        if process.is_first:
            tidy_up(folder)
            report_start(folder, experiment, checkpoint, process, record)
            report_rate(experiment, trainer.optimization.learning_rate.lr)
        record.validation.loader.on_wait = stop.check_wait
        total = trainer.num_iterations(record.position)
        with progress_bar("training", total, record.position.iteration, shown=process.is_first) as record.advance:
            if options.profile and process.is_first:
                position = profiled_run(trainer, record, stop)
            else:
                position = trainer.run(record.position, record, stop)
        record.close()
        if position.epoch < trainer.intervals.epochs:
            if process.is_first:
                print(
                    f"stopped and saved at iteration {position.iteration}; pass --resume to continue", file=sys.stderr
                )
            return stop.exit_code
    return 0


def profiled_run(trainer: Trainer, record: TrainingRecorder, stop: StopRequest) -> TrainingProgress:
    """Train, profile some of the first steps, and print the profile."""
    num_steps = trainer.num_iterations(record.position) - record.position.iteration
    observer = ProfilingObserver(record, trainer, record.folder, num_steps)
    try:
        position = trainer.run(record.position, observer, stop)
    finally:
        observer.close()
    if observer.result is not None:
        print(f"profile ({record.folder / PROFILE_FILE}):\n{observer.result.as_markdown()}", file=sys.stderr)
    return position


def report_start(
    folder: Path,
    experiment: TrainableSettings,
    checkpoint: Checkpoint | None,
    process: Process,
    record: TrainingRecorder,
) -> None:
    """Print where a resumed run continues, or the seed and settings of a new one."""
    if checkpoint is not None:
        report_resumption(checkpoint, experiment, process, record.classes)
    else:
        settings = f"settings ({folder / SETTINGS_FILE}):\n{record.settings}"
        print(f"seed {experiment.training.seed}; {settings}", file=sys.stderr)


def report_rate(experiment: TrainableSettings, rate: float) -> None:
    """Print the learning rate if it is scaled by the batch size."""
    settings = experiment.optimizer
    if settings.lr_batch is not None:
        print(f"learning rate {rate:.6g}, scaled from {settings.lr:g} for {settings.lr_batch} images", file=sys.stderr)
