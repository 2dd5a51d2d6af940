"""Prediction of a folder against only the network: python -m benchmarks.predict  (`make bench-predict`).

Time per image of 1024×2048 pixels with the published network for Cityscapes and random weights: all of `seamseg
predict`, from JPEG files to overlays and COCO panoptic files, against only the network on inputs in memory. Then the
memory of ten thousand images against that of five hundred.
"""

from __future__ import annotations

import os
import tempfile
import time
from copy import copy
from dataclasses import replace
from pathlib import Path

import cv2
import torch

from benchmarks import machine
from benchmarks.command import benchmark_parser, publish
from benchmarks.data_sets import SPLIT, made_up
from benchmarks.predict_memory import ALL_KINDS, memory_row
from benchmarks.random_predictor import random_predictor
from benchmarks.table import Row
from benchmarks.timing import Side, medians
from seamseg.algos.fusion import PanopticFusion
from seamseg.data.images import read_image
from seamseg.predict import Predictor
from seamseg.predict.folder_run import predict_images
from seamseg.predict.images import find_input_images
from seamseg.predict.outputs import OutputKind
from seamseg.predict.pipeline import PredictionJob
from seamseg.predict.results_folder import ResultsFolder
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.distributed import Process, choose_device
from seamseg.runtime.precision import Precision
from seamseg.scenes import SCENE_CATEGORIES
from seamseg.structures import PackedSequence, Size

ROUNDS, QUICK_ROUNDS = 5, 1
SIZE, QUICK_SIZE = (1024, 2048), (64, 128)
NUM_IMAGES, QUICK_IMAGES = 6, 2
MUST = 1 / 0.9  # at least 90 % of the images per second
DEFAULT: tuple[OutputKind, ...] = ("overlay", "panoptic")


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = benchmark_parser("predict", __doc__, "one round of small images")
    parser.add_argument("--device", help="cpu, cuda or cuda:1; default: cuda where there is one")
    options = parser.parse_args(arguments)
    machine.warn_if_busy()
    threads = len(os.sched_getaffinity(0))
    in_process = machine.new_process(options.quick)
    rows = in_process(timed_rows, threads, options.quick, options.device)
    rows.append(memory_row(options.quick))
    publish("predict", options, threads, ["seamseg", "torch", "opencv-python-headless", "numpy"], rows)


def timed_rows(threads: int, quick: bool, device: str | None) -> list[Row]:
    """Measure all rows of time, with the settings of the process of ``seamseg predict``."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    size, number = (QUICK_SIZE, QUICK_IMAGES) if quick else (SIZE, NUM_IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        made_up(Path(folder) / "scenes", size, num_scenes=number, enlarge=1)
        images = Path(folder) / "scenes" / "images" / SPLIT
        predictor = street_predictor(size, choose_device(device))
        return rows(predictor, images, Path(folder), QUICK_ROUNDS if quick else ROUNDS)


def street_predictor(size: Size, device: torch.device) -> Predictor:
    """Return a predictor of the config ``cityscapes_r50`` for synthetic scenes, which are not resized."""
    random = ["body.weights=null", "body.frozen=[]", "body.norm_frozen=false"]
    return random_predictor("cityscapes_r50", size, random, device)


def rows(predictor: Predictor, images: Path, folder: Path, rounds: int) -> list[Row]:
    """Time the default outputs, and all of them, against only the network."""
    paths = sorted(images.glob("*.jpg"))
    sides = {
        "network": bare_network(predictor, paths),
        "default": whole_command(predictor, images, folder, DEFAULT),
        "all": whole_command(predictor, images, folder, ALL_KINDS),
    }
    took = medians(sides, rounds, warm_up=1)
    height, width = read_image(paths[0]).shape[:2]
    what = f"{len(paths)} images of {height}×{width} on {predictor.device}"
    return [_row("throughput", f"{what} to overlays and panoptic files", took["default"], took["network"], MUST),
            _row("throughput-all", f"{what} to all kinds of output", took["all"], took["network"], None)]  # fmt: skip


def _row(slug: str, what: str, ours_ms: float, peer_ms: float, must: float | None) -> Row:
    rates = f"{1000 / ours_ms:.2f} and {1000 / peer_ms:.2f} images/s"
    return Row(slug, f"{what}; only the network ({rates})", ours_ms, peer_ms, "ms", must=must)


def bare_network(predictor: Predictor, paths: list[Path]) -> Side:
    """Return a side that gives milliseconds per image of the network, without reading, resizing, fusion and writing."""
    normalize, device = predictor.transform.normalize, predictor.device
    inputs = [normalize(predictor.prepare(read_image(path)).pixels[0].to(device)) for path in paths]

    def once() -> float:
        start = time.perf_counter()
        for one in inputs:
            with Precision(predictor.precision, predictor.device).autocast():
                predictor.network.predict(PackedSequence([one]))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 1000 * (time.perf_counter() - start) / len(inputs)

    return once


def whole_command(predictor: Predictor, images: Path, folder: Path, kinds: tuple[OutputKind, ...]) -> Side:
    """Return a side that gives milliseconds per image of ``seamseg predict`` after the model is loaded."""
    predictor = copy(predictor)
    assert isinstance(predictor.fusion, PanopticFusion)
    predictor.fusion = replace(predictor.fusion, confidence="confidence" in kinds)

    def once() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            start = time.perf_counter()
            input_images = find_input_images(images, Path(out))
            results = ResultsFolder(Path(out), kinds, SCENE_CATEGORIES, "")
            job = PredictionJob(predictor, results, "new", {"image_folder": str(images)})
            predict_images(job, input_images, Process(0, 1, predictor.device))
            return 1000 * (time.perf_counter() - start) / len(input_images)

    return once


if __name__ == "__main__":
    main()
