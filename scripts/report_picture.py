"""Take the picture of docs/report.md.

python scripts/report_picture.py OUT.jpg [NUM_SCENES [HEIGHT]]

The script draws street scenes, degrades their annotation to predictions (wavy borders; missed, cut and misclassified
things), writes a report of both, and takes screenshots of its pages with Chromium. The variable CHROMIUM names another
browser than /usr/bin/chromium.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright

from seamseg.data.png import read_panoptic_png, write_panoptic_png
from seamseg.report import open_material, write_report
from seamseg.scenes import write_scenes

SEED = 11
MISSED, CUT, CONFUSED = 0.15, 0.2, 0.1  # fractions of the segments; stuff is neither missed nor cut
WAVINESS = 0.008  # standard deviation of the border shifts, as a fraction of the longer side
WINDOW = {"width": 1264, "height": 744}
GAP = 12
POINTED_AT = 0.47, 0.49  # position of a missed car, as fractions of the image
Ids = NDArray[np.int32]


def main(output: Path, num_scenes: int, height: int) -> None:
    """Write the picture.

    Args:
        output: JPEG file to write.
        num_scenes: Number of scenes in the report.
        height: Height of the screenshots, in pixels.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scenes(folder / "scenes", 1, num_scenes, (height, 2 * height), SEED)
        truth = folder / "scenes" / "annotations" / "panoptic_val.json"
        degrade(truth, folder / "predicted.json")
        images = folder / "scenes" / "images" / "val"
        material = open_material(folder / "predicted.json", images, truth, title="Street scenes")
        write_report(material, folder / "report")
        shots = take_screenshots(folder / "report")
    between = np.full((shots[0].shape[0], GAP, 3), 255, np.uint8)
    cv2.imwrite(str(output), np.hstack([shots[0], between, shots[1]]), [cv2.IMWRITE_JPEG_QUALITY, 82])


def degrade(truth: Path, output: Path) -> None:
    """Write predictions that differ from the annotation in typical ways."""
    content = json.loads(truth.read_text())
    generator = np.random.default_rng(0)
    kinds: dict[int, list[int]] = {0: [], 1: []}
    for category in content["categories"]:
        kinds[category["isthing"]].append(category["id"])
    output.with_suffix("").mkdir()
    for entry in content["annotations"]:
        ids = with_wavy_borders(read_panoptic_png(truth.with_suffix("") / entry["file_name"]), generator)
        segments = [degrade_segment(ids, segment, kinds, generator) for segment in entry["segments_info"]]
        remaining = set(np.unique(ids).tolist())
        entry["segments_info"] = [segment for segment in segments if segment["id"] in remaining]
        write_panoptic_png(output.with_suffix("") / entry["file_name"], ids)
    output.write_text(json.dumps(content))


def with_wavy_borders(ids: Ids, generator: np.random.Generator) -> Ids:
    """Id map with every pixel shifted by a small, smooth displacement."""
    height, width = ids.shape
    shifts = generator.normal(0, WAVINESS * max(ids.shape), (2, 6, 6)).astype(np.float32)
    down, right = (cv2.resize(shift, (width, height), interpolation=cv2.INTER_CUBIC) for shift in shifts)
    rows, columns = np.mgrid[:height, :width]
    rows, columns = (rows + down).round().astype(int), (columns + right).round().astype(int)
    return ids[rows.clip(0, height - 1), columns.clip(0, width - 1)]


def degrade_segment(
    ids: Ids, segment: dict[str, Any], kinds: dict[int, list[int]], generator: np.random.Generator
) -> dict[str, Any]:
    """Change the id map in place and return the segment's entry in the predictions."""
    thing = segment["category_id"] in kinds[1]
    mine = ids == segment["id"]
    fate = generator.random()
    if thing and fate < MISSED:
        ids[mine] = 0
    elif thing and fate < MISSED + CUT and mine.any():
        columns = np.flatnonzero(mine.any(0))
        mine[:, : columns[0] + int(len(columns) * generator.uniform(0.3, 0.7))] = False
        ids[mine] = 0
    category = segment["category_id"] if generator.random() > CONFUSED else int(generator.choice(kinds[int(thing)]))
    score = round(float(generator.uniform(0.5, 1)), 3) if thing else 1.0
    return {"id": segment["id"], "category_id": category, "score": score}


def take_screenshots(report: Path) -> list[NDArray[np.uint8]]:
    """Screenshots of the grid in light mode, and of the worst image with its errors in dark mode."""
    browser_file = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_file, args=["--no-sandbox", "--disable-gpu"])
        shots = []
        for scheme, prepare in (("light", lambda page: None), ("dark", show_errors)):
            page = browser.new_page(viewport=WINDOW, color_scheme=scheme)
            page.goto(f"{report.as_uri()}/index.html")
            page.locator(".card img").first.wait_for()
            prepare(page)
            page.wait_for_timeout(500)
            shot = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
            shots.append(np.asarray(shot, np.uint8))
        browser.close()
    return shots


def show_errors(page: Page) -> None:
    """Open the first image and show its errors."""
    page.locator(".card a").first.click()
    page.locator(".panel").first.wait_for()
    page.keyboard.press("g")
    page.keyboard.press("e")
    frame = page.locator(".frame")
    box = frame.bounding_box()
    frame.hover(position={"x": POINTED_AT[0] * box["width"], "y": POINTED_AT[1] * box["height"]})


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    numbers = [int(argument) for argument in sys.argv[2:]]
    main(Path(sys.argv[1]), *numbers, *(20, 400)[len(numbers) :])
