"""Writer for drives as a COCO panoptic data set of frames, with identities in VIPSeg's layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seamseg.errors import SettingsError
from seamseg.io.files import write_text
from seamseg.scenes.drive import render_drive
from seamseg.scenes.segments import SCENE_CATEGORIES
from seamseg.scenes.write import SegmentColors, check_request, panoptic_json, write_frame


def write_drives(
    folder: Path,
    num_train: int,
    num_val: int,
    num_frames: int,
    size: tuple[int, int],
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write short drives along synthetic streets, with ids that are constant over the frames of a drive.

    For the splits train and val, the folder receives ``images/SPLIT/DRIVE/*.jpg`` and the PNGs of the segments.
    ``annotations/panoptic_SPLIT.json`` lists all frames as images in COCO panoptic format, for training, and
    ``annotations/video_SPLIT.json`` the drives in VIPSeg's layout, for scoring. The bytes of a drive depend only on
    (seed, split, number, size, num_frames). The JSON files are written last and atomically.

    Args:
        folder: Folder to write to. It is created if needed.
        num_train: Number of drives for training, at least 1.
        num_val: Number of held-out drives, at least 1.
        num_frames: Number of frames of each drive, at least 1, 0.1 s apart.
        size: Height and width in pixels, at least 32 each.
        seed: Seed of the data set, at least 0.
        progress: Called after each frame with the number of finished frames and the total.

    Raises:
        SeamsegError: A number is out of range, or the folder already contains annotations.

    Example:
        >>> from pathlib import Path
        >>> from seamseg.scenes import write_drives
        >>> write_drives(Path("two-drives"), num_train=1, num_val=1, num_frames=2, size=(32, 64), seed=0)
        >>> sorted(path.name for path in Path("two-drives/images/val/0001").iterdir())
        ['000000.jpg', '000001.jpg']
    """
    counts = {"train": num_train, "val": num_val}
    check_request(folder, counts, size, seed)
    if num_frames < 1:
        raise SettingsError(f"the drives would have {num_frames} frames; request at least 1")
    total, texts, done = (num_train + num_val) * num_frames, dict[str, str](), 0
    for index, (split, count) in enumerate(counts.items()):
        entries: list[dict[str, Any]] = []
        for number in range(1, count + 1):
            colors = SegmentColors()
            for frame, scene in enumerate(render_drive((seed, 2 + index, number), size, num_frames)):
                name, done = f"{number:04d}/{frame:06d}", done + 1
                entries.append(write_frame(scene, len(entries) + 1, name, colors, folder, split))
                if progress is not None:
                    progress(done, total)
        texts[f"panoptic_{split}.json"] = _text(panoptic_json(entries, size, seed))
        texts[f"video_{split}.json"] = _text(_video_json(entries, size, num_frames))
    for file_name, text in texts.items():
        write_text(folder / "annotations" / file_name, text)


def _video_json(entries: list[dict[str, Any]], size: tuple[int, int], num_frames: int) -> dict[str, Any]:
    """Return the frames of all drives in VIPSeg's layout."""
    videos, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    for start in range(0, len(entries), num_frames):
        frames = entries[start : start + num_frames]
        drive = frames[0]["file_name"].split("/")[0]
        names = [frame["file_name"].split("/")[1] for frame in frames]
        sizes = {"width": size[1], "height": size[0]}
        images = [{"id": name[:-4], "file_name": name.replace(".png", ".jpg")} | sizes for name in names]
        listed = [
            {"image_id": name[:-4], "file_name": name, "segments_info": frame["segments_info"]}
            for name, frame in zip(names, frames, strict=True)
        ]
        videos.append({"video_id": drive, "images": images})
        annotations.append({"video_id": drive, "annotations": listed})
    return {"videos": videos, "annotations": annotations, "categories": SCENE_CATEGORIES.to_list()}


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))
