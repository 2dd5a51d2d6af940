"""Prediction on many images: each process segments its share, and rank 0 merges the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seamseg.data.image_rows import ImageRows
from seamseg.data.images import has_twelve_bits
from seamseg.errors import BrokenImageError
from seamseg.io.progress import progress_bar
from seamseg.ops.collectives import gather_objects
from seamseg.predict.images import InputImage, read_large, read_within_limit
from seamseg.predict.outputs import OutputWriter
from seamseg.predict.pipeline import Predicted, PredictionJob, overlapped
from seamseg.predict.predictor import Prediction
from seamseg.predict.results_folder import remove_records
from seamseg.predict.tracking import FrameTracker
from seamseg.runtime.distributed import Process, from_first
from seamseg.structures import Unreadable
from seamseg.visualization.overlay import Style


@dataclass(frozen=True)
class FolderOutcome:
    """Outcome of a run; the same on every rank.

    Attributes:
        num_done: Number of images with results.
        num_kept: Number of images with results from an earlier run, included in ``num_done``.
        unreadable: Images that could not be read, in the order of the input.
        dark: Names of images that are nearly black: 16-bit files that use at most 12 bits.
    """

    num_done: int
    num_kept: int
    unreadable: tuple[Unreadable, ...]
    dark: tuple[str, ...]


def predict_images(job: PredictionJob, input_images: Sequence[InputImage], process: Process) -> FolderOutcome:
    """Predict on the images that have no results yet, and merge the results of all ranks on rank 0.

    Args:
        job: Settings of this rank.
        input_images: All images of the run, the same on every rank; each rank processes its share. If things are
            tracked, the frames clip by clip, and there is only one rank.
        process: Rank and number of ranks.

    Returns:
        The outcome of the run, the same on every rank.

    Raises:
        SeamsegError: The results folder is in use, holds other files, or has results that ``job.mode`` does not allow
            to change.
        OSError: A file cannot be written; images that are already finished are kept.
    """
    folder = job.folder
    done = from_first(process, lambda: folder.begin(job.mode, input_images))
    tracker = None
    try:
        if job.track_gap is not None:
            tracker = FrameTracker(folder.path, folder.categories, job.track_gap)
            kept = tracker.kept_frames(input_images, done)
            folder.invalidate(done - kept)
            done = kept
        folder.join()
        broken, dark = _predict_share(job, input_images, done, process, tracker)
        if not process.is_first:
            folder.close()
        unreadable = _in_input_order(gather_objects(broken), input_images)  # also waits for all ranks
        all_dark = _merged_names(gather_objects(dark))
        if process.is_first:
            finished = [one for one in input_images if one.name not in unreadable]
            folder.finish(finished, list(unreadable.values()), job.info)
            if tracker is not None:
                remove_records(folder.path)
    finally:
        folder.close()
    return FolderOutcome(len(input_images) - len(unreadable), len(done), tuple(unreadable.values()), tuple(all_dark))


def _predict_share(
    job: PredictionJob,
    input_images: Sequence[InputImage],
    done: set[str],
    process: Process,
    tracker: FrameTracker | None,
) -> tuple[dict[str, Unreadable], list[str]]:
    """Return this rank's unreadable images by the name of their results, and the names of its dark images."""
    share = [one for one in input_images if one.name not in done][process.rank :: process.world_size]
    kept = len(done) // process.world_size
    style = Style(ids=tracker is not None)
    writer = OutputWriter(job.folder.path, job.folder.kinds, job.folder.categories, style)
    broken: dict[str, Unreadable] = {}
    dark: list[str] = []

    def skip(image: InputImage, error: BrokenImageError) -> None:
        broken[image.name] = Unreadable(image.file_name, str(error))

    def read(image: InputImage) -> NDArray[np.uint8] | ImageRows:
        if job.predictor.tiling is None:
            pixels: NDArray[np.uint8] | ImageRows = read_within_limit(image.path)
        else:
            pixels = read_large(image.path, whole="overlay" in job.folder.kinds)
        if isinstance(pixels, np.ndarray) and has_twelve_bits(image.path, pixels):
            dark.append(image.file_name)
        return pixels

    def write(found: Predicted[InputImage]) -> InputImage:
        if found.rows is not None and found.rows.has_twelve_bits:
            dark.append(found.source.file_name)
        # Recorded here, because this thread learns of it only after the next image, which can take minutes in tiles.
        job.folder.note(found.source, writer.write(found.source, found.picture, found.prediction))
        return found.source

    def track(image: InputImage, found: Prediction) -> Prediction:
        return found if tracker is None else tracker.track(image.name, found)

    number = kept
    with progress_bar("predicting", kept + len(share), kept, shown=process.is_first) as advance:
        job = replace(job, on_tile=lambda done, total: advance(number + len(broken), f"tile {done} of {total}"))
        results = overlapped(job, share, read, write, skip, track)
        for number, image in enumerate(results, start=kept + 1):
            advance(number + len(broken), image.path.name)
    return broken, dark


def _merged_names(of_ranks: Sequence[object]) -> list[str]:
    return sorted(str(name) for of_rank in of_ranks if isinstance(of_rank, list) for name in of_rank)


def _in_input_order(of_ranks: Sequence[object], input_images: Sequence[InputImage]) -> dict[str, Unreadable]:
    found: dict[str, Unreadable] = {}
    for of_rank in of_ranks:
        assert isinstance(of_rank, dict)
        found.update(of_rank)
    return {one.name: found[one.name] for one in input_images if one.name in found}
