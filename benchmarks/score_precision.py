"""Average precision of boxes and masks by hotcoco, which the extra `fast` installs, against pycocotools."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np

from benchmarks.table import Row
from benchmarks.timing import medians, timed
from seamseg.metrics.coco_evaluation import CocoSides, IouType, Library, average_precision
from seamseg.metrics.run_length import encode_patch

SIZE, NUM_CLASSES = (480, 640), 8
_WARM_UP = 1
_EXACT = 1e-12


def precision_rows(rounds: int, num_images: int = 500, per_image: int = 20) -> list[Row]:
    """Time average precision of boxes and of masks.

    Args:
        rounds: Number of rounds that count.
        num_images: Number of images.
        per_image: Number of objects per image, all ellipses, and of detections near them.
    """
    what = f"AP of {num_images} images with {per_image} objects and detections each, by hotcoco; pycocotools"
    if importlib.util.find_spec("hotcoco") is None:
        return [
            Row(f"ap-{kind}", "not measured: hotcoco is not installed", None, None, "ms") for kind in ("bbox", "segm")
        ]
    sides, rows = _sides(num_images, per_image), list[Row]()
    kinds: tuple[IouType, ...] = ("bbox", "segm")
    for kind in kinds:
        difference = average_precision(sides, kind, "hotcoco") - average_precision(sides, kind, "pycocotools")
        assert abs(difference) < _EXACT, "the two sides of a row compute different things"
        found = medians(
            {"ours": _side(sides, kind, "hotcoco"), "peer": _side(sides, kind, "pycocotools")}, rounds, _WARM_UP
        )
        rows.append(Row(f"ap-{kind}", what, found["ours"], found["peer"], "ms"))
    return rows


def _side(sides: CocoSides, kind: IouType, library: Library) -> Callable[[], float]:
    return timed(lambda: None, lambda _: average_precision(sides, kind, library))


def _sides(num_images: int, per_image: int) -> CocoSides:
    rng = np.random.default_rng(0)
    images = [{"id": image, "height": SIZE[0], "width": SIZE[1]} for image in range(num_images)]
    sides = CocoSides(images, [{"id": number} for number in range(NUM_CLASSES)], [], [])
    for image in range(num_images):
        for _ in range(per_image):
            extent, place, category = rng.integers(8, 160, 2), rng.random(2), int(rng.integers(NUM_CLASSES))
            for side in (sides.true, sides.detected):
                noise = rng.integers(-4, 5, 4) * (side is sides.detected)
                height, width = extent + noise[:2]
                top, left = np.clip(place * (np.array(SIZE) - extent) + noise[2:], 0, SIZE - extent - 4).astype(int)
                rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
                mask = encode_patch(rows**2 + columns**2 < 1, int(top), int(left), SIZE)
                box = [float(left), float(top), float(width), float(height)]
                side.append(
                    {"id": len(side) + 1, "image_id": image, "category_id": category, "bbox": box, "iscrowd": 0}
                    | {"segmentation": mask.to_coco(), "area": mask.area(), "score": float(rng.random())}
                )
    return sides
