"""Draw the picture of the memory benchmark: python -m benchmarks.memory_picture [OUT.png].

The bars show the bytes that a network keeps for the backward pass and the time of a training step, relative to
BatchNorm + leaky ReLU, from ``results/memory.json``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.table import RESULTS
from seamseg.structures.categories import Color
from seamseg.visualization.bars import PairedBar, paired_bars
from seamseg.visualization.colors import BLUE
from seamseg.visualization.images import write_image

DEFAULT = RESULTS.parents[1] / "docs" / "memory.png"
NETWORKS = {
    "resnet50": "ResNet-50",
    "resnext101": "ResNeXt-101",
    "wrn38": "WideResNet-38",
    "densenet_bc100": "DenseNet-BC-100",
    "densenet264": "DenseNet-264",
    "unet": "U-Net",
}
FORMS: Mapping[str, tuple[str, Color]] = {
    "inplace": ("in place", BLUE),
    "checkpoint": ("checkpoint", (170, 178, 188)),
    "compile": ("compiled, budget 0.5", (206, 190, 150)),
    "inplace-checkpoint": ("in place + checkpoint", (24, 74, 140)),
}
"""Label and color of the bars of each form."""


def main(output: Path = DEFAULT, results: Path = RESULTS / "memory.json") -> None:
    """Write the picture.

    Args:
        output: PNG or JPEG file to write.
        results: Recorded rows.
    """
    recorded = json.loads(results.read_text(encoding="utf-8"))
    ratios = {row["slug"]: row["ratio"] for row in recorded["rows"]}
    groups = [(words, _bars(name, ratios)) for name, words in NETWORKS.items() if f"saved-{name}-inplace" in ratios]
    axes = "kept for the backward pass", "time of a training step"
    subtitle = "Less is better; the line at 100 % is BatchNorm + leaky ReLU."
    write_image(output, paired_bars(groups, axes, "Memory and time of training", subtitle))


def _bars(name: str, ratios: Mapping[str, Any]) -> list[PairedBar]:
    def of(kind: str, form: str) -> float:
        ratio = ratios.get(f"{kind}-{name}-{form}")
        return math.nan if ratio is None else float(ratio)

    bars = (PairedBar(label, color, (of("saved", form), of("time", form))) for form, (label, color) in FORMS.items())
    return [bar for bar in bars if not all(map(math.isnan, bar.values))]


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
