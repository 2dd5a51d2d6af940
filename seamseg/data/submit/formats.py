"""What the servers want of one image.

The formats of Cityscapes are described at the top of its evaluation scripts (cityscapesScripts,
``evalPanopticSemanticLabeling``, ``evalInstanceLevelSemanticLabeling``, ``evalPixelLevelSemanticLabeling``), those of
COCO and Vistas on the pages "results format" and "upload" of COCO.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from seamseg.data.images import read_bytes
from seamseg.data.submit.archive import Member
from seamseg.data.submit.segment_map import SegmentMap, read_segment_map
from seamseg.data.submit.selection import SubmittedImage

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
            ValueError: its PNG does not fit its entry in the JSON file, or a thing lacks the score that it needs.
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
                raise ValueError(
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
