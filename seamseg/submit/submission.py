"""The archive that is sent to a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seamseg.io.files import atomic_write
from seamseg.io.workers import ordered_map
from seamseg.submit.formats import Archive, Packed, Packer
from seamseg.submit.selection import SubmittedImage


@dataclass(frozen=True)
class Submission:
    """What was written.

    Attributes:
        num_images: in the archive.
        num_segments: that their files show.
    """

    num_images: int
    num_segments: int


def write_submission(
    path: Path,
    images: Sequence[SubmittedImage],
    packer: Packer,
    num_workers: int | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Submission:
    """Writes the archive whole or not at all; the same predictions give the same bytes, with any number of workers.

    A panoptic submission ends with ``FOLDER.json`` beside the folder of PNGs. In memory are a few images per worker and
    the lines of that file.

    Args:
        path: of the archive; its folder must exist.
        images: in the order of the archive.
        packer: makes their files.
        num_workers: processes; None takes one per core.
        on_progress: is told how many images are done.

    Raises:
        SeamsegError: as :class:`~seamseg.submit.formats.Packer`.
        OSError: the archive cannot be written.
    """
    num_segments = 0

    def write(temporary: Path) -> None:
        nonlocal num_segments
        with Archive(temporary) as archive:
            annotations: list[str] = []
            packed_images = ordered_map(packer, images, processes=num_workers)
            for done, packed in enumerate(packed_images, start=1):
                _add(archive, packed, annotations)
                num_segments += packed.num_segments
                on_progress(done)
            if packer.format == "panoptic":
                archive.add_text(f"{packer.folder}.json", _json(annotations))

    atomic_write(path, write)
    return Submission(len(images), num_segments)


def _add(archive: Archive, packed: Packed, annotations: list[str]) -> None:
    for member in packed.members:
        archive.add(member)
    annotations.append(packed.annotation)


def _json(annotations: Sequence[str]) -> Iterator[str]:
    yield '{"annotations":['
    for position, annotation in enumerate(annotations):
        yield ("," if position else "") + "\n" + annotation
    yield "]}\n"
