"""Scoring of pairs of panoptic PNG and JSON files, against panopticapi and hotcoco."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.table import Row
from benchmarks.timing import medians, timed
from seamseg.data.formats.coco_json import open_annotation, open_results
from seamseg.metrics.scores import Scores
from seamseg.score.files import score_files

NUM_CLASSES, NUM_STUFF = 19, 11
SLOW_ROUNDS = 3  # for panopticapi, which takes up to half a minute per round
_WARM_UP = 1
_EXACT = 1e-12
_WRONG = "the two sides of a row compute different things"


@dataclass(frozen=True)
class Work:
    """Pairs of images to score.

    Attributes:
        name: Name of the size in the slugs.
        num_pairs: Number of pairs of annotation and result.
        size: Height and width of the images.
        num_segments: Number of segments per image.
    """

    name: str
    num_pairs: int
    size: tuple[int, int]
    num_segments: int


WORKS = (
    Work("640x480", 200, (480, 640), 12),
    Work("1024x2048", 16, (1024, 2048), 60),
    Work("4032x3024", 10, (3024, 4032), 40),
)


def file_rows(rounds: int, slow_rounds: int = SLOW_ROUNDS, works: tuple[Work, ...] = WORKS) -> list[Row]:
    """Time scoring from JSON and PNG files to PQ, with a row per size and peer, and one for adding boundary PQ.

    Args:
        rounds: Number of rounds that count.
        slow_rounds: Number of rounds of panopticapi.
        works: Images to score.
    """
    rows = []
    for work in works:
        with tempfile.TemporaryDirectory(prefix="seamseg-score-") as name:
            truth, results = write_pairs(Path(name), work)
            what = f"{work.num_pairs} pairs of {work.name} from files to PQ"
            ours = _ours(truth, results)
            for peer, prepare, limits, number in (
                ("panopticapi", _panopticapi, (1 / 20, None), slow_rounds),
                ("hotcoco", _hotcoco, (1.2, 1.0), rounds),
            ):
                rows.append(
                    _row(f"files-{peer}-{work.name}", what, peer, ours, prepare, (truth, results), limits, number)
                )
            sides = {"ours": _side(_ours(truth, results, boundary=True)), "peer": _side(ours)}
            found = medians(sides, rounds, _WARM_UP)
            measure = f"{what} and boundary PQ; without the latter"
            rows.append(Row(f"files-boundary-{work.name}", measure, found["ours"], found["peer"], "ms"))
    return rows


def _row(
    slug: str,
    what: str,
    peer: str,
    ours: Callable[[], float],
    prepare: Callable[[Path, Path], Callable[[], float]],
    files: tuple[Path, Path],
    limits: tuple[float, float | None],
    rounds: int,
) -> Row:
    try:
        theirs = prepare(*files)
    except ImportError as error:
        return Row(slug, f"not measured: {peer} is not installed ({error})", None, None, "ms", *limits)
    assert abs(ours() - theirs()) < _EXACT, _WRONG
    found = medians({"ours": _side(ours), "peer": _side(theirs)}, rounds, _WARM_UP if rounds > SLOW_ROUNDS else 0)
    return Row(slug, f"{what}; {peer}, {rounds} rounds", found["ours"], found["peer"], "ms", *limits)


def _side(work: Callable[[], float]) -> Callable[[], float]:
    return timed(lambda: None, lambda _: work())


def _ours(truth: Path, results: Path, boundary: bool = False) -> Callable[[], float]:
    """Return a function that computes PQ as the peers do, and PQ† and mIoU too."""

    def work() -> float:
        annotation = open_annotation(truth, None)
        scores: Scores = score_files(annotation, open_results(results, None, annotation.categories), boundary).scores
        return scores.all.pq

    return work


def _panopticapi(truth: Path, results: Path) -> Callable[[], float]:
    evaluation = importlib.import_module("panopticapi.evaluation")

    def work() -> float:
        with _silent_processes():
            return float(evaluation.pq_compute(str(truth), str(results))["All"]["pq"])

    return work


@contextlib.contextmanager
def _silent_processes() -> Iterator[None]:
    """Print nothing, not even from processes that are started in the context."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nowhere, contextlib.redirect_stdout(io.StringIO()):
            os.dup2(nowhere.fileno(), 1)
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _hotcoco(truth: Path, results: Path) -> Callable[[], float]:
    panoptic = importlib.import_module("hotcoco.panoptic")

    def work() -> float:
        evaluation = panoptic.PanopticEval(str(truth), str(results))
        evaluation.evaluate()
        return float(evaluation.results()["All"]["pq"])

    return work


def write_pairs(folder: Path, work: Work, seed: int = 0) -> tuple[Path, Path]:
    """Write realistic annotation and results.

    PNGs have Pillow's default settings. Ids are large in the annotation and 1, 2, … in the results, which have shifted
    borders and some wrong classes.

    Args:
        folder: Folder to write to.
        work: Images to write.
        seed: Seed of the random generator.

    Returns:
        JSON files of annotation and results.
    """
    generator = np.random.default_rng(seed)
    sides: dict[str, list[dict[str, Any]]] = {"truth": [], "results": []}
    for side in sides:
        (folder / side).mkdir()
    for image in range(work.num_pairs):
        ids = cells(work.size, work.num_segments, generator)
        large = generator.choice(2**24 - 1, work.num_segments + 1, replace=False) + 1
        classes = generator.integers(0, NUM_CLASSES, work.num_segments + 1)
        guesses = np.where(generator.random(len(classes)) < 0.2, generator.permutation(classes), classes)
        truth, shift = large[ids], generator.integers(-6, 7, 2)
        truth[: work.size[0] // 50] = 0
        for side, found, numbers, labels in (
            ("truth", truth, large, classes),
            ("results", np.roll(ids, shift, (0, 1)), np.arange(len(classes)), guesses),
        ):
            sides[side].append(_write(folder / side, image, found, numbers, labels))
    categories = [{"id": c, "name": str(c), "isthing": int(c >= NUM_STUFF)} for c in range(NUM_CLASSES)]
    images = [
        {"id": i, "file_name": f"{i}.jpg", "height": work.size[0], "width": work.size[1]} for i in range(image + 1)
    ]
    for side, entries in sides.items():
        content = {"images": images, "annotations": entries, "categories": categories}
        (folder / f"{side}.json").write_text(json.dumps(content))
    return folder / "truth.json", folder / "results.json"


def cells(size: tuple[int, int], num: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return an H×W map of ``num`` regions 1, 2, … with ragged borders."""
    height, width = size
    seeds = np.ones(size, np.uint8)
    seeds[generator.integers(0, height, num), generator.integers(0, width, num)] = 0
    labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)[1]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for grain, strength in ((64, 14.0), (12, 2.5)):
        for axis in (rows, columns):
            coarse = generator.normal(size=(height // grain + 2, width // grain + 2)).astype(np.float32)
            axis += strength * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    warped = cv2.remap(labels.astype(np.float32), columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return warped.astype(np.int64)


def _write(
    folder: Path, image: int, ids: NDArray[np.int64], numbers: NDArray[np.int64], labels: NDArray[np.int64]
) -> dict[str, Any]:
    colors = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
    Image.fromarray(colors).save(folder / f"{image}.png")
    class_of = dict(zip(numbers.tolist(), labels.tolist(), strict=True))
    found, areas = np.unique(ids[ids > 0], return_counts=True)
    segments = [
        {"id": segment, "category_id": class_of[segment], "area": area, "iscrowd": 0}
        for segment, area in zip(found.tolist(), areas.tolist(), strict=True)
    ]
    return {"image_id": image, "file_name": f"{image}.png", "segments_info": segments}
