"""Writer for the archive that is sent to a benchmark server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from seamseg.io.files import atomic_write
from seamseg.io.workers import ordered_map
from seamseg.submit.formats import Archive, FormatName, Packed

ImageT = TypeVar("ImageT")
ImageT_contra = TypeVar("ImageT_contra", contravariant=True)


class ImagePacker(Protocol[ImageT_contra]):
    """Converter of single images to the files of a submission, such as :class:`~seamseg.submit.formats.Packer`."""

    @property
    def format(self) -> FormatName:
        """Format of the submission."""
        ...

    @property
    def folder(self) -> str:
        """Name of the folder in the archive, or of the JSON file without suffix."""
        ...

    def __call__(self, image: ImageT_contra, /) -> Packed:
        """Create the files of one image."""
        ...


@dataclass(frozen=True)
class Submission:
    """Contents of a written archive.

    Attributes:
        num_images: Number of images.
        num_segments: Number of segments in all images.
    """

    num_images: int
    num_segments: int


def write_submission(
    path: Path,
    images: Sequence[ImageT],
    packer: ImagePacker[ImageT],
    num_workers: int | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Submission:
    """Write the archive atomically.

    The same predictions always give the same bytes, regardless of the number of workers. A panoptic submission ends
    with ``FOLDER.json`` next to the folder of PNGs, and a list of results is only that file. Only a few images per
    worker and the lines of that file are held in memory.

    Args:
        path: Path of the archive. Its folder must exist.
        images: Images in the order of the archive.
        packer: Converter of images to files.
        num_workers: Number of worker processes. None starts one per core.
        on_progress: Called with the number of finished images.

    Raises:
        SeamsegError: An image cannot be packed; see :class:`~seamseg.submit.formats.Packer`.
        OSError: The archive cannot be written.
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
            if packer.format in ("panoptic", "results"):
                ends = ("[", "]\n") if packer.format == "results" else ('{"annotations":[', "]}\n")
                archive.add_text(f"{packer.folder}.json", _json(annotations, *ends))

    atomic_write(path, write)
    return Submission(len(images), num_segments)


def _add(archive: Archive, packed: Packed, annotations: list[str]) -> None:
    for member in packed.members:
        archive.add(member)
    if packed.annotation:
        annotations.append(packed.annotation)


def _json(annotations: Sequence[str], start: str, end: str) -> Iterator[str]:
    yield start
    for position, annotation in enumerate(annotations):
        yield ("," if position else "") + "\n" + annotation
    yield end
