"""The script that takes the picture of the report pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = [sys.executable, str(ROOT / "scripts/report_picture.py")]

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="no Chromium at /usr/bin/chromium")
def test_script_takes_a_picture_in_light_and_dark_mode(tmp_path: Path) -> None:
    output = tmp_path / "picture.jpg"
    command = [*SCRIPT, str(output), "2", "64"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    picture = cv2.imread(str(output))
    assert picture.shape == (744, 2 * 1264 + 12, 3)
    assert np.median(picture[:, :1264]) > 150, "light mode"
    assert np.median(picture[:, 1276:]) < 60, "dark mode"


def test_script_without_arguments_prints_its_usage() -> None:
    done = subprocess.run(SCRIPT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 1
    assert "OUT.jpg" in done.stderr
