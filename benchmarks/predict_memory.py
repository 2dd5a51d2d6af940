"""Memory of `seamseg predict` on ten thousand small images, against five hundred of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import torch

from benchmarks import machine
from benchmarks.random_predictor import random_predictor
from benchmarks.table import Row
from seamseg.builders import PredictionOptions
from seamseg.predict import Predictor
from seamseg.predict.folder_run import predict_images
from seamseg.predict.images import find_input_images
from seamseg.predict.outputs import OUTPUT_KINDS
from seamseg.predict.pipeline import PredictionJob
from seamseg.predict.results_folder import ResultsFolder
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.distributed import Process
from seamseg.scenes import SCENE_CATEGORIES, write_scenes

MANY, FEW = 10_000, 500
QUICK_MANY, QUICK_FEW = 10, 5
NUM_SCENES = 20
SIZE = (64, 128)
MUST = 1.05
ALL_KINDS = tuple(kind for kind in OUTPUT_KINDS if kind != "step")
"""All kinds of output but the one for videos."""


def memory_row(quick: bool) -> Row:
    """Measure the peak memory of the process of each run, including model and libraries."""
    many, few = (QUICK_MANY, QUICK_FEW) if quick else (MANY, FEW)
    in_process = machine.new_process(quick)
    with tempfile.TemporaryDirectory() as folder:
        write_scenes(Path(folder), NUM_SCENES, 1, SIZE, seed=0)
        scenes = sorted((Path(folder) / "images" / "train").glob("*.jpg"))
        ours, peer = (in_process(peak_megabytes, scenes, number) for number in (many, few))
    measure = f"memory of a run of {many} images of {SIZE[0]}×{SIZE[1]} to all kinds of output; of {few}"
    return Row("memory", measure, ours, peer, "MB", must=None if quick else MUST)


def peak_megabytes(scenes: list[Path], number: int) -> float:
    """Segment ``number`` images, which repeat the scenes, and return the peak memory of this process in MB."""
    keep_freed_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        images, out = Path(folder) / "images", Path(folder) / "out"
        images.mkdir()
        for copy in range(number):
            (images / f"{copy:05}.jpg").symlink_to(scenes[copy % len(scenes)])
        predictor = small_predictor()
        results = ResultsFolder(out, ALL_KINDS, SCENE_CATEGORIES, "")
        job = PredictionJob(predictor, results, "new", {"image_folder": str(images)})
        outcome = predict_images(job, find_input_images(images, out), Process(0, 1, predictor.device))
    assert outcome.num_done == number, outcome
    return high_water_mark()


def high_water_mark() -> float:
    """Return the peak memory of this process in MB; ``getrusage`` would include that of its parent."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def small_predictor() -> Predictor:
    """Return a quick predictor on the CPU, with the config for synthetic scenes, random weights and few regions."""
    few = ["rpn.inference.before_nms=100", "rpn.inference.after_nms=10", "roi.max_predictions=5"]
    options = PredictionOptions(confidence=True)
    return random_predictor("scenes_r18", SIZE, few, torch.device("cpu"), options=options)
