"""SHA-256 checksums of files, in the format that ``sha256sum --check`` reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from seamseg.errors import ModelError

SUMS_FILE = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")
_PIECE = 1 << 20


def sha256(path: Path, num_bytes: int | None = None) -> bytes:
    """Return the SHA-256 digest of a file or of its first bytes, read piece by piece.

    Args:
        path: Path of the file.
        num_bytes: Number of bytes to read from the start of the file; None reads the whole file.
    """
    left = path.stat().st_size if num_bytes is None else num_bytes
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while left and (piece := file.read(min(left, _PIECE))):
            digest.update(piece)
            left -= len(piece)
    return digest.digest()


def sums_of(folder: Path, names: Sequence[str]) -> str:
    """Return the content of ``SHA256SUMS`` for the named files of a folder."""
    return "".join(f"{sha256(folder / name).hex()}  {name}\n" for name in names)


def check_sums(folder: Path, names: Sequence[str]) -> None:
    """Compare files of a folder with its ``SHA256SUMS``.

    Args:
        folder: Folder that contains the files and ``SHA256SUMS``.
        names: Names of the files that must be listed; other listed files are not checked.

    Raises:
        SeamsegError: The list cannot be read or lacks a file, or a file is missing or has changed.
    """
    listed = _read_sums(folder / SUMS_FILE)
    for name in names:
        if name not in listed:
            raise ModelError(f"{folder / SUMS_FILE} has no checksum of {name}: the folder has been changed")
        try:
            found = sha256(folder / name).hex()
        except OSError as error:
            raise ModelError(f"{folder / name} cannot be read: {error.strerror}") from error
        if found != listed[name]:
            raise ModelError(
                f"{folder / name} has been changed or damaged: its SHA-256 differs from {SUMS_FILE}; download it "
                f"again, or if the change is intended, run `sha256sum {' '.join(names)} > {SUMS_FILE}` there"
            )


def _read_sums(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    matches = [_LINE.fullmatch(line) for line in lines if line.strip()]
    if not all(matches):
        raise ModelError(f"{path} is not a list of SHA-256 checksums as written by sha256sum")
    return {match[2]: match[1] for match in matches if match}
