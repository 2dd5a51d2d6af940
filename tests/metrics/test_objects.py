"""Figures of objects: against the summary that pycocotools prints, and hand-drawn images."""

from __future__ import annotations

import contextlib
import io
import json
import math
from dataclasses import asdict, astuple, replace
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from seamseg.errors import DataError
from seamseg.metrics.average_precision import AveragePrecision
from seamseg.metrics.coco_evaluation import IOU_TYPES, coco_tables
from seamseg.metrics.objects import ObjectEvaluator, image_f1
from seamseg.metrics.run_length import encode_patch
from seamseg.structures import ImageInstances, Instance

SIZE = (240, 320)
NAMES = ("car", "person", "dog")


def instance(box: tuple[int, int, int, int], category: int = 0, score: float = 1.0, crowd: bool = False) -> Instance:
    """Return an object that fills its box, except for the upper left quarter."""
    y0, x0, y1, x1 = box
    patch = np.ones((y1 - y0, x1 - x0), np.bool_)
    patch[: len(patch) // 2, : patch.shape[1] // 2] = False
    edges = (float(y0), float(x0), float(y1), float(x1))
    return Instance(category, edges, encode_patch(patch, y0, x0, SIZE), score, crowd)


def random_images(num_images: int = 8) -> list[ImageInstances]:
    """Return images with true objects of all sizes, crowd, and detections near them and elsewhere."""
    rng = np.random.default_rng(0)

    def box(side: int) -> tuple[int, int, int, int]:
        y, x = int(rng.integers(0, SIZE[0] - side)), int(rng.integers(0, SIZE[1] - side))
        return y, x, y + side, x + int(rng.integers(side // 2, side + 1))

    def moved(one: Instance) -> Instance:
        y0, x0, y1, x1 = (int(edge) for edge in one.box)
        step = int(rng.integers(0, max(2, (y1 - y0) // 4)))
        y0, x0 = min(y0 + step, y1 - 2), min(x0 + step, x1 - 2)
        return instance((y0, x0, y1, x1), one.category, float(rng.uniform(0.05, 1)))

    images = []
    for number in range(num_images):
        sides = rng.choice([12, 20, 50, 80, 120, 200], 6)
        true = [instance(box(int(side)), int(rng.integers(2)), crowd=place == 5) for place, side in enumerate(sides)]
        wrong = [instance(box(40), int(rng.integers(3)), float(rng.uniform(0.05, 1))) for _ in range(4)]
        images.append(ImageInstances(number, SIZE, true, [moved(one) for one in true for _ in range(2)] + wrong))
    return images


def summary(images: list[ImageInstances], kind: str) -> list[float]:
    """Return what pycocotools' own summary prints for the results as JSON files."""
    boxes: dict[str, list[dict[str, Any]]] = {"true": [], "detected": []}
    for image in images:
        for side, found in boxes.items():
            for one in getattr(image, side):
                y0, x0, y1, x1 = one.box
                entry = {
                    "image_id": image.image_id,
                    "category_id": one.category,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": one.mask.to_json(),
                    "area": one.mask.area(),
                    "iscrowd": int(one.crowd),
                    "score": one.score,
                    "id": len(found) + 1,
                }
                found.append(entry)
    truth = COCO()
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    images_listed = [{"id": image.image_id, "height": SIZE[0], "width": SIZE[1]} for image in images]
    truth.dataset = {"images": images_listed, "categories": categories, "annotations": boxes["true"]}
    unused = {"segmentation", "area", "iscrowd", "id"} if kind == "bbox" else {"bbox", "area", "iscrowd", "id"}
    results = [{key: value for key, value in one.items() if key not in unused} for one in boxes["detected"]]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(json.loads(json.dumps(results))), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [math.nan if value == -1 else value for value in evaluation.stats.tolist()]


def scored(images: list[ImageInstances], has_masks: bool = True) -> Any:
    evaluator = ObjectEvaluator(len(NAMES), has_masks)
    for image in images:
        evaluator.update(image)
    return evaluator.compute(NAMES)


def test_figures_equal_the_summary_of_pycocotools() -> None:
    images = random_images()
    scores = scored(images)
    for part, kind in ((scores.box, "bbox"), (scores.mask, "segm")):
        assert astuple(part) == pytest.approx(summary(images, kind), nan_ok=True, abs=1e-12)
        assert 0.05 < part.ap < part.ap50 < 1
        assert len(set(astuple(part))) == 12
    assert scores.per_class["car"].box_ap != scores.per_class["person"].box_ap
    mean = (scores.per_class["car"].mask_ap + scores.per_class["person"].mask_ap) / 2
    assert scores.mask.ap == pytest.approx(mean)
    assert math.isnan(scores.per_class["dog"].box_ap)
    counts = [scores.per_class[name].num_objects for name in NAMES]
    assert (sum(counts), counts[2]) == (8 * 5, 0)


def test_both_libraries_give_the_same_tables() -> None:
    pytest.importorskip("hotcoco", reason="hotcoco is not installed")
    precision = AveragePrecision(len(NAMES), 0)
    precision.merge(random_images())
    for kind in IOU_TYPES:
        one, other = (coco_tables(precision.sides(kind), kind, library) for library in ("pycocotools", "hotcoco"))
        np.testing.assert_allclose(one.precision, other.precision, atol=1e-12)
        np.testing.assert_allclose(one.recall, other.recall, atol=1e-12)


def test_merged_evaluators_equal_one_evaluator_and_refuse_an_image_twice() -> None:
    images = random_images()
    parts = [ObjectEvaluator(len(NAMES), True) for _ in range(3)]
    for number, image in enumerate(images):
        parts[number % 2].update(image)
    parts[2].merge(part.state for part in parts[1::-1])
    assert parts[2].compute(NAMES).to_json() == scored(images).to_json()
    with pytest.raises(DataError, match="image 3 was scored twice"):
        parts[2].update(images[3])


def test_scores_without_masks_or_objects_are_null_in_json() -> None:
    images = [replace(image, detected=[replace(one, mask=None) for one in image.detected]) for image in random_images()]
    scores = scored(images, has_masks=False)
    assert scores.mask is None
    assert scores.quality == scores.box.ap > 0
    assert asdict(scores.box) == asdict(scored(random_images()).box)
    empty = json.loads(scored([ImageInstances("a", SIZE, [], [])]).to_json())
    assert set(empty["box"].values()) == set(empty["mask"].values()) == {None}
    assert empty["images"] == [{"image_id": "a", "f1": None}]


CAR, OTHER = (10, 10, 110, 110), (10, 150, 110, 250)


@pytest.mark.parametrize(
    ("true", "detected", "expected"),
    [
        ([], [], math.nan),
        ([instance(CAR)], [], 0.0),
        ([], [instance(CAR, score=0.9)], 0.0),
        ([instance(CAR)], [instance(CAR, score=0.9)], 1.0),
        ([instance(CAR)], [instance(CAR, score=0.4)], 0.0),  # not likely enough
        ([instance(CAR)], [instance(CAR, 1, 0.9)], 0.0),  # another class
        ([instance(CAR), instance(OTHER)], [instance(CAR, score=0.9)], 2 / 3),
        ([instance(CAR)], [instance(CAR, score=0.9), instance((11, 11, 111, 111), score=0.8)], 2 / 3),  # a duplicate
        ([instance(CAR, crowd=True)], [instance((20, 20, 60, 60), score=0.9)], math.nan),
        ([instance(CAR, crowd=True)], [instance((20, 20, 60, 60), 1, 0.9)], 0.0),  # crowd of another class
    ],
)
def test_image_f1_of_drawn_boxes(true: list[Instance], detected: list[Instance], expected: float) -> None:
    boxes = [[replace(one, mask=None) for one in side] for side in (true, detected)]
    assert image_f1(ImageInstances(1, SIZE, *boxes), False, 0.5) == pytest.approx(expected, nan_ok=True)


def test_image_f1_with_masks_compares_pixels() -> None:
    full = encode_patch(np.ones((100, 100), np.bool_), 10, 10, SIZE)
    thin = encode_patch(np.ones((40, 100), np.bool_), 10, 10, SIZE)
    true, detected = (Instance(0, (10.0, 10.0, 110.0, 110.0), mask, 0.9) for mask in (full, thin))
    image = ImageInstances(1, SIZE, [true], [detected])
    assert (image_f1(image, False, 0.5), image_f1(image, True, 0.5)) == (1.0, 0.0)
