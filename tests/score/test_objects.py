"""Scores of COCO results, against the summary of pycocotools on the same files."""

from __future__ import annotations

import contextlib
import io
import json
import math
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from seamseg.errors import DataError
from seamseg.score.objects import is_list, score_objects

SIZE = (200, 260)
CATEGORIES = [{"id": 7, "name": "car"}, {"id": 3, "name": "person"}]


def polygon(rng: np.random.Generator, y: float, x: float, side: float) -> list[float]:
    corners = np.array([[x, y], [x + side, y + 2], [x + side * 0.9, y + side], [x + 1, y + side * 0.8]])
    return (corners + rng.uniform(-1, 1, (4, 2))).round(2).ravel().tolist()


def written(folder: Path, num_images: int = 6) -> tuple[Path, Path]:
    """Write an annotation with polygons, one crowd per image and areas as stated by people, and results near it."""
    rng = np.random.default_rng(1)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(num_images):
        for place, side in enumerate(rng.choice([14, 25, 45, 70, 110], 5).tolist()):
            y, x = rng.uniform(0, SIZE[0] - side), rng.uniform(0, SIZE[1] - side)
            outline = polygon(rng, y, x, side)
            mask = coco_mask.merge(coco_mask.frPyObjects([outline], *SIZE))
            area = float(coco_mask.area(mask))
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": 7 if place % 2 else 3,
                "bbox": coco_mask.toBbox(mask).tolist(), "area": area * 0.98, "iscrowd": int(place == 4),
                "segmentation": [outline] if place < 4 else {"size": list(SIZE), "counts": mask["counts"].decode()},
            })  # fmt: skip
            for _ in range(2):
                near = polygon(rng, y + rng.uniform(0, side / 5), x, side)
                found = coco_mask.merge(coco_mask.frPyObjects([near], *SIZE))
                results.append({
                    "image_id": image, "category_id": 7 if place % 2 else 3, "score": float(rng.uniform(0.05, 1)),
                    "bbox": coco_mask.toBbox(found).tolist(),
                    "segmentation": {"size": list(SIZE), "counts": found["counts"].decode()},
                })  # fmt: skip
    images = [{"id": image, "file_name": f"{image}.jpg", "height": SIZE[0], "width": SIZE[1]} for image in range(6)]
    truth_file, results_file = folder / "instances_val.json", folder / "results.json"
    truth_file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": CATEGORIES}))
    results_file.write_text(json.dumps(results))
    return truth_file, results_file


def summary(truth_file: Path, results_file: Path, kind: str) -> list[float]:
    unused = "segmentation" if kind == "bbox" else "bbox"
    results = [{key: one[key] for key in one if key != unused} for one in json.loads(results_file.read_text())]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(truth_file)
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [math.nan if value == -1 else value for value in evaluation.stats.tolist()]


def test_figures_equal_those_of_pycocotools(tmp_path: Path) -> None:
    files = written(tmp_path)
    assert [is_list(path) for path in files] == [False, True]
    found = score_objects(*files)
    for part, kind in ((found.scores.box, "bbox"), (found.scores.mask, "segm")):
        assert astuple(part) == pytest.approx(summary(*files, kind), nan_ok=True, abs=1e-12)
        assert 0.1 < part.ap < 1
    assert list(found.scores.per_class) == ["car", "person"]
    assert (found.scores.num_images, found.notes) == (6, ())


def test_results_are_matched_by_file_name_and_others_are_ignored_with_a_note(tmp_path: Path) -> None:
    truth, results = written(tmp_path)
    plain = score_objects(truth, results).scores
    content = json.loads(results.read_text())
    moved = [one | {"file_name": f"val/{one['image_id']}.jpg", "image_id": 5 - one["image_id"]} for one in content]
    extra = content[0] | {"file_name": "val/other.jpg", "image_id": 99}
    results.write_text(json.dumps([*moved, extra]))
    found = score_objects(truth, results)
    assert found.scores.to_json() == plain.to_json()
    assert len(found.notes) == 1
    assert "results of 1 images" in found.notes[0]


def test_boxes_without_masks_and_listed_images(tmp_path: Path) -> None:
    truth, results = written(tmp_path)
    boxes = [{key: one[key] for key in one if key != "segmentation"} for one in json.loads(results.read_text())]
    (tmp_path / "list.txt").write_text("1.jpg\n4.jpg\n")
    plain = score_objects(truth, results, listed=tmp_path / "list.txt").scores
    results.write_text(json.dumps(boxes))
    found = score_objects(truth, results, listed=tmp_path / "list.txt").scores
    assert (found.mask, found.box) == (None, plain.box)
    assert list(found.image_f1) == [1, 4]


def test_no_results_at_all_score_zero(tmp_path: Path) -> None:
    truth, results = written(tmp_path)
    results.write_text("[]")
    found = score_objects(truth, results)
    assert (found.scores.box.ap, found.scores.box.ar100) == (0, 0)
    assert "no results" in found.notes[0]


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"category_id": 8}, "category_id 8"),
        ({"score": None}, "score"),
        ({"score": math.nan}, "score"),
        ({"bbox": [1, 2, 3]}, "bbox"),
        ({"segmentation": {"size": [1, 1], "counts": "11"}}, "segmentation"),
        ({"segmentation": {"size": list(SIZE), "counts": "11"}}, "segmentation"),
        ({"image_id": None}, "image_id"),
    ],
)
def test_wrong_result_is_refused_with_its_place(tmp_path: Path, change: dict[str, Any], fact: str) -> None:
    truth, results = written(tmp_path)
    content = json.loads(results.read_text())
    content[3] |= change
    results.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"results\.json, .*{fact}"):
        score_objects(truth, results)
