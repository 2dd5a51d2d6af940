"""Predictions on disk with one error of each kind at known places, with their annotation and images.

drawn = write_drawn_predictions(tmp_path)
material = open_material(drawn.predictions, truth_file=drawn.truth)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from support.panoptic_pairs import Side, listed, write_side

HEIGHT, WIDTH = 60, 100
SKY, CAR, ROAD, PERSON = 7, 3, 200, 11
NAMES = ("street.jpg", "easy & <b>bold.jpg", "empty.jpg")
"""Names of the images: one with an error of each kind, one without errors, and one with a missed car."""

Box = tuple[int, int, int, int]
FOUND, DOUBLED, CUT, WRONG, LOST, INVENTED = (
    (30, 5, 50, 25),
    (30, 21, 50, 25),
    (30, 40, 50, 60),
    (20, 70, 50, 80),
    (30, 85, 40, 95),
    (2, 5, 12, 15),
)
"""Boxes (y0, x0, y1, x1): a matched car, the part of it that is predicted a second time, a car with 7 of 20 columns
predicted, a person predicted as a car, a missed car, and a predicted person that does not exist."""


@dataclass(frozen=True)
class DrawnPredictions:
    """Paths of the predictions, the annotation and the images.

    Attributes:
        predictions: Folder in the format of ``seamseg predict``.
        truth: JSON file of the annotation.
        image_folder: Folder of the images.
    """

    predictions: Path
    truth: Path
    image_folder: Path

    def edit(self, file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change the content of a JSON file."""
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))


def write_drawn_predictions(folder: Path) -> DrawnPredictions:
    """Write three images, with different image ids in the predictions and in the annotation."""
    classes = {1: SKY, 2: ROAD, 3: CAR, 4: CAR, 5: PERSON, 6: CAR}
    street = _drawn({3: FOUND, 4: CUT, 5: WRONG, 6: LOST})
    easy, empty = _drawn({3: FOUND}), _drawn({3: LOST})
    truths = [Side(ids, listed(ids, classes, set())) for ids in (street, easy, empty)]
    y0, x0, y1, _ = CUT
    guess = _drawn({3: FOUND, 4: (y0, x0, y1, x0 + 7), 5: WRONG, 6: INVENTED, 7: DOUBLED})
    guesses = classes | {5: CAR, 6: PERSON, 7: CAR}
    results = [Side(ids, listed(ids, guesses, set())) for ids in (guess, easy, _drawn({}))]
    drawn = DrawnPredictions(folder / "predicted", write_side(folder / "gt", "truth", truths), folder / "images")
    write_side(drawn.predictions, "panoptic", results)
    drawn.image_folder.mkdir()
    for number, name in enumerate(NAMES):
        pixels = np.full((HEIGHT, WIDTH, 3), (200, 180, 60 * number), np.uint8)
        cv2.imwrite(str(drawn.image_folder / name), pixels)
    drawn.edit(drawn.truth, lambda content: _name(content, 0))
    drawn.edit(drawn.predictions / "panoptic.json", lambda content: _finish(content, drawn.image_folder))
    return drawn


def _drawn(boxes: dict[int, Box]) -> NDArray[np.int64]:
    """Draw sky (1) above, road (2) below, and boxes."""
    ids = np.ones((HEIGHT, WIDTH), np.int64)
    ids[HEIGHT // 2 :] = 2
    for segment, (y0, x0, y1, x1) in boxes.items():
        ids[y0:y1, x0:x1] = segment
    return ids


def _name(content: dict[str, Any], shift: int) -> None:
    for entry, name in zip(content["images"], NAMES, strict=True):
        entry["file_name"] = name
        entry["id"] += shift
    for entry in content["annotations"]:
        entry["image_id"] += shift


def _finish(content: dict[str, Any], image_folder: Path) -> None:
    _name(content, 1)
    content["info"] = {"image_folder": str(image_folder)}
    things = {CAR, PERSON}
    for entry in content["annotations"]:
        for segment in entry["segments_info"]:
            segment["score"] = 1 - 0.05 * segment["id"] if segment["category_id"] in things else 1.0
