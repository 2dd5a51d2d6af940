"""Goes through the photographs of a folder, alone or as one of several processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seamseg.data.images import BrokenImageError
from seamseg.ops.collectives import gather_objects
from seamseg.predict.outputs import OutputWriter
from seamseg.predict.photographs import Photograph
from seamseg.predict.pipeline import Predicted, overlapped
from seamseg.predict.predictor import Predictor
from seamseg.predict.results_folder import Mode, ResultsFolder, Unreadable
from seamseg.runtime.distributed import Process, from_first
from seamseg.runtime.journal import ItemOutput
from seamseg.runtime.progress import progress_bar


@dataclass(frozen=True)
class Outcome:
    """How a run went; the same on every rank.

    Attributes:
        num_segmented: images with results.
        num_kept: of them, those that an earlier run had made.
        unreadable: the others, in their order.
    """

    num_segmented: int
    num_kept: int
    unreadable: tuple[Unreadable, ...]


def predict_photographs(
    predictor: Predictor,
    photographs: Sequence[Photograph],
    folder: ResultsFolder,
    process: Process,
    mode: Mode,
    info: Mapping[str, Any],
    batch_size: int = 1,
) -> Outcome:
    """Segments what is not segmented yet, each rank its share; rank 0 joins the results.

    Args:
        predictor: on this process's device.
        photographs: all of them, the same on every rank.
        folder: of the results, of this rank.
        process: this rank.
        mode: what to do with a folder that is not empty.
        info: for ``panoptic.json``.
        batch_size: images that the network sees at a time.

    Raises:
        ValueError: the folder may not be used.
        OSError: a file cannot be written; what is done is kept.
    """
    done = from_first(process, lambda: folder.begin(mode, photographs))
    try:
        folder.join()
        broken = _predict_share(predictor, photographs, done, folder, process, batch_size)
        if not process.is_first:
            folder.close()
        unreadable = _in_order(gather_objects(broken), photographs)  # also waits for all ranks
        if process.is_first:
            segmented = [one for one in photographs if one.name not in unreadable]
            folder.finish(segmented, list(unreadable.values()), info)
    finally:
        folder.close()
    return Outcome(len(photographs) - len(unreadable), len(done), tuple(unreadable.values()))


def _predict_share(
    predictor: Predictor,
    photographs: Sequence[Photograph],
    done: set[str],
    folder: ResultsFolder,
    process: Process,
    batch_size: int,
) -> dict[str, Unreadable]:
    """By the names of their results, the images of this rank that cannot be read."""
    share = [one for one in photographs if one.name not in done][process.rank :: process.world_size]
    kept = len(done) // process.world_size
    writer = OutputWriter(folder.path, folder.kinds, folder.categories)
    broken: dict[str, Unreadable] = {}

    def leave_out(image: Photograph, error: BrokenImageError) -> None:
        broken[image.name] = Unreadable(image.file_name, str(error))

    def write(found: Predicted[Photograph]) -> tuple[Photograph, ItemOutput]:
        return found.source, writer.write(found.source, found.picture, found.prediction)

    with progress_bar("predicting", kept + len(share), kept, shown=process.is_first) as advance:
        results = overlapped(predictor, share, write, leave_out, batch_size)
        for number, (image, written) in enumerate(results, start=kept + 1):
            folder.note(image, written)
            advance(number + len(broken), image.path.name)
    return broken


def _in_order(of_ranks: Sequence[object], photographs: Sequence[Photograph]) -> dict[str, Unreadable]:
    found: dict[str, Unreadable] = {}
    for of_rank in of_ranks:
        assert isinstance(of_rank, dict)
        found.update(of_rank)
    return {one.name: found[one.name] for one in photographs if one.name in found}
