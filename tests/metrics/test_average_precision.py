"""Average precision: cases computed by hand, and comparison with pycocotools and hotcoco on files."""

from __future__ import annotations

import contextlib
import io
import json
import math
import pickle
from pathlib import Path
from typing import Any

import hotcoco
import numpy as np
import pytest
import torch
from oracles.paste import paste_values
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from seamseg.metrics.average_precision import AveragePrecision
from seamseg.structures import Detections, PanopticSegmentation

NUM_STUFF, NUM_CLASSES = 1, 4
SIZE = (40, 60)


def annotation(
    rectangles: list[list[int]], classes: list[int] | None = None, crowd: list[bool] | None = None
) -> PanopticSegmentation:
    """Return things that fill rectangles (y0, x0, y1, x1), on stuff."""
    ids = torch.ones(SIZE, dtype=torch.int64)
    for segment, (y0, x0, y1, x1) in enumerate(rectangles, start=2):
        ids[y0:y1, x0:x1] = segment
    labels = [255, 0, *(NUM_STUFF + c for c in classes or [0] * len(rectangles))]
    return PanopticSegmentation(
        ids, torch.tensor(labels), torch.tensor([False, False, *(crowd or [False] * len(rectangles))])
    )


def found(boxes: list[list[float]], scores: list[float], classes: list[int] | None = None) -> Detections:
    """Return detections that fill their boxes."""
    return Detections(
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(classes or [0] * len(boxes), dtype=torch.int64),
        torch.tensor(scores),
        torch.full((len(boxes), 28, 28), 30.0),
    )


def precision(*images: tuple[Detections, PanopticSegmentation]) -> tuple[float, float]:
    """Return the AP of boxes and of masks."""
    result = AveragePrecision(NUM_CLASSES, NUM_STUFF)
    for image_id, (detections, truth) in enumerate(images):
        result.update(image_id, detections, truth)
    return result.box_ap(), result.mask_ap()


BOX = [5, 10, 15, 30]


def test_ap_of_perfect_detections_is_one() -> None:
    boxes = [BOX, [20, 10, 30, 20], [0, 40, 40, 60]]
    truth = annotation(boxes, [0, 2, 2])
    assert precision((found(boxes, [0.9, 0.2, 0.4], [0, 2, 2]), truth)) == (pytest.approx(1), pytest.approx(1))


def test_ap_of_a_shifted_detection_counts_thresholds_up_to_its_iou() -> None:
    # IoU 16/24 = 0.667: correct at four of ten thresholds, 0.5, 0.55, 0.6 and 0.65.
    shifted = found([[5, 14, 15, 34]], [0.9])
    assert precision((shifted, annotation([BOX]))) == (pytest.approx(0.4), pytest.approx(0.4))


def test_ap_of_a_half_mask_in_the_right_box_lowers_only_mask_ap() -> None:
    left_half = found([BOX], [0.9])
    left_half.masks[:, :, 14:] = -30.0
    box_ap, mask_ap = precision((left_half, annotation([BOX])))
    assert box_ap == pytest.approx(1)
    assert mask_ap == pytest.approx(0.1)  # IoU ½: correct only at threshold 0.5


def test_ap_with_a_false_detection_of_higher_score_is_halved() -> None:
    detections = found([[25, 0, 35, 10], BOX], [0.9, 0.8])
    assert precision((detections, annotation([BOX]))) == (pytest.approx(0.5), pytest.approx(0.5))
    lower_score = found([[25, 0, 35, 10], BOX], [0.7, 0.8])
    assert precision((lower_score, annotation([BOX]))) == (pytest.approx(1), pytest.approx(1))


def test_ap_of_a_detection_with_the_wrong_class_is_zero() -> None:
    assert precision((found([BOX], [0.9], [1]), annotation([BOX]))) == (0, 0)


def test_ap_with_false_detections_inside_crowd_ignores_them() -> None:
    truth = annotation([BOX, [20, 0, 40, 60]], crowd=[False, True])
    detections = found([BOX, [22, 2, 30, 12], [25, 30, 35, 50]], [0.5, 0.9, 0.8])
    assert precision((detections, truth)) == (pytest.approx(1), pytest.approx(1))


def test_ap_without_detections_is_zero() -> None:
    assert precision((found([], []), annotation([BOX]))) == (0, 0)


@pytest.mark.parametrize("crowd", [[], [True]])
def test_ap_without_true_objects_is_nan(crowd: list[bool]) -> None:
    truth = annotation([BOX] if crowd else [], crowd=crowd)
    assert all(math.isnan(value) for value in precision((found([BOX], [0.9]), truth)))
    assert all(math.isnan(value) for value in precision())


def test_ap_with_an_empty_mask_and_a_hidden_object_ignores_only_the_object() -> None:
    hidden = annotation([BOX, BOX])  # the second covers the first
    detections = found([BOX, [0.6, 0.6, 0.9, 0.9]], [0.9, 0.95])
    box_ap, mask_ap = precision((detections, hidden))
    assert box_ap == mask_ap == pytest.approx(0.5)


def test_merge_of_pickled_states_equals_one_instance_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    single = AveragePrecision(NUM_CLASSES, NUM_STUFF)
    merged = AveragePrecision(NUM_CLASSES, NUM_STUFF)
    ranks = [AveragePrecision(NUM_CLASSES, NUM_STUFF) for _ in range(2)]
    for seed in range(6):
        single.update(seed, *random_image(seed))
        ranks[seed % 2].update(seed, *random_image(seed))
    for rank in ranks:
        sent = pickle.dumps(rank.state)
        assert len(sent) < 20_000
        merged.merge(pickle.loads(sent))
    assert 0.05 < single.box_ap() < 0.95
    assert (merged.box_ap(), merged.mask_ap()) == (single.box_ap(), single.mask_ap())
    assert capsys.readouterr().out == ""


def random_image(seed: int) -> tuple[Detections, PanopticSegmentation]:
    """Return overlapping rectangles, one of them crowd, and detections near most of them."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(7, 2, 2, generator=generator) * torch.tensor([[[40.0, 60.0]]])
    rectangles = torch.cat([corners.amin(1), corners.amax(1) + 4], 1).round().long().tolist()
    classes = torch.randint(0, 3, (7,), generator=generator)
    truth = annotation(rectangles, classes.tolist(), [index == 6 for index in range(7)])
    order = torch.cat([torch.randperm(7, generator=generator), torch.arange(3)])
    boxes = torch.tensor(rectangles).float()[order] + torch.randn(10, 4, generator=generator) * 1.5
    masks = torch.randn(10, 28, 28, generator=generator) + 2.0
    wrong = torch.rand(10, generator=generator) < 0.2
    predicted = torch.where(wrong, torch.randint(0, 3, (10,), generator=generator), classes[order])
    return Detections(boxes, predicted, torch.rand(10, generator=generator), masks), truth


def files(folder: Path, images: list[tuple[Detections, PanopticSegmentation]]) -> tuple[str, str]:
    """Write the images in COCO's detection format with image-sized masks, one annotation each."""
    true: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image_id, (detections, truth) in enumerate(images):
        for segment in range(2, len(truth.classes)):
            mask = (truth.ids == segment).numpy()
            if mask.any():
                entry = coco_entry(mask, image_id, int(truth.classes[segment]), tight_box(mask))
                true.append(entry | {"id": len(true) + 1, "iscrowd": int(truth.crowd[segment])})
        for box, klass, score, logits in zip(*vars(detections).values(), strict=True):
            mask = (paste_values(logits, box, SIZE) > 0.5).numpy()
            entry = coco_entry(mask, image_id, NUM_STUFF + int(klass), box.tolist())
            results.append(entry | {"score": float(score)})
    content = {
        "images": [{"id": image_id, "height": SIZE[0], "width": SIZE[1]} for image_id in range(len(images))],
        "categories": [{"id": klass, "name": str(klass)} for klass in range(NUM_STUFF, NUM_CLASSES)],
        "annotations": true,
    }
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "results.json").write_text(json.dumps(results))
    return str(folder / "truth.json"), str(folder / "results.json")


def coco_entry(mask: np.ndarray, image_id: int, category_id: int, box: list[float]) -> dict[str, Any]:
    coded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [box[1], box[0], box[3] - box[1], box[2] - box[0]],
        "segmentation": {"size": list(SIZE), "counts": coded["counts"].decode()},
        "area": int(mask.sum()),
    }


def tight_box(mask: np.ndarray) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)]


@pytest.mark.parametrize("library", ["pycocotools", "hotcoco"])
def test_ap_of_random_images_equals_the_libraries_on_files(tmp_path: Path, library: str) -> None:
    images = [random_image(seed) for seed in range(8)]
    truth, results = files(tmp_path, images)
    make, evaluate = (COCO, COCOeval) if library == "pycocotools" else (hotcoco.COCO, hotcoco.COCOeval)
    expected = []
    with contextlib.redirect_stdout(io.StringIO()):
        for kind in ("bbox", "segm"):
            dataset = make(truth)
            evaluation = evaluate(dataset, dataset.loadRes(results), kind)
            for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
                step()
            expected.append(float(evaluation.stats[0]))
    assert 0.05 < expected[0] < 0.95
    assert precision(*images) == pytest.approx(tuple(expected))


def test_ap_with_equal_scores_does_not_depend_on_the_order_of_images() -> None:
    """Detections with equal scores are ranked by ascending image id."""
    right, wrong = (found([BOX], [0.9]), annotation([BOX])), (found([[25, 0, 35, 10]], [0.9]), annotation([]))
    for first, second in ((3, 20), ("3", "x")):
        values = set()
        for images in (((first, right), (second, wrong)), ((second, wrong), (first, right))):
            result = AveragePrecision(NUM_CLASSES, NUM_STUFF)
            for image_id, (detections, truth) in images:
                result.update(image_id, detections, truth)
            values.add((result.box_ap(), result.mask_ap()))
        assert len(values) == 1
        assert values.pop() == pytest.approx((1, 1))
