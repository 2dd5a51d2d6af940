"""``seamseg evaluate``: score a model on annotated images."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from seamseg.algos.fusion import PanopticFusion, RenumberedFusion
from seamseg.builders import LoadedModel, build_evaluation_loader, open_model, open_split, with_eval_norm
from seamseg.cli.arguments import add_augmentation, add_compile, add_device, add_eval_norm, add_json, add_model
from seamseg.cli.object_tables import print_object_scores, write_object_analysis
from seamseg.cli.output import UNREADABLE, counted
from seamseg.cli.score_tables import (
    CALIBRATION_HELP,
    HELP,
    print_calibration,
    print_scores,
    print_semantic_scores,
    write_analysis,
    write_calibration,
    write_semantic_analysis,
)
from seamseg.data.formats.class_table import kind_notes
from seamseg.data.formats.open import FORMATS
from seamseg.engine.evaluate import EvaluationPass, evaluate, evaluate_objects, evaluate_semantics, left_out, unreadable
from seamseg.engine.gallery import SampleGallery, WorstGallery
from seamseg.errors import BrokenImageError, DataError
from seamseg.io.files import write_text
from seamseg.io.progress import progress_bar
from seamseg.metrics.analysis import NUM_WORST
from seamseg.metrics.objects import ObjectScores
from seamseg.metrics.scores import Scores
from seamseg.metrics.semantic import SemanticScores
from seamseg.modules.compilation import compile_network
from seamseg.predict.predictor import Augmentation, Predictor
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.distributed import started
from seamseg.structures import VOID, Categories
from seamseg.visualization.images import write_image

SHEET_ROWS = 4

AnyScores = Scores | ObjectScores | SemanticScores
Evaluation = Callable[[EvaluationPass], AnyScores]
"""Function such as :func:`seamseg.engine.evaluate.evaluate`."""


ONLY_THINGS = ("instance", "detection")
"""Tasks that have nothing to do with stuff."""
NOT_TRACED = "--analysis does not say where things were lost, because --flip and --scales merge several predictions"
ORDER = "the model lists its classes in a different order than {}; they are matched by name"


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "evaluate",
        help="score a model on annotated images",
        description="Score a model at the original size of the images: panoptic quality (PQ, SQ, RQ), mean IoU, and "
        "average precision of boxes and masks; for an instance or detection model, all figures of COCO's evaluation; "
        "or, for a semantic model, mean IoU and accuracy. The classes of the model and the data set are matched by "
        "name. Images that cannot be read are skipped and listed in the JSON file, and the exit code is 3.",
    )
    add_model(subcommand)
    subcommand.add_argument("--data", required=True, metavar="DATASET", help="data set folder (required)")
    subcommand.add_argument(
        "--split",
        required=True,
        metavar="NAME",
        help="split to score: its name or a unique prefix, such as val (required)",
    )
    subcommand.add_argument(
        "--format",
        choices=FORMATS,
        help="format of the data set (default: detected; if ambiguous, the one used in training)",
    )
    subcommand.add_argument("--limit", type=int, metavar="N", help="score only the first N images (default: all)")
    add_json(subcommand, "scores")
    subcommand.add_argument(
        "--sheet", type=Path, metavar="FILE", help="write a picture of the first images and their predictions"
    )
    subcommand.add_argument("--analysis", type=Path, metavar="FOLDER", help=HELP)
    subcommand.add_argument("--calibration", type=Path, metavar="FOLDER", help=CALIBRATION_HELP)
    add_augmentation(subcommand)
    add_eval_norm(subcommand)
    add_compile(subcommand)
    add_device(subcommand)
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    keep_freed_memory()
    for result in (options.json, options.sheet):
        if result:
            result.parent.mkdir(parents=True, exist_ok=True)
    with started(options.device) as process:
        model = with_eval_norm(open_model(options.model, process.device), options.eval_norm)
        if options.compile:
            compile_network(model.network, process.device)
        data = model.experiment.data
        split = open_split(
            options.data, options.split, options.limit, options.format, data.format, model.experiment.task
        )
        model = replace(model, fusion=replace(model.fusion, confidence=options.calibration is not None))
        fusion, notes = matched_fusion(model, split.categories, options.data)
        broken: list[BrokenImageError] = []
        predictor = augmented_predictor(model, fusion, process.device, options)
        loader = build_evaluation_loader(model.experiment, split, process, broken.append, predictor is not None)
        score, categories, measure = scoring(model, split.categories)
        album = SampleGallery(categories, data.mean, data.std, SHEET_ROWS, measure)
        worst = WorstGallery(categories, data.mean, data.std, NUM_WORST if options.analysis else 0, measure)
        share = math.ceil(len(split) / process.world_size)
        with progress_bar("evaluating", share, shown=process.is_first) as advance:
            watchers = [album.add, worst.add, lambda scored: advance(scored.number, "")]
            trace_above = fusion.score_threshold if options.analysis and predictor is None else None
            if options.analysis and predictor is not None and model.experiment.task == "panoptic":
                notes = [*notes, NOT_TRACED]
            given = EvaluationPass(
                model.network, loader, fusion, categories, process.device, watchers, predictor, trace_above
            )
            scores = score(replace(given, calibrate=options.calibration is not None))
        errors = left_out(broken, scores.num_images)
        scores = replace(scores, unreadable=tuple(unreadable(error, Path(options.data)) for error in errors))
        worst.over_ranks()
        if process.is_first:
            try:
                write_files(scores, album, worst, options)
            finally:  # do not lose the scores if a file cannot be written
                report(scores, notes)
    return UNREADABLE if scores.unreadable else 0


def scoring(model: LoadedModel, categories: Categories) -> tuple[Evaluation, Categories, str]:
    """Return how a model is scored: the function, the classes of the data set, and the name of an image's quality."""
    task = model.experiment.task
    if task == "semantic":
        return evaluate_semantics, categories.as_stuff(), "mIoU"
    if task in ONLY_THINGS:
        threshold = model.fusion.score_threshold
        evaluation = partial(evaluate_objects, has_masks=task == "instance", score_threshold=threshold)
        return evaluation, categories, "F1"
    return evaluate, categories, "PQ"


def augmented_predictor(
    model: LoadedModel, fusion: PanopticFusion | RenumberedFusion, device: torch.device, options: argparse.Namespace
) -> Predictor | None:
    """Return the predictor with the test-time augmentation of the options, or None if they request none."""
    augmentation = Augmentation(options.scales, options.flip, options.merge)
    predictor = Predictor(model.network, model.transform, fusion, device, augmentation)
    return None if augmentation.is_single else predictor


def matched_fusion(
    model: LoadedModel, found: Categories, data: str
) -> tuple[PanopticFusion | RenumberedFusion, list[str]]:
    """Match the classes of a model and a data set by name.

    Args:
        model: Model to score.
        found: Categories of the data set.
        data: Data set folder, for error messages.

    Returns:
        A fusion whose output uses the class numbers of the data set, and one sentence for each difference.

    Raises:
        SeamsegError: The model or the data set has a class that the other one lacks.
    """
    known = model.categories
    only_things = model.experiment.task in ONLY_THINGS
    ours, theirs = (set(one.names[one.num_stuff if only_things else 0 :]) for one in (known, found))
    differing = [
        f"{owner}: {', '.join(sorted(names)[:5])}"
        for owner, names in (("only the model has", ours - theirs), ("only the data set has", theirs - ours))
        if names
    ]
    if differing:
        kind = "things" if only_things else "classes"
        raise DataError(f"the model and the data set {data} have different {kind}; {'; '.join(differing)}")
    numbers = tuple(found.names.index(name) if name in ours else VOID for name in known.names)
    if numbers == tuple(range(len(known))) and known.num_stuff == found.num_stuff:
        return model.fusion, []
    fusion = RenumberedFusion(model.fusion, numbers, found.num_stuff)
    if only_things:
        same = known.names[known.num_stuff :] == found.names[found.num_stuff :]
        return fusion, [] if same else [ORDER.format(data)]
    kinds = {number: category.is_thing for number, category in zip(numbers, known.classes, strict=True)}
    notes = [] if model.experiment.task == "semantic" else kind_notes(kinds, found)  # there, things are like stuff
    return fusion, notes or [ORDER.format(data)]


def write_files(scores: AnyScores, album: SampleGallery, worst: WorstGallery, options: argparse.Namespace) -> None:
    """Write the scores, the picture, calibration and analysis, as far as the options request them."""
    if options.json:
        write_text(options.json, scores.to_json())
    if options.sheet:
        write_image(options.sheet, album.sheet())
    if options.calibration and scores.calibration is not None:
        write_calibration(options.calibration, scores.calibration)
    if options.analysis:
        picture = worst.sheet() if worst.rows else None
        if isinstance(scores, SemanticScores):
            write_semantic_analysis(options.analysis, scores, picture)
        elif isinstance(scores, ObjectScores):
            write_object_analysis(options.analysis, scores, picture)
        else:
            write_analysis(options.analysis, scores, worst=picture)


def report(scores: AnyScores, notes: list[str]) -> None:
    """Print the scores, the differences between model and data set, and the images that were skipped."""
    for note in notes:
        print(note, file=sys.stderr)
    for image in scores.unreadable:
        print(f"skipped: {image.error}", file=sys.stderr)
    if isinstance(scores, SemanticScores):
        print_semantic_scores(scores)
    elif isinstance(scores, ObjectScores):
        print_object_scores(scores)
    else:
        print_scores(scores)
    if scores.calibration is not None:
        print_calibration(scores.calibration)
    if scores.unreadable:
        print(
            f"{counted(len(scores.unreadable), 'image')} could not be read; the scores cover the others",
            file=sys.stderr,
        )
