"""Print the main scores of an evaluation.

python scripts/print_scores.py runs/demo/evaluation.json
"""

import json
import sys
from pathlib import Path

scores = json.loads(Path(sys.argv[1]).read_text())
lines = {
    "PQ": scores["all"]["pq"],
    "PQ things": scores["things"]["pq"],
    "PQ stuff": scores["stuff"]["pq"],
    "mIoU": scores["miou"],
    "box AP": scores["box_ap"],
    "mask AP": scores["mask_ap"],
}
for name, value in lines.items():
    print(f"{name:>9}: " + ("-" if value is None else f"{100 * value:.1f}"))
