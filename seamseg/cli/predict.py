"""``seamseg predict``: segments photographs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from seamseg.build import load_model
from seamseg.data.coco_writer import CocoPanopticWriter
from seamseg.data.images import BrokenImageError, find_images
from seamseg.predict import Predictor
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.distributed import started
from seamseg.runtime.progress import progress_bar
from seamseg.visualization.images import write_image
from seamseg.visualization.overlay import draw_overlay


def add_parser(verbs: Any) -> None:
    """Adds the verb and its arguments."""
    verb = verbs.add_parser(
        "predict",
        help="segment photographs",
        description="Segments photographs. OUT receives overlay/ (pictures to look at), panoptic.json and panoptic/ "
        "(COCO panoptic format, at the size of the photographs). Files that cannot be read are reported and left out.",
    )
    verb.add_argument("model", type=Path, metavar="MODEL", help="a run folder, or a file such as model.safetensors")
    verb.add_argument(
        "images", type=Path, metavar="IMAGES", help="an image, a folder (searched recursively) or a .txt list"
    )
    verb.add_argument("out", type=Path, metavar="OUT", help="folder of the results; made if needed")
    verb.add_argument("--device", help="such as cpu or cuda:1; default: CUDA where there is one")
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    keep_freed_memory()
    paths = list(dict.fromkeys(find_images(options.images)))
    names = output_names(paths, options.images)
    broken: list[BrokenImageError] = []
    with started(options.device) as process:
        model = load_model(options.model, process.device)
        writer = CocoPanopticWriter(options.out, model.categories)
        predictor = Predictor(model.network, model.transform, model.fusion, process.device)
        with progress_bar("predicting", len(paths)) as advance:
            for number, predicted in enumerate(predictor.files(paths, broken.append), start=1):
                name = names[predicted.path]
                overlay = options.out / "overlay" / f"{name}.jpg"
                overlay.parent.mkdir(parents=True, exist_ok=True)
                write_image(overlay, draw_overlay(predicted.image, predicted.segmentation, model.categories))
                writer.add(name, photograph_name(predicted.path, options.images), predicted.segmentation)
                advance(number + len(broken), predicted.path.name)
        report(broken, len(paths), options.images)
        writer.close()
    print(f"{len(paths) - len(broken)} images segmented: {options.out}")
    return 0


def report(broken: list[BrokenImageError], num_images: int, given: Path) -> None:
    """Says which images are left out.

    Raises:
        ValueError: all of them are.
    """
    if len(broken) == num_images == 1:
        raise broken[0]
    for error in broken:
        print(f"left out: {error}", file=sys.stderr)
    if len(broken) == num_images:
        raise ValueError(f"none of the {num_images} images in {given} can be read")


def photograph_name(path: Path, given: Path) -> str:
    """How the results call an image: its path below the given folder, or below that of the given list."""
    root = given if given.is_dir() else given.parent
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def output_names(paths: list[Path], given: Path) -> dict[Path, str]:
    """The name of every image's results: its path below the given folder without suffix, made unique.

    Files of one name with different suffixes, or of different folders of a list, get a number.
    """
    root = given if given.is_dir() else None
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        stem = path.relative_to(root).with_suffix("").as_posix() if root else path.stem
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        names[path] = name
    return names
