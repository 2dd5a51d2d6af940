"""Checkpoints: the state of a run in one file, and the files of a run folder."""

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

FORMAT = 3
# The file is a zip archive, as torch writes it, whose comment is the digest of all that stands before.
_COMMENT = b"sha256:"
_SEAL_BYTES = len(_COMMENT) + hashlib.sha256().digest_size


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on as if it had never stopped.

    All random numbers of a run follow from its seed and its position, so no generator is kept; the log has no running
    means, so no meter is.

    Attributes:
        settings: of the experiment, as YAML.
        categories: as :meth:`seamseg.structures.Categories.to_list` gives them.
        num_ranks: processes that trained.
        position: where the run stands; the schedule follows from it.
        network: state dict.
        optimizer: state dict.
        scaler: state dict of the loss scale; empty but for fp16.
        average: state dict of the averaged weights, or None if there is no average.
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
    """Writes it whole; a failure leaves the previous one.

    Raises:
        FloatingPointError: A tensor holds an infinity or a NaN; nobody could continue from such a file.
        OSError: it cannot be written, such as to a full disk.
    """
    check_finite(f"{path} is not written: the state", vars(checkpoint))
    content = {"format": FORMAT, **vars(checkpoint), "position": checkpoint.position.to_dict()}
    atomic_write(path, lambda temporary: _write(content, temporary))


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads one, onto the CPU. Only tensors and plain values are accepted, so that a file cannot run code.

    Raises:
        SeamsegError: the file is missing, damaged, or no checkpoint of this program.
    """
    check_seal(path)
    return _read(path)


def why_unusable(path: Path) -> str:
    """Why no run can continue from a checkpoint of this program: it is damaged, or has values that are not finite.

    Returns:
        A sentence, or the empty string for a good checkpoint and for one that :func:`load_checkpoint` refuses for
        another reason, such as one of another version.
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
    except Exception as error:  # torch raises whatever the content makes of its reader
        raise ModelError(f"the checkpoint {path} cannot be read ({shorten(str(error), 200)}): it is foreign") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ModelError(f"{path} is not a checkpoint of this version of the program")
    try:
        return Checkpoint(**{**content, "position": TrainingProgress.from_dict(content["position"])})
    except (KeyError, TypeError) as error:
        raise ModelError(f"the checkpoint {path} lacks a part or has one too many: {error}") from error


def check_seal(path: Path) -> None:
    """Compares the file with the SHA-256 digest at its end: any cut or flipped bit is found.

    Raises:
        SeamsegError: the file is missing, or other than it was written.
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
        raise ModelError(f"the checkpoint {path} is damaged or foreign: its content does not match its checksum")


def _write(content: dict[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # torch hides what the system said
            raise error.__context__ from None
        raise
    _seal(path)


def _seal(path: Path) -> None:
    """Makes the digest of the archive its comment, whose length is the archive's last two bytes."""
    with path.open("r+b") as file:
        file.seek(-2, 2)
        file.write(_SEAL_BYTES.to_bytes(2, "little"))
        file.write(bytes(_SEAL_BYTES))
        file.flush()
        digest, size = _digest(path)
        file.seek(size)
        file.write(_COMMENT + digest)


def _digest(path: Path) -> tuple[bytes, int]:
    """Of all before the seal, and how much that is."""
    size = max(path.stat().st_size - _SEAL_BYTES, 0)
    return sha256(path, size), size


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
        SeamsegError: There is no checkpoint, or none is whole and finite.
    """
    refused: list[str] = []
    for path in checkpoint_paths(folder):
        reason = why_unusable(path)
        if not reason:
            return path, refused
        refused.append(reason)
    raise ModelError("; ".join(refused) if refused else f"there is no checkpoint in {folder}")


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


def _remove_old(folder: Path, position: TrainingProgress, keep: int) -> None:
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
