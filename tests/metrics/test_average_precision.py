"""Average precision: cases that can be worked out by hand, and pycocotools and hotcoco run on files."""

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
    """Things that fill rectangles (y0, x0, y1, x1), on stuff."""
    ids = torch.ones(SIZE, dtype=torch.int64)
    for segment, (y0, x0, y1, x1) in enumerate(rectangles, start=2):
        ids[y0:y1, x0:x1] = segment
    labels = [255, 0, *(NUM_STUFF + c for c in classes or [0] * len(rectangles))]
    return PanopticSegmentation(
        ids, torch.tensor(labels), torch.tensor([False, False, *(crowd or [False] * len(rectangles))])
    )


def found(boxes: list[list[float]], scores: list[float], classes: list[int] | None = None) -> Detections:
    """Detections that fill their boxes."""
    return Detections(
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(classes or [0] * len(boxes), dtype=torch.int64),
        torch.tensor(scores),
        torch.full((len(boxes), 28, 28), 30.0),
    )


def precision(*images: tuple[Detections, PanopticSegmentation]) -> tuple[float, float]:
    """AP of boxes and masks."""
    result = AveragePrecision(NUM_CLASSES, NUM_STUFF)
    for image_id, (detections, truth) in enumerate(images):
        result.update(image_id, detections, truth)
    return result.box_ap(), result.mask_ap()


BOX = [5, 10, 15, 30]


def test_a_perfect_prediction() -> None:
    boxes = [BOX, [20, 10, 30, 20], [0, 40, 40, 60]]
    truth = annotation(boxes, [0, 2, 2])
    assert precision((found(boxes, [0.9, 0.2, 0.4], [0, 2, 2]), truth)) == (pytest.approx(1), pytest.approx(1))


def test_a_shifted_one_counts_up_to_its_iou() -> None:
    # IoU 16/24 = 0.667: right at the thresholds 0.5, 0.55, 0.6, 0.65 of ten.
    shifted = found([[5, 14, 15, 34]], [0.9])
    assert precision((shifted, annotation([BOX]))) == (pytest.approx(0.4), pytest.approx(0.4))


def test_boxes_and_masks_are_judged_apart() -> None:
    left_half = found([BOX], [0.9])
    left_half.masks[:, :, 14:] = -30.0
    box_ap, mask_ap = precision((left_half, annotation([BOX])))
    assert box_ap == pytest.approx(1)
    assert mask_ap == pytest.approx(0.1)  # IoU ½: right at 0.5 alone


def test_a_surer_false_one_halves_the_precision() -> None:
    detections = found([[25, 0, 35, 10], BOX], [0.9, 0.8])
    assert precision((detections, annotation([BOX]))) == (pytest.approx(0.5), pytest.approx(0.5))
    less_sure = found([[25, 0, 35, 10], BOX], [0.7, 0.8])
    assert precision((less_sure, annotation([BOX]))) == (pytest.approx(1), pytest.approx(1))


def test_the_wrong_class_is_wrong() -> None:
    assert precision((found([BOX], [0.9], [1]), annotation([BOX]))) == (0, 0)


def test_what_lies_in_a_crowd_is_not_held_against_it() -> None:
    truth = annotation([BOX, [20, 0, 40, 60]], crowd=[False, True])
    detections = found([BOX, [22, 2, 30, 12], [25, 30, 35, 50]], [0.5, 0.9, 0.8])
    assert precision((detections, truth)) == (pytest.approx(1), pytest.approx(1))


def test_nothing_found() -> None:
    assert precision((found([], []), annotation([BOX]))) == (0, 0)


@pytest.mark.parametrize("crowd", [[], [True]])
def test_without_objects_there_is_no_precision(crowd: list[bool]) -> None:
    truth = annotation([BOX] if crowd else [], crowd=crowd)
    assert all(math.isnan(value) for value in precision((found([BOX], [0.9]), truth)))
    assert all(math.isnan(value) for value in precision())


def test_a_mask_without_a_pixel_and_an_object_without_a_pixel() -> None:
    hidden = annotation([BOX, BOX])  # the second covers the first
    detections = found([BOX, [0.6, 0.6, 0.9, 0.9]], [0.9, 0.95])
    box_ap, mask_ap = precision((detections, hidden))
    assert box_ap == mask_ap == pytest.approx(0.5)


def test_states_travel_between_ranks_and_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    whole = AveragePrecision(NUM_CLASSES, NUM_STUFF)
    merged = AveragePrecision(NUM_CLASSES, NUM_STUFF)
    ranks = [AveragePrecision(NUM_CLASSES, NUM_STUFF) for _ in range(2)]
    for seed in range(6):
        whole.update(seed, *random_image(seed))
        ranks[seed % 2].update(seed, *random_image(seed))
    for rank in ranks:
        sent = pickle.dumps(rank.state)
        assert len(sent) < 20_000
        merged.merge(pickle.loads(sent))
    assert 0.05 < whole.box_ap() < 0.95
    assert (merged.box_ap(), merged.mask_ap()) == (whole.box_ap(), whole.mask_ap())
    assert capsys.readouterr().out == ""


def random_image(seed: int) -> tuple[Detections, PanopticSegmentation]:
    """Overlapping rectangles, some of them crowd, and detections near most of them."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(7, 2, 2, generator=generator) * torch.tensor([[[40.0, 60.0]]])
    rectangles = torch.cat([corners.amin(1), corners.amax(1) + 4], 1).round().long().tolist()
    classes = torch.randint(0, 3, (7,), generator=generator)
    truth = annotation(rectangles, classes.tolist(), [index == 6 for index in range(7)])
    order = torch.cat([torch.randperm(7, generator=generator), torch.arange(3)])
    boxes = torch.tensor(rectangles).float()[order] + torch.randn(10, 4, generator=generator) * 1.5
    masks = torch.randn(10, 28, 28, generator=generator) + 2.0
    wrong = torch.rand(10, generator=generator) < 0.2
    guessed = torch.where(wrong, torch.randint(0, 3, (10,), generator=generator), classes[order])
    return Detections(boxes, guessed, torch.rand(10, generator=generator), masks), truth


def files(folder: Path, images: list[tuple[Detections, PanopticSegmentation]]) -> tuple[str, str]:
    """The same in COCO's detection form, written the plain way: image-sized masks, one annotation each."""
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
def test_equals_evaluation_of_files(tmp_path: Path, library: str) -> None:
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


def test_the_order_in_which_images_come_changes_nothing() -> None:
    """Among detections of one score, that of the smaller id comes first."""
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
