"""Whether the folder of a run is free, or holds a run to go on with, and from where."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from seamseg.cli.wording import counted
from seamseg.config import Experiment, differing_values, parse_experiment
from seamseg.export.model_file import SETTINGS_FILE
from seamseg.io.files import is_part, remove_parts
from seamseg.runtime.checkpoint import Checkpoint, checkpoint_paths, load_checkpoint, newest_checkpoint, put_aside_later
from seamseg.runtime.distributed import Process, from_first
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
        ValueError: the folder is used and resuming was not asked for, there is nothing to resume, the run in it was
            started with other settings, or it has begun more epochs than it may have.
    """
    path = from_first(process, lambda: find_state(folder, resume))
    if path is None:
        return None
    checkpoint = load_checkpoint(path)
    wrong = [key for key in changed_settings(checkpoint, experiment) if key not in MAY_DIFFER]
    if wrong:
        raise ValueError(f"{folder} was started with other values of {', '.join(wrong)}; give it the same ones")
    begun = checkpoint.position.epoch + checkpoint.position.within_epoch
    if experiment.training.epochs < begun:
        raise ValueError(
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
        raise ValueError(f"{folder} is not empty: go on with its run by --resume, or name another --run-dir")
    if checkpoint_paths(folder):
        return newest_checkpoint(folder)[0]
    if (folder / SETTINGS_FILE).exists() and resume != "no":
        return None  # it ended before its first checkpoint: it begins again
    if resume == "yes":
        raise ValueError(f"there is no run in {folder} to go on with; begin one without --resume")
    if used:
        raise ValueError(f"{folder} is not empty and holds no run; name another --run-dir")
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
