"""Compare a ranking of images with their scores: python scripts/rank_correlation.py RANKING.json IMAGES.csv.

RANKING.json is written by `seamseg rank`, and IMAGES.csv by `seamseg score --per-image` for the same images with
annotation. Prints Spearman's rank correlation of the expected error and of 1 - PQ: 1 if both give the same order, and 0
if they are unrelated; and the mean PQ of the first quarter of the ranking and of all images.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def main(ranking: Path, images: Path) -> None:
    """Print the correlations.

    Args:
        ranking: Ranking of the images.
        images: Table with the columns ``file_name`` and ``pq``; images are matched by name without suffix.
    """
    with images.open(newline="") as file:
        quality = {Path(line["file_name"]).stem: float(line["pq"]) for line in csv.DictReader(file) if line["pq"]}
    entries = [one for one in json.loads(ranking.read_text()) if Path(one["file_name"]).stem in quality]
    if len(entries) < 2:
        sys.exit(f"{ranking} and {images} have fewer than two images in common")
    pq = [quality[Path(one["file_name"]).stem] for one in entries]
    for key in ("expected_error", "pixels", "things"):
        if entries[0][key] is not None:
            print(f"{key}: rank correlation {spearman([one[key] for one in entries], [1 - value for value in pq]):.2f}")
    first = len(entries) // 4
    print(f"mean PQ {100 * np.mean(pq[:first]):.1f} of the first {first} images, {100 * np.mean(pq):.1f} of {len(pq)}")


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's rank correlation, the correlation of the ranks; equal values share their mean rank."""
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    _, groups, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[groups], np.float64)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
