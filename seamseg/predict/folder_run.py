"""What the results of a run depend on beside its images, in one word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from seamseg.data.images import BrokenImageError, has_twelve_bits
from seamseg.io.journal import ItemOutput
from seamseg.io.progress import progress_bar
from seamseg.ops.collectives import gather_objects
from seamseg.predict.images import Photograph
from seamseg.predict.outputs import OutputKind, OutputWriter
from seamseg.predict.pipeline import Predicted, overlapped
from seamseg.predict.predictor import Predictor
from seamseg.predict.results_folder import Job
from seamseg.runtime.distributed import Process, from_first
from seamseg.structures import Categories, Unreadable

_END = 1 << 20  # bytes
_VERSION = 1  # to be raised when outputs are written differently, so that no old folder is gone on with


def fingerprint(
    predictor: Predictor, categories: Categories, kinds: Sequence[OutputKind], film: Path | None = None
) -> str:
    """The same for the same weights, classes, thresholds, sizes, augmentation, precision and kinds of output.

    Args:
        predictor: what is asked.
        categories: of its network.
        kinds: of output.
        film: that is segmented, wherever it lies; None stands for photographs, whichever they are.
    """
    selector, transform = predictor.network.roi_heads.selector, predictor.transform
    told = [
        _VERSION,
        sorted(kinds),
        categories.to_list(),
        repr(predictor.fusion),
        repr(predictor.augmentation),
        predictor.precision,
        [selector.nms_threshold, selector.score_threshold, selector.max_predictions],
        [transform.shortest_side, transform.longest_side],
        [transform.normalize.mean.tolist(), transform.normalize.std.tolist()],
        None if film is None else _ends(film),
    ]
    digest = hashlib.sha256(json.dumps(told).encode())
    for name, tensor in sorted(predictor.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _ends(film: Path) -> list[str | int]:
    """Size, and sum of beginning and end: enough to tell films apart, and soon read."""
    size = film.stat().st_size
    with film.open("rb") as file:
        beginning = file.read(_END)
        file.seek(max(0, size - _END))
        return [size, hashlib.sha256(beginning + file.read(_END)).hexdigest()]


@dataclass(frozen=True)
class Outcome:
    """How a run went; the same on every rank.

    Attributes:
        num_segmented: images with results.
        num_kept: of them, those that an earlier run had made.
        unreadable: the others, in their order.
        dark: Names of segmented images that are nearly black: of 16 bits, they use no more than twelve.
    """

    num_segmented: int
    num_kept: int
    unreadable: tuple[Unreadable, ...]
    dark: tuple[str, ...]


def predict_photographs(job: Job, photographs: Sequence[Photograph], process: Process) -> Outcome:
    """Segments what is not segmented yet, each rank its share; rank 0 joins the results.

    Args:
        job: of this rank.
        photographs: all of them, the same on every rank.
        process: this rank.

    Raises:
        ValueError: the folder may not be used.
        OSError: a file cannot be written; what is done is kept.
    """
    folder = job.folder
    done = from_first(process, lambda: folder.begin(job.mode, photographs))
    try:
        folder.join()
        broken, dark = _predict_share(job, photographs, done, process)
        if not process.is_first:
            folder.close()
        unreadable = _in_order(gather_objects(broken), photographs)  # also waits for all ranks
        all_dark = _joined(gather_objects(dark))
        if process.is_first:
            segmented = [one for one in photographs if one.name not in unreadable]
            folder.finish(segmented, list(unreadable.values()), job.info)
    finally:
        folder.close()
    return Outcome(len(photographs) - len(unreadable), len(done), tuple(unreadable.values()), tuple(all_dark))


def _predict_share(
    job: Job, photographs: Sequence[Photograph], done: set[str], process: Process
) -> tuple[dict[str, Unreadable], list[str]]:
    """Of this rank, by the names of their results, the images that cannot be read; and the names of dark images."""
    share = [one for one in photographs if one.name not in done][process.rank :: process.world_size]
    kept = len(done) // process.world_size
    writer = OutputWriter(job.folder.path, job.folder.kinds, job.folder.categories)
    broken: dict[str, Unreadable] = {}
    dark: list[str] = []

    def leave_out(image: Photograph, error: BrokenImageError) -> None:
        broken[image.name] = Unreadable(image.file_name, str(error))

    def write(found: Predicted[Photograph]) -> tuple[Photograph, ItemOutput]:
        if has_twelve_bits(found.source.path, found.picture):
            dark.append(found.source.file_name)
        return found.source, writer.write(found.source, found.picture, found.prediction)

    with progress_bar("predicting", kept + len(share), kept, shown=process.is_first) as advance:
        results = overlapped(job.predictor, share, write, leave_out, job.batch_size)
        for number, (image, written) in enumerate(results, start=kept + 1):
            job.folder.note(image, written)
            advance(number + len(broken), image.path.name)
    return broken, dark


def _joined(of_ranks: Sequence[object]) -> list[str]:
    return sorted(str(name) for of_rank in of_ranks if isinstance(of_rank, list) for name in of_rank)


def _in_order(of_ranks: Sequence[object], photographs: Sequence[Photograph]) -> dict[str, Unreadable]:
    found: dict[str, Unreadable] = {}
    for of_rank in of_ranks:
        assert isinstance(of_rank, dict)
        found.update(of_rank)
    return {one.name: found[one.name] for one in photographs if one.name in found}
