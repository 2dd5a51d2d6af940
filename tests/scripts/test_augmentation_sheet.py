"""The script that draws training samples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
from support.tiny_dataset import write_tiny_panoptic

ROOT = Path(__file__).resolve().parents[2]


def test_script_with_a_config_draws_a_sheet(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path / "data", num_images=3, images_with_crowd=[1])
    (tmp_path / "config.yaml").write_text("data: {shortest_side: 40, longest_side: 90, random_crop: [30, 30]}\n")
    output = tmp_path / "sheet.png"
    script = [sys.executable, str(ROOT / "scripts/augmentation_sheet.py")]
    arguments = [str(output), str(tmp_path / "config.yaml"), f"data.root={tiny.folder}", "data.copy_paste=0.9"]
    done = subprocess.run(
        [*script, *arguments], capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(output)).shape[1] == 1400


def test_script_without_arguments_prints_its_usage() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "scripts/augmentation_sheet.py")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "OUT CONFIG" in done.stderr
