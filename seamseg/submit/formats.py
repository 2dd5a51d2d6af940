"""File formats of the benchmark servers, and the archives that contain the files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.data.formats.coco_writer import distinct_values
from seamseg.data.images import check_size, read_bytes, size_text
from seamseg.data.png import read_panoptic_png
from seamseg.errors import DataError
from seamseg.submit.selection import SubmittedImage

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that the zip format can represent
_UNIX, _REGULAR_FILE = 3, 0o100644


class Member(NamedTuple):
    """A file in an archive: its path in the archive, and its content."""

    name: str
    content: bytes


class Archive:
    """Zip archive that writes each member to disk immediately; its bytes depend only on the members.

    Args:
        path: Path of the archive. An existing file is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._file = zipfile.ZipFile(path, "w")

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, member: Member) -> None:
        """Add a file; PNGs are stored uncompressed because they are already compressed."""
        stored = member.name.endswith(".png")
        info = _info(member.name, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
        self._file.writestr(info, member.content)

    def add_text(self, name: str, pieces: Iterable[str]) -> None:
        """Add a text file piece by piece, so that it is never in memory as a whole."""
        with self._file.open(_info(name, zipfile.ZIP_DEFLATED), "w", force_zip64=True) as file:
            for piece in pieces:
                file.write(piece.encode())


def _info(name: str, compression: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = compression
    info.create_system, info.external_attr = _UNIX, _REGULAR_FILE << 16  # the same on every system
    return info


@dataclass(frozen=True, eq=False)
class SegmentMap:
    """The K segments of an image that have pixels, including void.

    Attributes:
        places: H×W, index of the segment of each pixel, 0 … K−1.
        entries: Position of each segment in the lists of ``ListedSegments``, shape K. Position 0 is void.
    """

    places: NDArray[np.int64]
    entries: NDArray[np.int64]


def read_segment_map(image: SubmittedImage) -> SegmentMap:
    """Read the PNG of an image.

    Raises:
        SeamsegError: The PNG is missing or broken, has another size, or contains an id that the JSON file does not
            list.
    """
    listed = image.segments
    ids = read_panoptic_png(listed.png)
    check_size(listed.png, ids.shape, image.size, f"its JSON file states {size_text(image.size)}")
    values, places = distinct_values(ids)
    order = np.argsort(listed.ids)
    found = np.minimum(np.searchsorted(listed.ids[order], values), len(order) - 1)
    foreign = values[listed.ids[order][found] != values]
    if len(foreign):
        raise DataError(f"{listed.png} contains the segment id {foreign[0]}, which its JSON file does not list")
    return SegmentMap(places, order[found])


FormatName = Literal["panoptic", "instances", "semantic", "results"]
"""Format of a submission; ``results`` is a list of objects in COCO's format."""


@dataclass(frozen=True)
class Packed:
    """One image, ready to be added to the archive.

    Attributes:
        members: Files of the image.
        num_segments: Number of segments in these files.
        annotation: JSON entries of the image in a submission with a JSON file; empty for other formats.
    """

    members: tuple[Member, ...]
    num_segments: int
    annotation: str = ""


@dataclass(frozen=True)
class Packer:
    """Converter of single images to the files of a submission; can be pickled for other processes.

    Attributes:
        format: Format of the submission.
        folder: Name of the PNG folder in the archive.
        category_ids: Category id on the server for each class 0 … 255.
        num_stuff: Number of stuff classes. Classes from this number on are things.
    """

    format: FormatName
    folder: str
    category_ids: NDArray[np.int64]
    num_stuff: int

    def __call__(self, image: SubmittedImage) -> Packed:
        """Create the files of one image.

        Raises:
            SeamsegError: The PNG is inconsistent with its entry in the JSON file, or a thing lacks a required score.
        """
        pack = {"panoptic": self._panoptic, "instances": self._instances, "semantic": self._semantic}[self.format]
        return pack(image, read_segment_map(image))

    def _panoptic(self, image: SubmittedImage, segments: SegmentMap) -> Packed:
        """Copy the PNG unchanged; leave segments without pixels out of the JSON entry, because servers reject them."""
        listed = image.segments
        shown = np.sort(segments.entries[segments.entries > 0])
        info = [
            {"id": int(listed.ids[entry]), "category_id": int(self.category_ids[listed.classes[entry]])}
            for entry in shown
        ]
        file_name = f"{image.stem}.png"
        entry: dict[str, Any] = {"image_id": image.image_id, "file_name": file_name, "segments_info": info}
        member = Member(f"{self.folder}/{file_name}", read_bytes(listed.png))
        return Packed((member,), len(info), json.dumps(entry, separators=(",", ":")))

    def _instances(self, image: SubmittedImage, segments: SegmentMap) -> Packed:
        """Create ``FRAME.txt`` with one line per object (mask, label id and score), and the masks."""
        listed, masks, lines = image.segments, list[Member](), list[str]()
        for place, entry in enumerate(segments.entries.tolist()):
            if entry == 0 or listed.classes[entry] < self.num_stuff:
                continue
            score = float(listed.scores[entry])
            if not np.isfinite(score):
                raise DataError(
                    f"segment {listed.ids[entry]} of {listed.png} has no score, which is needed to rank the objects; "
                    "results of `seamseg predict` contain scores"
                )
            name = f"{self.folder}/{image.stem}_{len(masks):03}.png"
            masks.append(Member(name, encoded_png((segments.places == place).astype(np.uint8) * 255)))
            lines.append(f"{name} {self.category_ids[listed.classes[entry]]} {score!r}\n")
        return Packed((*masks, Member(f"{image.stem}.txt", "".join(lines).encode())), len(masks))

    def _semantic(self, image: SubmittedImage, segments: SegmentMap) -> Packed:
        """Create ``FRAME_labelIds.png`` with the label id of every pixel; void is 0, "unlabeled" in Cityscapes."""
        labels = self.category_ids[image.segments.classes[segments.entries]]
        pixels = labels.astype(np.uint8)[segments.places]
        return Packed((Member(f"{image.stem}_labelIds.png", encoded_png(pixels)),), int((segments.entries > 0).sum()))


def encoded_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return the bytes of a PNG file."""
    return cv2.imencode(".png", pixels)[1].tobytes()
