"""Access to the three files of a published model, in a zip archive or in a folder."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from seamseg.errors import ModelError

CONFIG, METADATA = "config.ini", "metadata.bin"
SNAPSHOT_SUFFIXES = (".tar", ".pth", ".pt")
LIMITS = {"config": 1 << 20, "metadata": 1 << 25, "snapshot": 1 << 32}
"""Maximum unpacked size of each file in bytes: far above any published network, far below a zip bomb."""

PIECE = 1 << 20
DAMAGE = (OSError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, UnicodeDecodeError)
"""Exceptions that reading a damaged archive can raise."""

READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compression methods that can be unpacked in pieces with bounded memory."""


@dataclass(frozen=True)
class PublishedFiles:
    """Paths of the files of a published model.

    Attributes:
        config: Settings, an INI file.
        metadata: Classes, a MessagePack file.
        snapshot: Weights, a torch file.
    """

    config: Path
    metadata: Path
    snapshot: Path


@contextlib.contextmanager
def open_published(path: Path) -> Iterator[PublishedFiles]:
    """Open the files of a published model for the duration of the context.

    The files of an archive are unpacked to a temporary folder, which is deleted at the end.

    Args:
        path: Zip archive or folder; the files may be in a folder inside it.

    Raises:
        SeamsegError: It is not a published model, is damaged, has no or several candidates for a file, or is too large
            when unpacked.
    """
    if path.is_dir():
        names = [
            found.relative_to(path).as_posix() for found in (*path.glob("*"), *path.glob("*/*")) if found.is_file()
        ]
        yield PublishedFiles(**{part: path / name for part, name in _choose(names, path).items()})
        return
    with tempfile.TemporaryDirectory(prefix="seamseg-") as folder:
        try:
            yield _unpack(path, Path(folder))
        except ValueError as error:
            raise ModelError(str(error).replace(f"{folder}/", f"{path}/")) from error


def holds_published(folder: Path) -> bool:
    """Return whether a folder looks like an unpacked archive."""
    return any(folder.glob(CONFIG)) or any(folder.glob(f"*/{CONFIG}"))


def _unpack(path: Path, folder: Path) -> PublishedFiles:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            names = [member.filename for member in members]
            chosen = {part: members[names.index(name)] for part, name in _choose(names, path).items()}
            _check_room(sum(member.file_size for member in chosen.values()), folder, path)
            unpacked = {part: folder / PurePosixPath(member.filename).name for part, member in chosen.items()}
            for part, member in chosen.items():
                _copy(archive, member, LIMITS[part], unpacked[part], path)
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # a disk error; a damaged archive instead makes the reader seek to an invalid position (EINVAL)
        raise ModelError(
            f"the archive {path} cannot be read ({error}); it is truncated, damaged or not a zip file"
        ) from error
    return PublishedFiles(**unpacked)


def _choose(names: Sequence[str], source: Path) -> dict[str, str]:
    """Choose the file of each part from all names in a source."""
    for name in names:
        if name.startswith("/") or ".." in PurePosixPath(name.replace("\\", "/")).parts:
            raise ModelError(
                f"{source} contains the path {name!r}, which leads outside of it; published models have no such paths"
            )
    shown = [name for name in names if not _is_system_file(name)]
    candidates = {
        "config": [name for name in shown if PurePosixPath(name).name == CONFIG],
        "metadata": [name for name in shown if PurePosixPath(name).name == METADATA],
        "snapshot": [name for name in shown if name.lower().endswith(SNAPSHOT_SUFFIXES)],
    }
    for part, found in candidates.items():
        wanted = {"config": CONFIG, "metadata": METADATA}.get(part, f"snapshot ({', '.join(SNAPSHOT_SUFFIXES)})")
        if not found:
            raise ModelError(f"{source} is not a published model: it has no {wanted}; {_contents(shown)}")
        if len(found) > 1:
            raise ModelError(
                f"{source} contains several files that could be its {wanted}: {_listed(found)}; keep only one"
            )
    return {part: found[0] for part, found in candidates.items()}


def _is_system_file(name: str) -> bool:
    """Return whether a file was added to the archive by a file manager."""
    return any(part == "__MACOSX" or part.startswith(".") for part in PurePosixPath(name).parts)


def _contents(names: Sequence[str]) -> str:
    inner = [name for name in names if name.lower().endswith(".zip")]
    if inner:
        return f"it contains another archive, {inner[0]}; unpack it and pass the inner archive"
    return f"it contains {_listed(names)}" if names else "it is empty"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(sorted(names)[:5]) + more


def _check_room(size: int, folder: Path, source: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ModelError(
            f"{source} unpacks to {size >> 20} MiB, but {folder.parent} has only {free >> 20} MiB left; set the "
            "environment variable TMPDIR to a folder with more space"
        )


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int, target: Path, source: Path) -> None:
    """Unpack one file in pieces; the zip reader returns no more bytes than the stated size."""
    if member.file_size > limit:
        raise ModelError(
            f"{member.filename} in {source} unpacks to {member.file_size >> 20} MiB, more than the limit of "
            f"{limit >> 20} MiB for this file"
        )
    if member.flag_bits & 1:
        raise ModelError(f"{member.filename} in {source} is encrypted; unpack the archive and pass the folder")
    if member.compress_type not in READABLE:
        raise ModelError(
            f"{member.filename} in {source} uses an unsupported compression; unpack the archive and pass the folder"
        )
    with archive.open(member) as packed, target.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, PIECE)
