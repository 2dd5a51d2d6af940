"""The checkpoints of a run folder: the last few, and that of the best model."""

from __future__ import annotations

from pathlib import Path

from seamseg.runtime.checkpoint import Checkpoint, save_checkpoint, why_unusable
from seamseg.runtime.finite import REMEDY
from seamseg.runtime.position import Position

DAMAGED = ".damaged"
"""Suffix of a checkpoint that nobody can continue from and that was put aside."""


def checkpoint_path(folder: Path, iteration: int) -> Path:
    """Where the checkpoint of an iteration lies."""
    return folder / f"checkpoint-{iteration:08d}.pt"


def checkpoint_paths(folder: Path) -> list[Path]:
    """All checkpoints of a run folder, the latest first."""
    return sorted(folder.glob("checkpoint-" + "[0-9]" * 8 + ".pt"), reverse=True)


def newest_checkpoint(folder: Path) -> tuple[Path, list[str]]:
    """The latest good checkpoint, and why later ones were passed over: a sentence for each.

    Raises:
        ValueError: There is no checkpoint, or none is whole and finite.
    """
    refused: list[str] = []
    for path in checkpoint_paths(folder):
        reason = why_unusable(path)
        if not reason:
            return path, refused
        refused.append(reason)
    raise ValueError("; ".join(refused) if refused else f"there is no checkpoint in {folder}")


def put_aside_later(folder: Path, path: Path) -> list[Path]:
    """Renames the checkpoints later than the good one, which cannot be used; returns their new paths."""
    later = [other for other in checkpoint_paths(folder) if other.name > path.name]
    return [other.rename(other.with_suffix(DAMAGED)) for other in later]


def add_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Writes a checkpoint, and only then removes those that nobody needs any more.

    Args:
        folder: of the run.
        checkpoint: of its present state.
        keep: how many of the latest stay; that of the best model stays too.

    Raises:
        FloatingPointError: It has a value that is not finite; the previous ones are all there.
        OSError: it cannot be written; the previous ones are all there.
    """
    path = checkpoint_path(folder, checkpoint.position.iteration)
    try:
        save_checkpoint(path, checkpoint)
    except OSError as error:
        resume = f"{_left(folder)}: fix the cause, and pass --resume to continue"
        raise OSError(f"{path} cannot be written ({error.strerror or error}); {resume}") from error
    except FloatingPointError as error:
        raise FloatingPointError(f"{error}; {_left(folder)}. {REMEDY}") from error
    _remove_old(folder, checkpoint.position, keep)


def _remove_old(folder: Path, position: Position, keep: int) -> None:
    newest = checkpoint_path(folder, position.iteration)
    paths = checkpoint_paths(folder)
    kept = [path for path in paths if path.name <= newest.name][:keep]
    for path in paths:
        if path not in kept and path != checkpoint_path(folder, position.best_iteration):
            path.unlink()


def _left(folder: Path) -> str:
    paths = checkpoint_paths(folder)
    if not paths:
        return "the run has no checkpoint yet"
    return f"the last good checkpoint is {paths[0].name}"
