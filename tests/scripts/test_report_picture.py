"""The picture of the report's pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = [sys.executable, str(ROOT / "scripts/report_picture.py")]

pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is missing")


@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="no Chromium at /usr/bin/chromium")
def test_the_script_takes_a_picture(tmp_path: Path) -> None:
    output = tmp_path / "picture.jpg"
    command = [*SCRIPT, str(output), "2", "64"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    picture = cv2.imread(str(output))
    assert picture.shape == (744, 2 * 1264 + 12, 3)
    assert np.median(picture[:, :1264]) > 150, "by day"
    assert np.median(picture[:, 1276:]) < 60, "by night"


def test_without_arguments_it_says_how_it_is_used() -> None:
    done = subprocess.run(SCRIPT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 1
    assert "OUT.jpg" in done.stderr
