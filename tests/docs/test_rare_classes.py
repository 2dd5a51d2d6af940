"""The settings of docs/rare-classes.md exist and do what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from seamseg.config import parse_experiment

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rare-classes.md"
TEXT = PAGE.read_text()


def test_settings_of_the_page_are_valid() -> None:
    weights, focal = (
        parse_experiment(block, "page") for block in re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    )
    assert weights.loss.class_weights == {"bicycle": 3, "traffic light": 2, "sky": 0.5}
    assert (focal.sem.focal_gamma, focal.roi.focal_gamma, focal.sem.hardest_fraction) == (2, 2, 1)
    for override in re.findall(r"`(loss\.class_weights[\w.]*=\w+)`", TEXT):
        assert parse_experiment("", "page", [override]).loss.class_weights in ({"bicycle": 3}, "frequency")


def test_keys_of_the_page_exist() -> None:
    settings = parse_experiment("", "page").model_dump()
    keys = set(re.findall(r"`((?:loss|sem|roi|data)\.\w+)`", TEXT))
    assert len(keys) == 5
    for group, name in (key.split(".") for key in keys):
        assert name in settings[group]
