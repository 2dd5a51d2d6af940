"""Everything that reads a damaged file, and the fault of a reader that neither reads nor properly rejects it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from fuzz.cases import Case
from fuzz.sanitized import SanitizedReader
from fuzz.sets import Sets, replaced
from seamseg.check.check import check_data_set
from seamseg.convert.cityscapes import cityscapes_panoptic_jobs
from seamseg.convert.detection import DetectionSource, detection_job
from seamseg.convert.job import Job, run_job
from seamseg.convert.panoptic_target import PanopticTarget
from seamseg.data.dataset import EvaluationDataset, TrainDataset
from seamseg.data.formats.annotated_dataset import AnnotatedDataset
from seamseg.data.formats.coco_json import open_annotation, open_results
from seamseg.data.formats.open import open_data_set
from seamseg.data.image_size import image_size, png_size, size_beside
from seamseg.data.images import REDUCED, read_image, read_reduced_jpeg
from seamseg.data.png import read_label_map, read_panoptic_png
from seamseg.data.samplers import TrainBatches
from seamseg.data.transforms import InputTransform, TrainTransform
from seamseg.errors import SeamsegError
from seamseg.ops.id_maps import read_id_png
from seamseg.score.files import score_files

LONGEST_SENTENCE = 1000
Reader = tuple[str, Callable[[], object]]
"""Name of the reader and function that reads the file."""


def faults_of(case: Case, sets: Sets, sanitized: SanitizedReader | None) -> list[str]:
    """Return the faults in how a case is read; usually none."""
    if case.kind == "json":
        path, readers = _readers_of_json(case, sets)
    else:
        path = sets.coco.image_folder / "000.png" if case.kind == "image" else sets.coco.png_folder / "000.png"
        readers = _readers_of_image(path, sets) if case.kind == "image" else _readers_of_png(path, sets, sanitized)
    with replaced(path, case.data):
        faults = [_fault(name, read, sets.folder) for name, read in readers]
    return [fault for fault in faults if fault]


def _fault(name: str, read: Callable[[], object], folder: Path) -> str:
    """Return the fault of a reader; empty if it read the file or rejected it in one sentence that names a file."""
    try:
        read()
    except SeamsegError as error:
        text = str(error)
        if str(folder) in text and "\n" not in text and len(text) <= LONGEST_SENTENCE:
            return ""
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{name} rejects it with {type(error).__name__}, {text[:300]!r} ({where.filename}:{where.lineno})"
    except Exception:
        return f"{name} fails: {traceback.format_exc(limit=-6)}"
    return ""


def _readers_of_image(path: Path, sets: Sets) -> Iterator[Reader]:
    yield "read_image", lambda: read_image(path)
    yield "read_image upright", lambda: read_image(path, "upright")
    yield "image_size", lambda: image_size(path)
    yield "size_beside", lambda: size_beside(path, (56, 40))
    for factor in REDUCED:
        yield f"read_reduced_jpeg {factor}", lambda factor=factor: read_reduced_jpeg(path, image_size(path), factor)
    yield from _readers_of_set(sets.coco.folder)


def _readers_of_png(path: Path, sets: Sets, sanitized: SanitizedReader | None) -> Iterator[Reader]:
    yield "read_panoptic_png", lambda: read_panoptic_png(path)
    yield "read_label_map", lambda: read_label_map(path)
    yield "png_size", lambda: png_size(path)
    yield "native reader and OpenCV", lambda: _compare_with_opencv(path)
    if sanitized is not None:
        yield "sanitized reader", lambda: _compare_sanitized(path, sanitized)
    yield from _readers_of_set(sets.coco.folder)
    yield "score", lambda: _score(sets.coco.json_file, sets.coco.json_file)


def _readers_of_json(case: Case, sets: Sets) -> tuple[Path, Iterator[Reader]]:
    coco = sets.coco.json_file
    if case.name == "coco":
        return coco, _with_reader(_readers_of_set(sets.coco.folder), ("score", lambda: _score(coco, coco)))
    if case.name == "results":
        results = sets.folder / "results.json"
        results.touch()
        return results, iter([("score", lambda: _score(coco, results, sets.coco.png_folder))])
    if case.name in ("vistas", "vistas-labels"):
        path = sets.vistas_json if case.name == "vistas" else sets.vistas_labels
        return path, _readers_of_set(sets.folder / "vistas")
    if case.name == "metadata":
        return sets.metadata, _readers_of_set(sets.folder / "legacy")
    out = sets.folder / f"out-{case.number}"
    job: Callable[[], list[Any]]
    if case.name == "detection":
        source = DetectionSource(sets.detection_json, sets.folder / "detection" / "images")
        job = lambda: [detection_job(source, PanopticTarget(out, "train"))]  # noqa: E731
    else:
        job = lambda: cityscapes_panoptic_jobs(sets.folder / "cityscapes", out)  # noqa: E731
    path = sets.detection_json if case.name == "detection" else sets.cityscapes_json
    convert: Reader = ("convert", lambda: _convert(job, out))
    if case.name == "detection":
        return path, _with_reader(_readers_of_set(sets.folder / "detection"), convert)
    return path, iter([convert])


def _with_reader(readers: Iterator[Reader], last: Reader) -> Iterator[Reader]:
    yield from readers
    yield last


def _readers_of_set(root: Path) -> Iterator[Reader]:
    """Yield readers that open the data set as training, evaluation and `seamseg check` do."""
    opened: list[AnnotatedDataset] = []
    yield "open", lambda: opened.append(open_data_set(root, "train"))
    for source in opened:
        yield "sampler", lambda source=source: TrainBatches(source.sizes, 1, seed=0).batches(0)
        train = TrainDataset(source, TrainTransform(32, 64, (0.5, 1.5), True, (24, 24)), 0)
        whole = EvaluationDataset(source, InputTransform(32, 64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
        for key in [key for batch in TrainBatches(source.sizes, 1, seed=0).batches(0) for key in batch][:2]:
            yield "training sample", lambda train=train, key=key: train[key]
            yield "evaluation sample", lambda whole=whole, key=key: whole[key]
    yield "check", lambda: check_data_set(root, num_workers=1)


def _compare_with_opencv(path: Path) -> None:
    """Check that natively read ids equal those read by OpenCV, if OpenCV reads them."""
    data = path.read_bytes()
    try:
        ids = read_id_png(data).numpy()
    except ValueError:
        return
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is not None:
        other = pixels.astype(np.int64) @ (65536, 256, 1)
        assert np.array_equal(ids, other), "the ids differ from those read by OpenCV"


def _compare_sanitized(path: Path, sanitized: SanitizedReader) -> None:
    answer = sanitized.read(path)
    try:
        ids = read_id_png(path.read_bytes())
    except ValueError:
        assert answer.startswith("refused"), f"the native library rejects it, the sanitized reader returns {answer}"
        return
    expected = f"{ids.shape[0]} {ids.shape[1]} {int(ids.sum(dtype=torch.int64))}"
    assert answer == expected, f"the native library returns {expected}, the sanitized reader {answer}"


def _score(truth: Path, results: Path, folder: Path | None = None) -> None:
    true = open_annotation(truth, None)
    score_files(true, open_results(results, folder, true.categories), num_threads=1)


def _convert(jobs: Callable[[], list[Job]], out: Path) -> None:
    for job in jobs():
        run_job(job, 1)
        assert job.result.exists(), f"no result in {out}"
