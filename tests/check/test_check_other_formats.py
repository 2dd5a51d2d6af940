"""Checks of data sets without panoptic JSON files: Vistas instance maps, and the format of the 2019 seamseg release."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.legacy_folder import IDS, IMAGE, write_legacy
from support.vistas_folder import NUMBERS, write_vistas

from seamseg.check.check import check_data_set
from seamseg.check.report import CheckReport, draw_sheet


def checked(folder: Path) -> CheckReport:
    return check_data_set(folder, num_workers=1)


def write(path: Path, pixels: np.ndarray) -> None:
    assert cv2.imwrite(str(path), pixels)


def test_check_of_valid_vistas_instances_finds_no_faults(tmp_path: Path) -> None:
    report = checked(write_vistas(tmp_path / "vistas", panoptic=False).root)
    assert dict(report.findings.counts) == {}
    assert report.format_title == "Mapillary Vistas v1.2"
    rows = {row["name"]: row for row in report.statistics.class_rows()}
    car, group, road = (rows[name] for name in ("object--vehicle--car", "object--vehicle--car-group", LONG_ROAD))
    images = 4  # two in each of two splits, equal except for mirroring
    assert (car["segments"], car["crowd"], car["smallest"]) == (2 * images, 0, 4)
    assert (group["segments"], group["crowd"]) == (images, images)
    assert (road["segments"], road["pixels"]) == (images, 16 * images)
    assert [split.labeled_pixels / split.pixels for split in report.statistics.splits] == [44 / 48] * 2


LONG_ROAD = "construction--flat--road"
TRAINING = "training/v1.2/instances/Zz9.png"
VISTAS_FAULTS: list[tuple[Callable[[Path], Any], dict[str, int]]] = [
    (lambda root: (root / "training/images/Zz9.jpg").unlink(), {"missing-image": 1}),
    (lambda root: (root / "training/images/Zz9.jpg").write_bytes(b"\xff\xd8"), {"broken-image": 1}),
    (lambda root: write(root / "training/images/Zz9.jpg", np.zeros((6, 9, 3), np.uint8)), {"image-size": 1}),
    (lambda root: (root / TRAINING).write_bytes((root / TRAINING).read_bytes()[:-20]), {"broken-png": 1}),
    (lambda root: write(root / TRAINING, NUMBERS.astype(np.uint8)), {"broken-png": 1}),
    (lambda root: write(root / TRAINING, NUMBERS + np.uint16(256 * 6)), {"unreadable-annotation": 1}),
    (lambda root: write(root / TRAINING, np.full_like(NUMBERS, 5 * 256)), {"empty-image": 1}),
    (lambda root: write(root / TRAINING, np.full_like(NUMBERS, 256)), {"image-without-things": 1}),
    (lambda root: (root / TRAINING).write_bytes(b"no png"), {"unreadable-split": 1}),
]


@pytest.mark.parametrize(("damage", "expected"), VISTAS_FAULTS)
def test_check_finds_each_fault_of_vistas_instances(
    tmp_path: Path, damage: Callable[[Path], Any], expected: dict[str, int]
) -> None:
    root = write_vistas(tmp_path / "vistas", panoptic=False).root
    damage(root)
    report = checked(root)
    assert dict(report.findings.counts) == expected
    ((kind, _, (example,)),) = report.findings.by_kind()
    assert kind.name in expected
    assert example.startswith("training")
    assert (report.num_errors > 0) == (kind.name != "image-without-things")


def test_check_of_valid_2019_data_set_finds_no_errors(tmp_path: Path) -> None:
    report = checked(write_legacy(tmp_path / "legacy"))
    assert dict(report.findings.counts) == {"unused-category": 1}
    assert report.num_errors == 0
    rows = {row["name"]: (row["segments"], row["crowd"], row["pixels"]) for row in report.statistics.class_rows()}
    assert rows == {"road": (3, 0, 6), "sky": (3, 0, 9), "car": (6, 3, 15), "bird": (0, 0, 0)}
    assert draw_sheet(report, width=400).shape[1] == 400


LEGACY_FAULTS: list[tuple[Callable[[Path], Any], dict[str, int]]] = [
    (lambda root: (root / "img/a.png").unlink(), {"missing-image": 1}),
    (lambda root: (root / "img/a.png").write_bytes(b""), {"broken-image": 1}),
    (lambda root: write(root / "img/a.png", np.zeros((3, 5, 3), np.uint8)), {"image-size": 1}),
    (lambda root: (root / "msk/a.png").unlink(), {"missing-png": 1}),
    (lambda root: write(root / "msk/a.png", np.zeros((3, 4, 3), np.uint8)), {"broken-png": 1}),
    (lambda root: write(root / "msk/a.png", IDS[:, :3].astype(np.uint8)), {"unreadable-annotation": 1}),
    (lambda root: write(root / "msk/a.png", np.full((3, 4), 7, np.uint8)), {"unreadable-annotation": 1}),
    (lambda root: write(root / "msk/a.png", np.full((3, 4), 4, np.uint8)), {"empty-image": 1}),
    (lambda root: (root / "msk/a.png.1").touch(), {"unreadable-annotation": 1}),
    (lambda root: (root / "lst/val.txt").write_text("nobody\n"), {"unreadable-split": 1}),
]


@pytest.mark.parametrize(("damage", "expected"), LEGACY_FAULTS)
def test_check_finds_each_fault_of_2019_data_set(
    tmp_path: Path, damage: Callable[[Path], Any], expected: dict[str, int]
) -> None:
    root = write_legacy(tmp_path / "legacy")
    damage(root)
    report = checked(root)
    assert dict(report.findings.counts) == {"unused-category": 1} | expected
    assert report.num_errors == 1


def test_2019_data_set_with_crowd_on_stuff_is_an_error(tmp_path: Path) -> None:
    crowd = IMAGE | {"iscrowd": [0, 1, 0, 0, 0, 1, 0]}
    root = write_legacy(tmp_path / "legacy", change=lambda images: images[1].update(crowd))
    assert dict(checked(root).findings.counts) == {"unused-category": 1, "crowd-on-stuff": 1}


def test_2019_data_set_with_maximum_number_of_segments_is_valid(tmp_path: Path) -> None:
    number, side = 65_536, 256
    many = {"cat": [255] + [2] * number, "iscrowd": [0] * (number + 1), "size": (side, side)}
    root = write_legacy(tmp_path / "legacy", change=lambda images: images[1].update(many))
    write(root / "img/a.png", np.zeros((side, side, 3), np.uint8))
    write(root / "msk/a.png", np.arange(number, dtype=np.uint16).reshape(side, side))
    counts = dict(checked(root).findings.counts)
    assert counts == {"unused-category": 1}, "16 bits hold 65,535 segments in addition to void"
