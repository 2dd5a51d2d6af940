"""``seamseg evaluate``: scores a model."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from seamseg.builders import build_evaluation_loader, load_model, open_split
from seamseg.cli.analysis_folder import HELP, write_analysis
from seamseg.cli.score_table import print_scores
from seamseg.data.formats import FORMATS
from seamseg.data.images import BrokenImageError
from seamseg.evaluate import evaluate
from seamseg.metrics.analysis import NUM_WORST
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.distributed import started
from seamseg.runtime.files import write_text
from seamseg.runtime.progress import progress_bar
from seamseg.show.album import Album, WorstAlbum
from seamseg.structures import Categories
from seamseg.visualization.images import write_image

SHEET_ROWS = 4


def add_parser(verbs: Any) -> None:
    """Adds the verb and its arguments."""
    verb = verbs.add_parser(
        "evaluate",
        help="score a model on annotated images",
        description="Scores a model at the original size of the images: panoptic quality (PQ, SQ, RQ), mean IoU, and "
        "average precision of boxes and masks.",
    )
    verb.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="a run folder, a model folder, a file such as model.safetensors, or a published seamseg archive (.zip)",
    )
    verb.add_argument("--data", required=True, metavar="DATASET", help="folder of the data set")
    verb.add_argument("--split", required=True, help="such as val, or another unmistakable beginning of its name")
    verb.add_argument("--format", choices=FORMATS, help="of the data set; default: recognised, or as in training")
    verb.add_argument("--limit", type=int, help="only this many images, the first of the split")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write the scores there, as fractions of 1")
    verb.add_argument("--sheet", type=Path, metavar="FILE", help="write a picture of the first images there")
    verb.add_argument("--analysis", type=Path, metavar="FOLDER", help=HELP)
    verb.add_argument("--device", help="such as cpu or cuda:1; default: CUDA where there is one")
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    keep_freed_memory()
    for result in (options.json, options.sheet):
        if result:
            result.parent.mkdir(parents=True, exist_ok=True)
    with started(options.device) as process:
        model = load_model(options.model, process.device)
        trained_with = model.experiment.data.format
        split = open_split(options.data, options.split, options.limit, options.format, trained_with)
        check_categories(model.categories, split.categories, options.data)
        broken: list[BrokenImageError] = []
        loader = build_evaluation_loader(model.experiment, split, process, broken.append)
        album = Album(model.categories, model.experiment.data.mean, model.experiment.data.std, limit=SHEET_ROWS)
        worst = WorstAlbum(
            model.categories,
            model.experiment.data.mean,
            model.experiment.data.std,
            NUM_WORST if options.analysis else 0,
        )
        share = math.ceil(len(split) / process.world_size)
        with progress_bar("evaluating", share, shown=process.is_first) as advance:
            watchers = [album.add, worst.add, lambda scored: advance(scored.number, "")]
            scores = evaluate(model.network, loader, model.fusion, model.categories, process.device, watchers)
        worst.over_ranks()
        for error in broken:
            print(f"left out: {error}", file=sys.stderr)
        if process.is_first:
            print_scores(scores)
            if options.json:
                write_text(options.json, scores.to_json())
            if options.sheet:
                write_image(options.sheet, album.sheet())
            if options.analysis:
                write_analysis(options.analysis, scores, worst=worst.sheet() if worst.rows else None)
    return 0


def check_categories(known: Categories, found: Categories, data: str) -> None:
    """Whether a model and a data set speak of the same classes.

    Raises:
        ValueError: they don't.
    """
    if known.names != found.names:
        missing = sorted(set(found.names) ^ set(known.names))
        raise ValueError(
            f"the model knows other classes than the data set {data}, such as {', '.join(missing[:5]) or 'their order'}"
        )
