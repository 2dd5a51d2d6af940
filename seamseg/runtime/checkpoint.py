"""Checkpoints: the state of a run in one file, and the checkpoint files of a run folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from seamseg.errors import ModelError, SeamsegError
from seamseg.io.checksums import sha256
from seamseg.io.files import atomic_write
from seamseg.runtime.finite import REMEDY, check_finite, nonfinite_tensors, some_of
from seamseg.runtime.training_progress import TrainingProgress

FORMAT = 4
# The file is a zip archive as torch writes it. Its comment is the digest of everything before the comment.
_COMMENT = b"sha256:"
_SEAL_BYTES = len(_COMMENT) + hashlib.sha256().digest_size


@dataclass(frozen=True)
class Checkpoint:
    """Complete state of a run, so that a resumed run continues as if it had never stopped.

    All random numbers of a run follow from its seed and position, so no generator state is stored. The log has no
    running means, so no meters are stored.

    Attributes:
        settings: Settings of the experiment as YAML.
        categories: Categories in the form of :meth:`seamseg.structures.Categories.to_list`.
        num_ranks: Number of training processes.
        position: Progress of the run, which also determines the schedule.
        network: State dict of the network.
        optimizer: State dict of the optimizer.
        scaler: State dict of the loss scaler; empty unless training in fp16.
        average: State dict of the averaged weights; None without weight averaging.
    """

    settings: str
    categories: list[dict[str, Any]]
    num_ranks: int
    position: TrainingProgress
    network: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    average: dict[str, Tensor] | None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically; a failure leaves the previous one unchanged.

    Raises:
        FloatingPointError: A tensor contains an infinity or a NaN, so no run could continue from the file.
        OSError: The file cannot be written, for example because the disk is full.
    """
    check_finite(f"{path} is not written: the state", vars(checkpoint))
    content = {"format": FORMAT, **vars(checkpoint), "position": checkpoint.position.to_dict()}
    atomic_write(path, lambda temporary: _write(content, temporary))


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint onto the CPU.

    Only tensors and plain values are accepted, so a file cannot run code.

    Raises:
        SeamsegError: The file is missing, damaged or not a checkpoint of this program.
    """
    check_seal(path)
    return _read(path)


def why_unusable(path: Path) -> str:
    """Return why no run can continue from a checkpoint of this program: damage or non-finite values.

    Returns:
        One sentence. Empty for a good checkpoint and for one that :func:`load_checkpoint` rejects for another reason,
        such as another version.
    """
    try:
        check_seal(path)
    except SeamsegError as error:
        return str(error)
    try:
        names = nonfinite_tensors(vars(_read(path)))
    except SeamsegError:
        return ""
    return f"the checkpoint {path} has infinities or NaNs in {some_of(names)}" if names else ""


def _read(path: Path) -> Checkpoint:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # its type depends on the content
        raise ModelError(
            f"the checkpoint {path} cannot be read ({shorten(str(error), 200)}): it was not written by seamseg"
        ) from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ModelError(f"{path} is not a checkpoint of this version of the program")
    try:
        return Checkpoint(**{**content, "position": TrainingProgress.from_dict(content["position"])})
    except (KeyError, TypeError) as error:
        raise ModelError(f"the checkpoint {path} has a missing or unexpected entry: {error}") from error


def check_seal(path: Path) -> None:
    """Compare the file with the SHA-256 digest at its end, which detects any truncation or flipped bit.

    Raises:
        SeamsegError: The file is missing or has changed since it was written.
    """
    if not path.is_file():
        raise ModelError(f"there is no checkpoint {path}")
    try:
        digest, size = _digest(path)
        with path.open("rb") as file:
            file.seek(size)
            seal = file.read()
    except OSError as error:
        raise ModelError(f"the checkpoint {path} cannot be read: {error.strerror}") from error
    if seal != _COMMENT + digest:
        raise ModelError(
            f"the checkpoint {path} is damaged or not a seamseg checkpoint: its content does not match its checksum"
        )


def _write(content: dict[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # torch hides the system's error
            raise error.__context__ from None
        raise
    _seal(path)


def _seal(path: Path) -> None:
    """Set the comment of the archive to the digest; the last two bytes of an archive are the length of its comment."""
    with path.open("r+b") as file:
        file.seek(-2, 2)
        file.write(_SEAL_BYTES.to_bytes(2, "little"))
        file.write(bytes(_SEAL_BYTES))
        file.flush()
        digest, size = _digest(path)
        file.seek(size)
        file.write(_COMMENT + digest)


def _digest(path: Path) -> tuple[bytes, int]:
    """Return the digest of everything before the seal, and the number of bytes before the seal."""
    size = max(path.stat().st_size - _SEAL_BYTES, 0)
    return sha256(path, size), size


DAMAGED = ".damaged"
"""Suffix given to a checkpoint that no run can continue from."""


def checkpoint_path(folder: Path, iteration: int) -> Path:
    """Return the path of the checkpoint of an iteration."""
    return folder / f"checkpoint-{iteration:08d}.pt"


def checkpoint_paths(folder: Path) -> list[Path]:
    """Return all checkpoints of a run folder, latest first."""
    return sorted(folder.glob("checkpoint-" + "[0-9]" * 8 + ".pt"), reverse=True)


def newest_checkpoint(folder: Path) -> tuple[Path, list[str]]:
    """Return the latest good checkpoint, and one sentence for each later one on why it was skipped.

    Raises:
        SeamsegError: There is no checkpoint, or none is undamaged and finite.
    """
    refused: list[str] = []
    for path in checkpoint_paths(folder):
        reason = why_unusable(path)
        if not reason:
            return path, refused
        refused.append(reason)
    raise ModelError("; ".join(refused) if refused else f"there is no checkpoint in {folder}")


def put_aside_later(folder: Path, path: Path) -> list[Path]:
    """Rename the unusable checkpoints that are later than the good one at ``path``, and return their new paths."""
    later = [other for other in checkpoint_paths(folder) if other.name > path.name]
    return [other.rename(other.with_suffix(DAMAGED)) for other in later]


def add_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Write a checkpoint, and then remove the old ones that are no longer needed.

    Args:
        folder: Run folder.
        checkpoint: Current state of the run.
        keep: Number of latest checkpoints to keep; the checkpoint of the best model is kept as well.

    Raises:
        FloatingPointError: The state contains an infinity or a NaN; the previous checkpoints are all kept.
        OSError: The file cannot be written; the previous checkpoints are all kept.
    """
    path = checkpoint_path(folder, checkpoint.position.iteration)
    try:
        save_checkpoint(path, checkpoint)
    except OSError as error:
        resume = f"{_last_checkpoint_text(folder)}: fix the cause, and pass --resume to continue"
        raise OSError(f"{path} cannot be written ({error.strerror or error}); {resume}") from error
    except FloatingPointError as error:
        raise FloatingPointError(f"{error}; {_last_checkpoint_text(folder)}. {REMEDY}") from error
    _remove_old(folder, checkpoint.position, keep)


def _remove_old(folder: Path, position: TrainingProgress, keep: int) -> None:
    newest = checkpoint_path(folder, position.iteration)
    paths = checkpoint_paths(folder)
    kept = [path for path in paths if path.name <= newest.name][:keep]
    for path in paths:
        if path not in kept and path != checkpoint_path(folder, position.best_iteration):
            path.unlink()


def _last_checkpoint_text(folder: Path) -> str:
    """Return the part of an error message that names the last good checkpoint."""
    paths = checkpoint_paths(folder)
    if not paths:
        return "the run has no checkpoint yet"
    return f"the last good checkpoint is {paths[0].name}"
