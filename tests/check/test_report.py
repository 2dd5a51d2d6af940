"""Choice of the images on a contact sheet, and its drawing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.tiny_dataset import write_tiny_panoptic

from seamseg.check.check import check_data_set
from seamseg.check.report import choose_images, draw_sheet


def shows(*rows: str) -> list[np.ndarray]:
    """Make one bool array per image from a string with an x for each class that it shows."""
    return [np.array([letter == "x" for letter in row]) for row in rows]


def test_choose_images_prefers_images_that_add_classes() -> None:
    assert choose_images(shows("x...", "xx..", "..x.", "xxx.", "...x"), 2) == [3, 4]
    assert choose_images(shows("x...", "xx..", "..x.", "xxx.", "...x"), 3) == [1, 3, 4]
    assert choose_images(shows("x", "x", "x"), 2) == [0, 1]
    assert choose_images(shows(".", "."), 5) == [0, 1]
    assert choose_images([], 3) == []


def test_draw_sheet_of_faulty_data_set_shows_valid_images(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path / "data", images_with_crowd=[0], num_objects=6)
    (tiny.png_folder / "001.png").unlink()
    tiny.edit_json(lambda content: content["annotations"][0]["segments_info"].pop())
    report = check_data_set(tiny.folder, num_workers=1)
    assert report.num_errors == 2
    sheet = draw_sheet(report, num_images=4, width=600)
    assert sheet.shape[1:] == (600, 3)
    assert sheet.std() > 20


def test_draw_sheet_without_readable_images_raises(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path / "data")
    for path in tiny.image_folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"data .*no image that can be drawn"):
        draw_sheet(check_data_set(tiny.folder, num_workers=1))
