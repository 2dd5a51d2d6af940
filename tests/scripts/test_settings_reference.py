"""docs/settings.md matches the settings."""

from __future__ import annotations

import runpy
from pathlib import Path


def test_settings_page_is_up_to_date() -> None:
    root = Path(__file__).resolve().parents[2]
    script = runpy.run_path(str(root / "scripts" / "settings_reference.py"))
    assert (root / "docs" / "settings.md").read_text() == script["reference"](), "run scripts/settings_reference.py"
