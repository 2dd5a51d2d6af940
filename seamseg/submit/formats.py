"""Files that benchmark servers take, and the archives they are packed in."""

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

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can state
_UNIX, _REGULAR_FILE = 3, 0o100644


class Member(NamedTuple):
    """A file in an archive: its path there, and what it holds."""

    name: str
    content: bytes


class Archive:
    """Writes members one after the other; each goes to the disk at once.

    Args:
        path: of the archive; an old file is replaced.
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
        """Adds a file. PNGs, which are compressed already, are stored as they are."""
        stored = member.name.endswith(".png")
        info = _info(member.name, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
        self._file.writestr(info, member.content)

    def add_text(self, name: str, pieces: Iterable[str]) -> None:
        """Adds a text file that comes piece by piece, so that it is never in memory as a whole."""
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
    """The K segments that have a pixel, void among them.

    Attributes:
        places: H×W, 0 … K−1, which of them a pixel belongs to.
        entries: K, position of each in the lists of ``ListedSegments``; 0 is void.
    """

    places: NDArray[np.int64]
    entries: NDArray[np.int64]


def read_segment_map(image: SubmittedImage) -> SegmentMap:
    """Reads the PNG.

    Raises:
        SeamsegError: it is missing or broken, of another size, or holds an id that the JSON file does not list.
    """
    listed = image.segments
    ids = read_panoptic_png(listed.png)
    check_size(listed.png, ids.shape, image.size, f"its JSON file says {size_text(image.size)}")
    values, places = distinct_values(ids)
    order = np.argsort(listed.ids)
    found = np.minimum(np.searchsorted(listed.ids[order], values), len(order) - 1)
    foreign = values[listed.ids[order][found] != values]
    if len(foreign):
        raise DataError(f"{listed.png} holds the segment id {foreign[0]}, which its JSON file does not list")
    return SegmentMap(places, order[found])


FormatName = Literal["panoptic", "instances", "semantic"]


@dataclass(frozen=True)
class Packed:
    """One image, ready for the archive.

    Attributes:
        members: its files.
        num_segments: that they show.
        annotation: its entry in the JSON file of a panoptic submission; empty in others.
    """

    members: tuple[Member, ...]
    num_segments: int
    annotation: str = ""


@dataclass(frozen=True)
class Packer:
    """Makes the files of single images; can be sent to other processes.

    Attributes:
        format: of the submission.
        folder: name of the folder of PNGs in the archive.
        category_ids: the server's, of the classes 0 … 255.
        num_stuff: number of stuff classes; greater numbers are things.
    """

    format: FormatName
    folder: str
    category_ids: NDArray[np.int64]
    num_stuff: int

    def __call__(self, image: SubmittedImage) -> Packed:
        """The files of one image.

        Raises:
            SeamsegError: its PNG does not fit its entry in the JSON file, or a thing lacks the score that it needs.
        """
        pack = {"panoptic": self._panoptic, "instances": self._instances, "semantic": self._semantic}[self.format]
        return pack(image, read_segment_map(image))

    def _panoptic(self, image: SubmittedImage, segments: SegmentMap) -> Packed:
        """The PNG as it is. Segments without a pixel, over which servers stumble, are left out of the JSON entry."""
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
        """``FRAME.txt``, one line per object: a mask, its label id, its score."""
        listed, masks, lines = image.segments, list[Member](), list[str]()
        for place, entry in enumerate(segments.entries.tolist()):
            if entry == 0 or listed.classes[entry] < self.num_stuff:
                continue
            score = float(listed.scores[entry])
            if not np.isfinite(score):
                raise DataError(
                    f"segment {listed.ids[entry]} of {listed.png} has no score, by which objects are ranked; "
                    "`seamseg predict` writes them"
                )
            name = f"{self.folder}/{image.stem}_{len(masks):03}.png"
            masks.append(Member(name, _png((segments.places == place).astype(np.uint8) * 255)))
            lines.append(f"{name} {self.category_ids[listed.classes[entry]]} {score!r}\n")
        return Packed((*masks, Member(f"{image.stem}.txt", "".join(lines).encode())), len(masks))

    def _semantic(self, image: SubmittedImage, segments: SegmentMap) -> Packed:
        """``FRAME_labelIds.png``: the label id of every pixel; 0, which Cityscapes calls unlabeled, where void."""
        labels = self.category_ids[image.segments.classes[segments.entries]]
        pixels = labels.astype(np.uint8)[segments.places]
        return Packed((Member(f"{image.stem}_labelIds.png", _png(pixels)),), int((segments.entries > 0).sum()))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()
