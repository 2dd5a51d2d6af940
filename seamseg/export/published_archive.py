"""The three files of a published model, in a zip archive or unpacked in a folder."""

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
"""Bytes that each file may have unpacked: far above what any published network needs, far below what a bomb makes."""

PIECE = 1 << 20
DAMAGE = (OSError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, UnicodeDecodeError)
"""What the reader of archives makes of a damaged one."""

READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compressions that unpack piece by piece in bounded memory."""


@dataclass(frozen=True)
class PublishedFiles:
    """Where the parts of a published model lie.

    Attributes:
        config: INI text of settings.
        metadata: MessagePack, the classes.
        snapshot: of torch, the weights.
    """

    config: Path
    metadata: Path
    snapshot: Path


@contextlib.contextmanager
def open_published(path: Path) -> Iterator[PublishedFiles]:
    """The files of a published model, for as long as the context lasts; those of an archive are unpacked elsewhere.

    Args:
        path: a zip archive or a folder; the files may lie in a folder in it.

    Raises:
        SeamsegError: it is no such thing, is damaged, lacks a file, has several of a kind, or unpacks to too much.
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
    """Whether a folder looks like an unpacked archive."""
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
            raise  # of the disk; a damaged archive makes the reader seek to where there is nothing
        raise ModelError(f"the archive {path} cannot be read ({error}): it is cut off, damaged or no zip") from error
    return PublishedFiles(**unpacked)


def _choose(names: Sequence[str], source: Path) -> dict[str, str]:
    """The name of each part's file among all names in a source."""
    for name in names:
        if name.startswith("/") or ".." in PurePosixPath(name.replace("\\", "/")).parts:
            raise ModelError(f"{source} names a file outside itself, {name!r}: no published model does")
    shown = [name for name in names if not _is_litter(name)]
    candidates = {
        "config": [name for name in shown if PurePosixPath(name).name == CONFIG],
        "metadata": [name for name in shown if PurePosixPath(name).name == METADATA],
        "snapshot": [name for name in shown if name.lower().endswith(SNAPSHOT_SUFFIXES)],
    }
    for part, found in candidates.items():
        wanted = {"config": CONFIG, "metadata": METADATA}.get(part, f"snapshot ({', '.join(SNAPSHOT_SUFFIXES)})")
        if not found:
            raise ModelError(f"{source} is no published model: it lacks its {wanted}; {_contents(shown)}")
        if len(found) > 1:
            raise ModelError(f"{source} holds several files that could be its {wanted}: {_listed(found)}; leave one")
    return {part: found[0] for part, found in candidates.items()}


def _is_litter(name: str) -> bool:
    """What file managers add to archives."""
    return any(part == "__MACOSX" or part.startswith(".") for part in PurePosixPath(name).parts)


def _contents(names: Sequence[str]) -> str:
    inner = [name for name in names if name.lower().endswith(".zip")]
    if inner:
        return f"it holds another archive, {inner[0]}: unpack it once and give that"
    return f"it holds {_listed(names)}" if names else "it is empty"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(sorted(names)[:5]) + more


def _check_room(size: int, folder: Path, source: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ModelError(
            f"{source} unpacks to {size >> 20} MiB, but {folder.parent} has {free >> 20} MiB left; name a larger "
            "folder in the environment variable TMPDIR"
        )


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int, target: Path, source: Path) -> None:
    """Unpacks one file piece by piece; the archive's reader gives no more bytes than the stated size."""
    if member.file_size > limit:
        raise ModelError(
            f"{member.filename} in {source} unpacks to {member.file_size >> 20} MiB, more than the {limit >> 20} MiB "
            "that such a file may have"
        )
    if member.flag_bits & 1:
        raise ModelError(f"{member.filename} in {source} is encrypted; unpack it and give the folder")
    if member.compress_type not in READABLE:
        raise ModelError(
            f"{member.filename} in {source} is compressed in an unusual way; unpack it and give the folder"
        )
    with archive.open(member) as packed, target.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, PIECE)
