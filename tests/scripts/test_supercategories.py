"""The script that merges the classes of a COCO panoptic data set by supercategory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from seamseg.convert.remap import read_class_mapping
from seamseg.structures import Categories, Category

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "supercategories.py"
OLD = [("sky-other", 0, "sky"), ("cat", 1, "animal"), ("mud", 0, "ground"), ("dog", 1, "animal"), ("road", 0, "ground")]


def test_written_classes_merge_a_data_set_by_supercategory(tmp_path: Path) -> None:
    entries = [
        {"id": number, "name": name, "isthing": thing, "supercategory": above}
        for number, (name, thing, above) in enumerate(OLD)
    ]
    (tmp_path / "coco.json").write_text(json.dumps({"categories": entries}))
    command = [sys.executable, str(SCRIPT), str(tmp_path / "coco.json")]
    classes = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (tmp_path / "classes.yaml").write_text(classes)
    old = sorted(OLD, key=lambda entry: entry[1])
    categories = Categories(tuple(Category(name, bool(thing), (0, 0, 0), n) for n, (name, thing, _) in enumerate(old)))
    mapping = read_class_mapping(tmp_path / "classes.yaml", categories)
    assert mapping.categories.names == ("sky", "ground", "animal")
    assert mapping.new_class == (0, 1, 1, 2, 2)
