"""Writer for drives as a COCO panoptic data set of frames, with identities in VIPSeg's layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from seamseg.data.formats.vipseg import VIDEO_PREFIX, framed, write_videos
from seamseg.io.files import atomic_write
from seamseg.scenes.drive import render_drive
from seamseg.scenes.segments import SCENE_CATEGORIES
from seamseg.scenes.write import SegmentColors, check_request, panoptic_json, write_annotations, write_frame


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

    The folder receives ``images/SPLIT/DRIVE/*.jpg``, PNGs of the segments, and for training, all frames as images in
    ``annotations/panoptic_SPLIT.json``; for scoring, ``annotations/video_SPLIT.json`` lists drives in VIPSeg's layout.
    A drive depends only on (seed, split, number, size, num_frames). The JSON files are written last and atomically.

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
    check_request(folder, counts, size, seed, num_frames)
    total, contents, done = (num_train + num_val) * num_frames, dict[str, dict[str, Any]](), 0
    for index, (split, count) in enumerate(counts.items()):
        entries: list[dict[str, Any]] = []
        for number in range(1, count + 1):
            frames, colors = render_drive((seed, 2 + index, number), size, num_frames), SegmentColors()
            for frame, scene in enumerate(frames):
                name, done = f"{number:04d}/{frame:06d}", done + 1
                entries.append(write_frame(scene, len(entries) + 1, name, colors, folder, split))
                if progress is not None:
                    progress(done, total)
        contents[split] = panoptic_json(entries, size, seed)
    for split, content in contents.items():
        _write_videos(folder / "annotations" / f"{VIDEO_PREFIX}{split}.json", content)
    write_annotations(folder, contents)


def _write_videos(path: Path, content: dict[str, Any]) -> None:
    """Write the frames of a COCO panoptic file in VIPSeg's layout."""
    names = [entry["file_name"].removesuffix(".png") for entry in content["annotations"]]
    lists = {
        key: framed(content[key], names, number) for key, number in (("images", "id"), ("annotations", "image_id"))
    }
    atomic_write(path, lambda part: write_videos(part, content["info"], SCENE_CATEGORIES, lists))
