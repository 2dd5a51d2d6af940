"""Compare a ranking of images with their true errors.

python scripts/rank_correlation.py RANKING.json GT.json PRED.json

RANKING.json is written by `seamseg rank`, GT.json is the annotation of the same images, and PRED.json is written by
`seamseg predict --write panoptic`. Prints Spearman's rank correlation of each expected error with the true one: 1 if
both give the same order, 0 if they are unrelated; and both true errors of the first quarter of the ranking.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seamseg.data.formats.coco_json import open_annotation, open_results
from seamseg.score.files import read_segmentation, score_files
from seamseg.score.pairing import pair_results
from seamseg.structures import VOID

TRUE = {"expected_error": "1 - PQ", "pixels": "wrong pixels", "things": "1 - RQ of things"}
"""Name of the true error for each expected one."""


def main(ranking: Path, truth_file: Path, results_file: Path) -> None:
    """Print the correlations.

    Args:
        ranking: Ranking of the images.
        truth_file: Annotation; images are matched by name without folder and suffix.
        results_file: Results for all annotated images.
    """
    true = true_errors(truth_file, results_file)
    entries = [one for one in json.loads(ranking.read_text()) if Path(one["file_name"]).stem in true]
    if len(entries) < 2:
        sys.exit(f"{ranking} and {truth_file} have fewer than two images in common")
    for key, name in TRUE.items():
        if entries[0][key] is not None:
            errors = [true[Path(one["file_name"]).stem][key] for one in entries]
            correlation = spearman([one[key] for one in entries], errors)
            order = np.argsort([-one[key] for one in entries], kind="stable")[: len(entries) // 4]
            first, whole = 100 * np.mean(np.array(errors)[order]), 100 * np.mean(errors)
            print(
                f"{key} and {name}: rank correlation {correlation:.2f}; first quarter {first:.1f} %, all {whole:.1f} %"
            )


def true_errors(truth_file: Path, results_file: Path) -> dict[str, dict[str, float]]:
    """Return the true errors of each annotated image, by its name without folder and suffix."""
    truth = open_annotation(truth_file, None)
    results = pair_results(open_results(results_file, None, truth.categories), truth)
    errors = {}
    for image in score_files(truth, results, boundary=False).scores.images:
        sides = [read_segmentation(files.images[image.image_id]).semantics for files in (truth, results)]
        counted = sides[0] != VOID
        _, tp, fp, fn = image.counts[:, image.classes >= truth.categories.num_stuff].sum(1).tolist()
        things = (fp + fn) / 2 / (tp + (fp + fn) / 2) if tp + fp + fn else 0.0
        pixels = float((sides[0] != sides[1])[counted].double().mean())
        name = truth.names.get(image.image_id) or str(image.image_id)
        errors[Path(name).stem] = {"expected_error": 1 - image.pq, "pixels": pixels, "things": things}
    return errors


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's rank correlation, the correlation of the ranks; equal values share their mean rank."""
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    _, groups, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[groups], np.float64)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
