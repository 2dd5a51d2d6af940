"""Training samples against a pipeline of Pillow and NumPy: python -m benchmarks.data  (`make bench-data`).

Time of one core for decoding, transform and targets of one image: images and segment PNGs of COCO, if its folder is
given, and of synthetic scenes in the sizes of Cityscapes and of Mapillary Vistas.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import torch

from benchmarks import machine
from benchmarks.command import benchmark_parser, publish
from benchmarks.data_pipelines import Pipeline, check_same, normalized, ours, plain
from benchmarks.data_sets import SPLIT, made_up
from benchmarks.table import Row
from benchmarks.timing import Side, medians
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.transforms import TrainTransform
from seamseg.runtime.allocator import SWITCH, keep_freed_memory

VARIABLE = "SEAMSEG_COCO"
ROUNDS, QUICK_ROUNDS = 21, 2
COCO_IMAGES = 16
MUST = 0.4  # 2.5 times as many images per second
COCO_SIDES = (800, 1333)
DEFAULT_SIDES = (1024, 2048)
VISTAS_SIDES = (1920, 2304)  # of the published config; too large for decoding at reduced size
SCALE = (0.8, 1.0)


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    parser = benchmark_parser("data", __doc__, "two rounds of small scenes")
    parser.add_argument(
        "--coco",
        type=Path,
        default=os.environ.get(VARIABLE),
        help=f"folder of COCO panoptic, or of part of it, with a split named train (default: ${VARIABLE})",
    )
    options = parser.parse_args(arguments)
    if options.coco is not None and not options.coco.is_dir():
        parser.error(f"the folder {options.coco} does not exist")
    machine.warn_if_busy()
    rows = machine.new_process(options.quick)(timed_rows, options.coco, options.quick)
    publish("data", options, 1, ["seamseg", "torch", "opencv-python-headless", "pillow", "numpy"], rows)


def timed_rows(coco: Path | None, quick: bool) -> list[Row]:
    """Measure all rows with one thread, and with freed memory kept for reuse as in ``seamseg train``."""
    if not keep_freed_memory():
        sys.exit(f"the allocator cannot be told to keep freed memory: needs Linux with glibc, and {SWITCH} not 0")
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    rounds, part = (QUICK_ROUNDS, 4) if quick else (ROUNDS, 1)
    rows = coco_rows(coco, rounds, 2 if quick else COCO_IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        source = made_up(Path(folder), (1024 // part, 2048 // part), num_scenes=4, enlarge=1)
        rows += race("loader-1024x2048", source, _sides(DEFAULT_SIDES, part), rounds, MUST)
    with tempfile.TemporaryDirectory() as folder:
        source = made_up(Path(folder), (3000 // part, 4000 // part), num_scenes=3, enlarge=2)
        rows += race("loader-3000x4000", source, _sides(DEFAULT_SIDES, part), rounds, MUST)
        rows += race("loader-3000x4000-vistas", source, _sides(VISTAS_SIDES, part), rounds, None)
    return rows


def _sides(sides: tuple[int, int], part: int) -> tuple[int, int]:
    return sides[0] // part, sides[1] // part


def coco_rows(folder: Path | None, rounds: int, num_images: int) -> list[Row]:
    """Those of real images, or why there are none."""
    slug = "loader-coco"
    if folder is None:
        why = f"not measured: name a folder of COCO panoptic with --coco or in the variable {VARIABLE}"
        return [Row(slug, why, None, None, "ms", must=MUST), Row(f"{slug}-normalized", why, None, None, "ms")]
    return race(slug, CocoPanoptic(folder, SPLIT, num_images), COCO_SIDES, rounds, MUST)


def race(slug: str, source: CocoPanoptic, sides: tuple[int, int], rounds: int, must: float | None) -> list[Row]:
    """Measure two rows: the sample of the loader, and the sample with the normalization of the device."""
    transform = TrainTransform(*sides, SCALE, random_flip=True)
    ours_, plain_ = ours(source, transform), plain(source, transform)
    for index in range(len(source)):
        check_same(ours_(index), plain_(index))
    pipelines = {
        "ours": ours_,
        "plain": plain_,
        "ours, normalized": normalized(ours_),
        "plain, normalized": normalized(plain_),
    }
    times = medians({name: per_image(pipeline, len(source)) for name, pipeline in pipelines.items()}, rounds, warm_up=1)
    what = f"{len(source)} images to {sides[0]}/{sides[1]}: decode, resize, mirror, ids, boxes"
    return [
        _row(slug, what, times["ours"], times["plain"], must),
        _row(f"{slug}-normalized", f"{what}, normalize", times["ours, normalized"], times["plain, normalized"], None),
    ]


def _row(slug: str, what: str, ours_ms: float, plain_ms: float, must: float | None) -> Row:
    rates = f"{1000 / ours_ms:.1f} and {1000 / plain_ms:.1f} images/s per core"
    return Row(slug, f"{what}; Pillow, NumPy, ToTensor ({rates})", ours_ms, plain_ms, "ms", must=must)


def per_image(pipeline: Pipeline, num_images: int) -> Side:
    """Return a side that gives the CPU time per image in milliseconds, without waiting."""
    clock: Callable[[], float] = time.process_time

    def once() -> float:
        start = clock()
        for index in range(num_images):
            pipeline(index)
        return 1000 * (clock() - start) / num_images

    return once


if __name__ == "__main__":
    main()
