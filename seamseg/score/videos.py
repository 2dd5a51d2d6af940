"""Evaluation of results for videos from any program, without a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from seamseg.data.formats.coco_json import ListedSegments
from seamseg.data.formats.step import open_step, split_step_ids
from seamseg.data.formats.vipseg import Clips, open_video_results, open_videos
from seamseg.errors import DataError
from seamseg.io.workers import available_cores, ordered_map
from seamseg.metrics.video import VideoEvaluator, VideoScores, tube_keys
from seamseg.score.files import segment_positions, shared_pixels
from seamseg.structures import VOID, Categories

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class VideoFiles:
    """Annotation of videos, or results for them.

    Attributes:
        path: JSON file, or folder of PNGs in the format of KITTI-STEP.
        categories: Categories of the annotation.
        clips: Frames of each video.
        step_classes: Class of each value of the red channel of KITTI-STEP's PNGs; None for VIPSeg's layout.
        notes: Sentences on how the categories of the results differ.
    """

    path: Path
    categories: Categories
    clips: Clips
    step_classes: IntArray | None = None
    notes: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        """Number of frames of all videos."""
        return sum(map(len, self.clips.values()))

    def tubes(self, listed: ListedSegments, ids: IntArray) -> IntArray:
        """Return the keys of the tubes (:func:`tube_keys`) of N ids in the PNG of a frame.

        Raises:
            SeamsegError: An id is not listed, or has an unknown class.
        """
        num_stuff = self.categories.num_stuff
        if self.step_classes is not None:
            classes, instances = split_step_ids(ids, self.step_classes, listed.png)
            crowd = (classes >= num_stuff) & (classes != VOID) & (instances == 0)
            return tube_keys(classes, instances, crowd, num_stuff)
        positions = segment_positions(ids, 0, [listed])
        return tube_keys(listed.classes[positions], ids, listed.crowd[positions], num_stuff)


def open_truth(path: Path, folder: Path | None) -> VideoFiles:
    """Open an annotation of videos.

    Args:
        path: JSON file in VIPSeg's layout, or folder of PNGs in the format of KITTI-STEP.
        folder: Folder of the PNGs of a JSON file; None looks next to it.

    Raises:
        SeamsegError: The file or folder does not have this form.
    """
    if path.is_dir():
        categories, clips, classes, _ = open_step(path)
        return VideoFiles(path, categories, clips, classes)
    return VideoFiles(path, *open_videos(path, folder))


def open_predictions(path: Path, folder: Path | None, truth: VideoFiles) -> VideoFiles:
    """Open results for videos, and select those of the annotated frames.

    Videos are matched by name, or if there is one on both sides, in any case. Frames are matched by the names of their
    PNGs.

    Args:
        path: JSON file in VIPSeg's layout, or folder of PNGs in the format of KITTI-STEP.
        folder: Folder of the PNGs of a JSON file; None looks next to it.
        truth: Annotation.

    Raises:
        SeamsegError: The file or folder does not have this form, or has no result for a frame.
    """
    if path.is_dir():
        categories, clips, classes, notes = open_step(path, truth.categories)
        results = VideoFiles(path, categories, clips, classes, notes)
    else:
        clips, notes = open_video_results(path, folder, truth.categories)
        results = VideoFiles(path, truth.categories, clips, None, notes)
    if len(truth.clips) == len(results.clips) == 1:
        chosen = dict(zip(truth.clips, results.clips.values(), strict=True))
    else:
        chosen = results.clips
    matched = {name: _frames_of(name, frames, chosen, results.path) for name, frames in truth.clips.items()}
    return VideoFiles(results.path, results.categories, matched, results.step_classes, results.notes)


def _frames_of(name: str, true: Sequence[ListedSegments], clips: Clips, path: Path) -> list[ListedSegments]:
    if name not in clips:
        raise DataError(f"{path} has no result for video {name}; every video needs a result")
    by_name = {_stem(frame): frame for frame in clips[name]}
    missing = [_stem(frame) for frame in true if _stem(frame) not in by_name]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"{path} has no result for frame {missing[0]}{more} of video {name}; every annotated frame needs a result"
        )
    return [by_name[_stem(frame)] for frame in true]


def _stem(frame: ListedSegments) -> str:
    return PurePosixPath(frame.png_file).stem


def score_videos(
    truth: VideoFiles,
    results: VideoFiles,
    windows: Sequence[int],
    progress: Callable[[int], None] | None = None,
) -> VideoScores:
    """Score results for videos at the size of the annotation.

    Args:
        truth: Annotation.
        results: Results for the same frames, from :func:`open_predictions`.
        windows: Lengths of the windows of VPQ in frames.
        progress: Called with the number of finished frames.

    Raises:
        SeamsegError: All videos are shorter than a window, a PNG is broken or contains ids that are not listed, or the
            two PNGs of a frame differ in size.
        FileNotFoundError: A PNG is missing.
    """
    longest = max(map(len, truth.clips.values()))
    if max(windows) > longest:
        fitting = ",".join(str(length) for length in windows if length <= longest) or str(longest)
        raise DataError(
            f"a window of {max(windows)} frames is longer than all videos of {truth.path}, the longest of which has "
            f"{longest}; pass --windows {fitting}"
        )
    categories, threads = truth.categories, available_cores()
    evaluator, num_done = VideoEvaluator(len(categories), categories.num_stuff, windows), 0
    for name, frames in truth.clips.items():
        pairs = list(zip(frames, results.clips[name], strict=True))
        for tubes in ordered_map(partial(_tubes, truth, results), pairs, threads=threads, ahead=2 * threads):
            evaluator.update(*tubes)
            num_done += 1
            if progress is not None:
                progress(num_done)
        evaluator.end_clip(name)
    return evaluator.compute(categories.names)


def _tubes(
    truth: VideoFiles, results: VideoFiles, pair: tuple[ListedSegments, ListedSegments]
) -> tuple[IntArray, IntArray, IntArray]:
    """Return the keys of the true and the predicted tubes that share pixels in a frame, and the numbers of pixels."""
    table = shared_pixels(*pair, boundary=False)
    return truth.tubes(pair[0], table[:, 0]), results.tubes(pair[1], table[:, 1]), table[:, 2]
