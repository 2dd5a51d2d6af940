"""Prediction of a folder beside the bare network: python -m benchmarks.predict  (`make bench-predict` sets up)

Time per image of 1024×2048 pixels, of the published network for Cityscapes with random weights: all of `seamseg
predict`, from JPEG files to overlays and COCO panoptic files, beside the network alone on inputs that are in memory.
Then the memory of ten thousand images beside that of five hundred.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import torch

from benchmarks import machine
from benchmarks.data_sets import SPLIT, made_up
from benchmarks.predict_memory import memory_row
from benchmarks.random_predictor import random_predictor
from benchmarks.table import RESULTS, Row, print_rows, write_rows
from benchmarks.timing import Side, medians
from seamseg.data.images import read_image
from seamseg.predict import Predictor
from seamseg.predict.folder_run import predict_images
from seamseg.predict.images import find_input_images
from seamseg.predict.outputs import OUTPUT_KINDS, OutputKind
from seamseg.predict.pipeline import PredictionJob
from seamseg.predict.results_folder import ResultsFolder
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.distributed import Process, choose_device
from seamseg.scenes import SCENE_CATEGORIES
from seamseg.structures import PackedSequence, Size

ROUNDS, QUICK_ROUNDS = 5, 1
SIZE, QUICK_SIZE = (1024, 2048), (256, 512)
NUM_IMAGES, QUICK_IMAGES = 6, 4
MUST = 1 / 0.9  # at least 90 % of the images per second
DEFAULT: tuple[OutputKind, ...] = ("overlay", "panoptic")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--quick", action="store_true", help="one round of small images, to see that everything runs")
    parser.add_argument("--device", help="cpu, cuda or cuda:1; default: cuda where there is one")
    parser.add_argument(
        "--output", type=Path, help="JSON file (default: benchmarks/results/predict.json, none if quick)"
    )
    options = parser.parse_args(arguments)
    machine.warn_if_busy()
    threads = len(os.sched_getaffinity(0))
    rows = machine.in_fresh_process(timed_rows, threads, options.quick, options.device)
    rows.append(memory_row(options.quick))
    where = machine.describe(threads)
    versions = machine.versions("seamseg", "torch", "opencv-python-headless", "numpy")
    print_rows(where, versions, rows)
    output = options.output or (None if options.quick else RESULTS / "predict.json")
    if output is not None:
        write_rows(output, where, versions, rows)
        print(f"written to {output}")


def timed_rows(threads: int, quick: bool, device: str | None) -> list[Row]:
    """Both rows, in a process that is set up as ``seamseg predict`` is."""
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
    """The network of the config ``cityscapes_r50`` for made-up scenes, which it sees at their size."""
    random = ["body.weights=null", "body.frozen=[]", "body.norm_frozen=false"]
    return random_predictor("cityscapes_r50", size, random, device)


def rows(predictor: Predictor, images: Path, folder: Path, rounds: int) -> list[Row]:
    """The default outputs, and all of them, beside the network alone."""
    paths = sorted(images.glob("*.jpg"))
    sides = {
        "network": bare_network(predictor, paths),
        "default": whole_command(predictor, images, folder, DEFAULT),
        "all": whole_command(predictor, images, folder, OUTPUT_KINDS),
    }
    took = medians(sides, rounds, warm_up=1)
    height, width = read_image(paths[0]).shape[:2]
    what = f"{len(paths)} images of {height}×{width} on {predictor.device}"
    return [row("throughput", f"{what} to overlays and panoptic files", took["default"], took["network"], MUST),
            row("throughput-all", f"{what} to all kinds of output", took["all"], took["network"], None)]  # fmt: skip


def row(slug: str, what: str, ours_ms: float, peer_ms: float, must: float | None) -> Row:
    rates = f"{1000 / ours_ms:.2f} and {1000 / peer_ms:.2f} images/s"
    return Row(slug, f"{what}; the network alone ({rates})", ours_ms, peer_ms, "ms", must=must)


def bare_network(predictor: Predictor, paths: list[Path]) -> Side:
    """Milliseconds per image of the network, without reading, resizing, fusion and writing."""
    normalize, device = predictor.transform.normalize, predictor.device
    inputs = [normalize(predictor.prepare(read_image(path)).pixels[0].to(device)) for path in paths]

    def once() -> float:
        start = time.perf_counter()
        for one in inputs:
            predictor.network.predict(PackedSequence([one]))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 1000 * (time.perf_counter() - start) / len(inputs)

    return once


def whole_command(predictor: Predictor, images: Path, folder: Path, kinds: tuple[OutputKind, ...]) -> Side:
    """Milliseconds per image of all that ``seamseg predict`` does once the model is loaded."""

    def once() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            start = time.perf_counter()
            input_images = find_input_images(images, Path(out))
            results = ResultsFolder(Path(out), kinds, SCENE_CATEGORIES, "")
            job = PredictionJob(predictor, results, "new", {"by": "bench"})
            predict_images(job, input_images, Process(0, 1, predictor.device))
            return 1000 * (time.perf_counter() - start) / len(input_images)

    return once


if __name__ == "__main__":
    main()
