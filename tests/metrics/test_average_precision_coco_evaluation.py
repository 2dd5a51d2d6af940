"""Average precision of pycocotools and hotcoco: equal on random data with all edge cases, and the choice of library."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from seamseg.metrics.coco_evaluation import CocoSides, IouType, average_precision, fastest_library, precisions

EXACT = 1e-12
LIMITS = [1, 2, 31, 32, 33, 95, 96, 97]  # sides of squares around COCO's small, medium and large


def random_sides(seed: int) -> CocoSides:
    """Return images of one size, some without objects or detections, with crowd, equal scores and odd masks."""
    rng = np.random.default_rng(seed)
    num_images, num_classes = int(rng.integers(1, 7)), int(rng.integers(1, 4))
    size = (int(rng.integers(4, 130)), int(rng.integers(4, 130)))
    images = [{"id": index, "height": size[0], "width": size[1]} for index in range(num_images)]
    true: list[dict[str, Any]] = []
    detected: list[dict[str, Any]] = []
    for index in range(num_images):
        if rng.random() < 0.15:
            continue
        for side in (true, detected):
            many = 130 if side is detected and seed % 8 == 0 else 9  # more than the 100 that count
            for _ in range(int(rng.integers(0, many))):
                box = random_box(rng, size, true if side is detected else [])
                side.append(annotation(rng, box, size, len(side) + 1))
                side[-1] |= {"image_id": index, "category_id": int(rng.integers(num_classes))}
                side[-1]["iscrowd"] = int(side is true and rng.random() < 0.25)
    return CocoSides(images, [{"id": index} for index in range(num_classes)], true, detected)


def random_box(rng: np.random.Generator, size: tuple[int, int], near: list[dict[str, Any]]) -> list[int]:
    """Return x, y, width and height of a box, often near one of the annotations ``near``."""
    if near and rng.random() < 0.6:
        x, y, width, height = (int(value) for value in near[int(rng.integers(len(near)))]["bbox"])
        return [x + int(rng.integers(-1, 2)), y, width, height]
    if rng.random() < 0.3:
        width = height = int(rng.choice(LIMITS))
    else:
        height, width = int(rng.integers(0, size[0])), int(rng.integers(0, size[1]))
    return [int(rng.integers(-3, size[1])), int(rng.integers(-3, size[0])), width, height]


def annotation(rng: np.random.Generator, box: list[int], size: tuple[int, int], number: int) -> dict[str, Any]:
    x, y, width, height = box
    mask: NDArray[np.uint8] = np.zeros(size, np.uint8)
    mask[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = 1
    if rng.random() < 0.3:
        mask &= rng.random(size) < 0.7
    coded = coco_mask.encode(np.asfortranarray(mask))
    return {
        "id": number,
        "bbox": coco_mask.toBbox(coded).tolist() if rng.random() < 0.7 else [float(value) for value in box],
        "segmentation": {"size": list(size), "counts": coded["counts"]},
        "area": int(mask.sum()),
        "score": float(rng.choice([0.5, 0.7, 0.9, rng.random()])),
    }


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_precisions_of_random_sides_agree_between_libraries(kind: IouType) -> None:
    pytest.importorskip("hotcoco", reason="hotcoco is not installed")
    values = []
    for seed in range(80):
        sides = random_sides(seed)
        one, other = (precisions(sides, kind, library) for library in ("pycocotools", "hotcoco"))
        assert one.shape == other.shape == (10, 101, len(sides.categories), 1, 1)
        assert np.abs(one - other).max() <= EXACT, seed
        values.append(average_precision(sides, kind))
    assert np.isnan(values).any()
    assert 0.05 < np.nanmean(values) < 0.9
    assert np.nanmax(values) > np.nanmin(values)


@pytest.mark.parametrize("library", ["pycocotools", "hotcoco"])
def test_average_precision_without_annotations_is_nan(library: Any) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    images = [{"id": 0, "height": 3, "width": 4}]
    assert np.isnan(average_precision(CocoSides(images, [{"id": 0}], [], []), "segm", library))


def test_fastest_library_is_hotcoco_only_if_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hotcoco", reason="hotcoco is not installed")
    assert fastest_library() == "hotcoco"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert fastest_library() == "pycocotools"
    sides = random_sides(1)
    monkeypatch.setitem(__import__("sys").modules, "hotcoco", None)
    assert average_precision(sides, "bbox") == average_precision(sides, "bbox", "pycocotools")
