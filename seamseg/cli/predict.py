"""``seamseg predict`` and its arguments."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2

from seamseg import __version__
from seamseg.builders import PredictionOptions, build_predictor, open_model
from seamseg.cli.output import UNREADABLE, counted
from seamseg.data.images import TWELVE_BITS
from seamseg.errors import SettingsError
from seamseg.predict import Predictor
from seamseg.predict.folder_run import FolderOutcome, predict_images
from seamseg.predict.images import find_input_images, image_folder
from seamseg.predict.outputs import OUTPUT_KINDS, OutputKind
from seamseg.predict.pipeline import PredictionJob, fingerprint
from seamseg.predict.results_folder import ERRORS_FILE, Mode, ResultsFolder
from seamseg.predict.video_file import Video, is_video
from seamseg.predict.video_run import predict_video
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.distributed import Process, started
from seamseg.structures import Categories

DESCRIPTION = """\
Segments images, or the frames of a video. OUT receives what --write names:
overlay/ (pictures to look at), panoptic.json and panoptic/ (COCO panoptic format),
semantic/ (PNG, one class number per pixel, 255 void), instances.json (COCO results
of the objects before fusion), raw/ (NPZ). Everything is at the size of the
images, in their folder structure. Of a folder, hidden files, system leftovers
and files that are not images are left out and counted. Images that cannot be
read are left out and listed in errors.json; the exit code is then 3. torchrun starts
several processes that share the work."""


def add_arguments(subcommand: argparse.ArgumentParser) -> None:
    subcommand.add_argument(
        "model", type=Path, metavar="MODEL", help="a run folder, or a file such as model.safetensors"
    )
    subcommand.add_argument(
        "images", type=Path, metavar="IMAGES", help="an image, a folder (searched recursively), a .txt list or a video"
    )
    subcommand.add_argument("out", type=Path, metavar="OUT", help="folder of the results; made if needed")
    write = f"any of {','.join(OUTPUT_KINDS)} (default: overlay,panoptic)"
    subcommand.add_argument("--write", type=kinds, default=("overlay", "panoptic"), metavar="KIND,…", help=write)
    used = subcommand.add_mutually_exclusive_group()
    used.add_argument("--resume", action="store_true", help="go on where an earlier run with these options stopped")
    used.add_argument("--overwrite", action="store_true", help="begin anew, though OUT is not empty")
    subcommand.add_argument(
        "--device", help="cpu, cuda (each process its own GPU) or cuda:1; default: cuda where there is one"
    )
    subcommand.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="default: float32")
    subcommand.add_argument(
        "--batch-size", type=at_least_one, default=1, metavar="N", help="images of one size at a time"
    )
    subcommand.add_argument("--score-threshold", type=float, metavar="P", help="objects must be more probable")
    overlap = "an object goes if better ones hold more than this part of it"
    subcommand.add_argument("--overlap-threshold", type=float, metavar="P", help=overlap)
    area = "smaller stuff segments become void: pixels of the network's input, or below 1 a part of the image"
    subcommand.add_argument("--min-stuff-area", type=float, metavar="A", help=area)
    scales = "sizes in which the network sees an image, such as 0.75,1,1.25"
    subcommand.add_argument("--scales", type=numbers, default=(1.0,), metavar="S,…", help=scales)
    subcommand.add_argument("--flip", action="store_true", help="it also sees each image in the mirror")


def prediction_options(options: argparse.Namespace) -> PredictionOptions:
    """How to ask the network."""
    return PredictionOptions(
        precision=options.precision,
        score_threshold=options.score_threshold,
        overlap_threshold=options.overlap_threshold,
        min_stuff_area=options.min_stuff_area,
        scales=options.scales,
        flip=options.flip,
    )


def mode(options: argparse.Namespace) -> Mode:
    """What to do with a folder that is not empty."""
    return "resume" if options.resume else "overwrite" if options.overwrite else "new"


def kinds(text: str) -> tuple[OutputKind, ...]:
    """Kinds of output, each once, in the order of their list."""
    named = {word.strip() for word in text.split(",") if word.strip()}
    unknown = sorted(named - set(OUTPUT_KINDS))
    if unknown or not named:
        said = f"{', '.join(unknown) or 'nothing'} cannot be written"
        raise argparse.ArgumentTypeError(f"{said}; name some of {', '.join(OUTPUT_KINDS)}")
    return tuple(kind for kind in OUTPUT_KINDS if kind in named)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0.75,1,1.25") from None


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def as_info(options: argparse.Namespace) -> dict[str, Any]:
    """The options that a reader of the results may want to know."""
    given = vars(prediction_options(options)) | {"model": str(options.model)}
    return {key: value for key, value in given.items() if value is not None}


PATIENCE = timedelta(days=7)
"""Between the first process that has done its share of the images and the last one: shares differ, and are long."""

_NEARLY_ALL = 0.99  # of a video's frames: some kinds of file tell their number by length and rate


def add_parser(subcommands: Any) -> None:
    """Adds the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "predict",
        help="segment images or a video",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(subcommand)
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    keep_freed_memory()
    cv2.setNumThreads(1)  # reading and writing have threads of their own; more would take the cores from the network
    video = Video.open(options.images) if is_video(options.images) else None
    left_out: list[str] = []
    input_images = [] if video else find_input_images(options.images, options.out, left_out.append)
    with started(options.device, PATIENCE) as process:
        model = open_model(options.model, process.device)
        predictor = build_predictor(model, process.device, prediction_options(options))
        folder = results_folder(options, predictor, model.categories, process, video)
        info = {"description": f"made by seamseg {__version__} predict"} | as_info(options)
        info["image_folder"] = str(image_folder(options.images, [one.path for one in input_images]))
        job = PredictionJob(predictor, folder, mode(options), info, options.batch_size)
        if video is not None:
            return segment_video(job, video, process, options.out)
        outcome = predict_images(job, input_images, process)
    if process.is_first:
        report(outcome, options.out, left_out)
    return UNREADABLE if outcome.unreadable else 0


def results_folder(
    options: argparse.Namespace, predictor: Predictor, categories: Categories, process: Process, video: Video | None
) -> ResultsFolder:
    """The folder as this rank sees it."""
    word = fingerprint(predictor, categories, options.write, video.path if video else None)
    return ResultsFolder(options.out, options.write, categories, word, process.rank)


def segment_video(job: PredictionJob, video: Video, process: Process, out: Path) -> int:
    """Segments a video."""
    if process.world_size > 1:
        raise SettingsError("a video is segmented by one process; leave out torchrun")
    outcome = predict_video(job, video)
    print(f"{counted(outcome.num_frames, 'frame')} segmented{kept(outcome.num_kept)}: {out}")
    if outcome.num_frames >= _NEARLY_ALL * video.num_frames:
        return 0
    said = f"{video.path} says that it has {counted(video.num_frames, 'frame')}, of which {outcome.num_frames:,}"
    print(f"{said} can be decoded: it is truncated or damaged", file=sys.stderr)
    return UNREADABLE


def report(outcome: FolderOutcome, out: Path, left_out: list[str]) -> None:
    """Says what was done and what was left out."""
    for sentence in left_out:
        print(sentence, file=sys.stderr)
    for one in outcome.unreadable:
        print(f"left out: {one.error}", file=sys.stderr)
    if outcome.dark:
        print(
            f"{counted(len(outcome.dark), 'image')} of 16 bits with values below {TWELVE_BITS}, such as "
            f"{outcome.dark[0]}: nearly black as read; multiply the values of such files by 16",
            file=sys.stderr,
        )
    print(f"{counted(outcome.num_segmented, 'image')} segmented{kept(outcome.num_kept)}: {out}")
    if outcome.unreadable:
        print(f"{counted(len(outcome.unreadable), 'image')} cannot be read: {out / ERRORS_FILE}", file=sys.stderr)


def kept(number: int) -> str:
    """A remark on what earlier runs had done."""
    return f" ({number} of them before)" if number else ""
