"""``seamseg test-classifier``: score a classification network on an image folder."""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from seamseg.builders.classifier import build_test_loader
from seamseg.builders.classifier_model import LoadedClassifier, open_classifier
from seamseg.cli.arguments import add_device, add_json
from seamseg.cli.output import UNREADABLE, counted
from seamseg.config import ClassifierExperiment, known_configs, load_settings, settings_file
from seamseg.config.load import CLASSIFIER
from seamseg.data.image_folder import ImageFolder, open_image_folder
from seamseg.data.random_crops import CenterCrop
from seamseg.engine.classification import evaluate_classifier
from seamseg.engine.evaluate import left_out, unreadable
from seamseg.errors import BrokenImageError, DataError, SettingsError
from seamseg.io.files import write_text
from seamseg.io.progress import progress_bar
from seamseg.metrics.accuracy import Accuracy
from seamseg.metrics.scores import percent
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.distributed import started


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "test-classifier",
        help="score a classification network on an image folder",
        description="Compute the top-1 and top-5 accuracy of a classification network on a folder with one folder of "
        "images per class. Images that cannot be read are skipped and listed in the JSON file, and the exit code is 3.",
    )
    subcommand.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="run folder, file such as model.safetensors, or published ImageNet weights (which require --config)",
    )
    subcommand.add_argument("data", type=Path, metavar="DATA", help="folder that contains SPLIT/CLASS/image.jpg")
    subcommand.add_argument("--split", default="val", metavar="NAME", help="folder of the split (default: val)")
    subcommand.add_argument(
        "--config",
        metavar="CONFIG",
        help="settings of the network that gets the weights, as a YAML file or one of "
        f"{', '.join(known_configs(CLASSIFIER))} (default: those in MODEL)",
    )
    subcommand.add_argument(
        "--crop", type=int, metavar="PIXELS", help="side of the crops (default: that of the validation in training)"
    )
    subcommand.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="shorter side of an image before cropping (default: as in training, in proportion to the crop)",
    )
    subcommand.add_argument(
        "--crops",
        type=int,
        choices=(1, 10),
        default=1,
        help="number of crops per image: the center (1, the default), or center, corners and their mirror images (10)",
    )
    add_json(subcommand, "accuracy")
    add_device(subcommand)
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    keep_freed_memory()
    config = options.config and load_settings(ClassifierExperiment, settings_file(options.config, CLASSIFIER))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
    with started(options.device) as process:
        model = open_classifier(options.model, config, process.device)
        crop, size = crop_and_size(options.crop, options.size, model.experiment)
        source = matching_folder(model, options)
        broken: list[BrokenImageError] = []
        center = CenterCrop(size, crop if options.crops == 1 else None)
        loader = build_test_loader(model.experiment.data, source, process, center, broken.append)
        if process.is_first and model.report:
            print(model.report, file=sys.stderr)
        share, seen = math.ceil(len(source) / process.world_size), 0
        with progress_bar("testing", share, shown=process.is_first) as advance:

            def count(batch: Any, logits: Any) -> None:
                nonlocal seen
                seen += len(batch)
                advance(seen, "")

            accuracy = evaluate_classifier(
                model.network, loader, process.device, crop if options.crops == 10 else None, on_batch=count
            )
        errors = left_out(broken, accuracy.images)
        accuracy = replace(accuracy, unreadable=tuple(unreadable(error, options.data) for error in errors))
        if process.is_first:
            report(accuracy, f"{counted(options.crops, 'crop')} of {crop} pixels from a shorter side of {size}")
            if options.json:
                write_text(options.json, accuracy.to_json())
    return UNREADABLE if errors else 0


def crop_and_size(crop: int | None, size: int | None, experiment: ClassifierExperiment) -> tuple[int, int]:
    """Return the side of the crops and the shorter side of the scaled images, in pixels.

    Args:
        crop: Given side of the crops; None uses that of the settings.
        size: Given shorter side; None uses that of the settings, in proportion to the crop.
        experiment: Settings of the model.

    Raises:
        SeamsegError: The crop does not fit into the scaled image, or is not positive.
    """
    data = experiment.data
    crop = data.crop if crop is None else crop
    size = round(crop * data.resize / data.crop) if size is None else size
    if not 1 <= crop <= size:
        raise SettingsError(
            f"a crop of {crop} pixels does not fit into images with a shorter side of {size}; raise --size"
        )
    return crop, size


def matching_folder(model: LoadedClassifier, options: argparse.Namespace) -> ImageFolder:
    """Open the images to score, with the class numbers of the model.

    Raises:
        SeamsegError: The folder has a class that the model lacks, or, if the names of the model's classes are unknown,
            another number of classes.
    """
    source = open_image_folder(options.data, options.split, model.classes)
    if len(source.classes) != model.num_classes:
        raise DataError(
            f"{options.model} has {model.num_classes} classes without names, which are matched with the folders in "
            f"alphabetical order, but {source.folder} has {len(source.classes)} folders; pass the data set that the "
            "model was trained on"
        )
    return source


def report(accuracy: Accuracy, crops: str) -> None:
    """Print the accuracy and the images that were skipped."""
    for image in accuracy.unreadable:
        print(f"skipped: {image.error}", file=sys.stderr)
    print(f"{counted(accuracy.images, 'image')}, {crops}")
    print(f"top-1 {percent(accuracy.top1, 2)} %")
    print(f"top-5 {percent(accuracy.top5, 2)} %")
    if accuracy.unreadable:
        print(
            f"{counted(len(accuracy.unreadable), 'image')} could not be read; the accuracy covers the others",
            file=sys.stderr,
        )
