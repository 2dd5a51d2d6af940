"""The checkpoints of a run folder: the last few, and that of the best model."""

from __future__ import annotations

from pathlib import Path

from seamseg.runtime.checkpoint import Checkpoint, check_seal, save_checkpoint
from seamseg.runtime.position import Position

DAMAGED = ".damaged"
"""How the name of a checkpoint ends that was found damaged and put aside."""


def checkpoint_path(folder: Path, iteration: int) -> Path:
    """Where the checkpoint of an iteration lies."""
    return folder / f"checkpoint-{iteration:08d}.pt"


def checkpoint_paths(folder: Path) -> list[Path]:
    """All checkpoints of a run folder, the latest first."""
    return sorted(folder.glob("checkpoint-" + "[0-9]" * 8 + ".pt"), reverse=True)


def newest_checkpoint(folder: Path) -> tuple[Path, list[str]]:
    """The latest whole checkpoint, and why later ones were passed over: a sentence for each.

    Raises:
        ValueError: there is none, or none is whole.
    """
    refused: list[str] = []
    for path in checkpoint_paths(folder):
        try:
            check_seal(path)
        except ValueError as error:
            refused.append(str(error))
        else:
            return path, refused
    raise ValueError("; ".join(refused) if refused else f"there is no checkpoint in {folder}")


def put_aside_later(folder: Path, path: Path) -> list[Path]:
    """Renames the checkpoints later than one to go on from, which are damaged; returns their new paths."""
    later = [other for other in checkpoint_paths(folder) if other.name > path.name]
    return [other.rename(other.with_suffix(DAMAGED)) for other in later]


def add_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Writes a checkpoint, and only then removes those that nobody needs any more.

    Args:
        folder: of the run.
        checkpoint: of its present state.
        keep: how many of the latest stay; that of the best model stays too.

    Raises:
        OSError: it cannot be written; the previous ones are all there.
    """
    path = checkpoint_path(folder, checkpoint.position.iteration)
    try:
        save_checkpoint(path, checkpoint)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error}); {_left(folder)}") from error
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
    return f"the last good checkpoint is {paths[0].name}: mend the cause, and go on from it by --resume"
