"""Write the classes that merge a COCO panoptic data set by supercategory, for `seamseg convert remap --classes`.

python scripts/supercategories.py COCO/annotations/panoptic_train2017.json > supercategories.yaml
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import yaml


def merged_classes(categories: list[dict[str, object]]) -> dict[str, dict[str, list[str]]]:
    """Return the names of the old classes by kind and supercategory.

    Args:
        categories: The ``categories`` of a COCO panoptic file.
    """
    classes: dict[str, dict[str, list[str]]] = {"stuff": {}, "things": {}}
    for category in categories:
        kind = classes["things" if category["isthing"] else "stuff"]
        kind.setdefault(str(category["supercategory"]), []).append(str(category["name"]))
    return classes


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("annotation", type=Path, metavar="JSON", help="COCO panoptic annotation with supercategories")
    categories = json.loads(parser.parse_args().annotation.read_text())["categories"]
    yaml.safe_dump(merged_classes(categories), sys.stdout, sort_keys=False, allow_unicode=True)


if __name__ == "__main__":
    main()
