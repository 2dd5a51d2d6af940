"""``seamseg predict``: segment images or a video, or detect objects in them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2

from seamseg import __version__
from seamseg.algos.tracking import require_scipy
from seamseg.builders import LoadedModel, PredictionOptions, build_predictor, open_model
from seamseg.cli.arguments import (
    add_augmentation,
    add_compile,
    add_device,
    add_eval_norm,
    add_model,
    add_out,
    add_overwrite,
    add_tiles,
    at_least_one,
    at_least_zero,
)
from seamseg.cli.output import UNREADABLE, counted
from seamseg.data.images import TWELVE_BITS
from seamseg.errors import SettingsError
from seamseg.export.hub_models import model_name
from seamseg.predict import Predictor
from seamseg.predict.folder_run import FolderOutcome, predict_images
from seamseg.predict.images import find_frames, find_input_images, image_folder
from seamseg.predict.outputs import OUTPUT_KINDS, OutputKind
from seamseg.predict.pipeline import PredictionJob, fingerprint
from seamseg.predict.results_folder import ERRORS_FILE, Mode, ResultsFolder
from seamseg.predict.video_file import Video, is_video
from seamseg.predict.video_run import predict_video
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.distributed import Process, started
from seamseg.structures import Categories

DESCRIPTION = """\
Segment images or the frames of a video or, with a detection model, detect the
objects in them. --write selects the outputs in OUT:

  overlay      overlay/: pictures with the segments or objects drawn over the image
  panoptic     panoptic.json and panoptic/: results in COCO panoptic format
  semantic     semantic/: PNGs with one class number per pixel, 255 for void
  instances    instances.json: objects before fusion, as COCO results
  raw          raw/: segments, objects and semantic logits as arrays (NPZ)
  labelstudio  labelstudio.json: tasks with predictions, to correct in Label Studio
  cvat         cvat.json: COCO annotations, to correct in CVAT
  confidence   confidence/: 16-bit PNGs with the confidence of every pixel, 0 to 65535
  ranking      ranking.json: expected error of each image; see `seamseg rank`
  step         step/: PNGs of KITTI-STEP with class and instance id (with --track)

With --track, things keep their ids over the frames of a video, or of a folder of
frames (one folder per clip): panoptic.json is in VIPSeg's layout.

All results have the size of the images and keep their folder structure. Hidden
files, system files and files that are not images are skipped and counted. Images
that cannot be read are skipped and listed in OUT/errors.json, and the exit code
is 3. To share the work among several processes, start the command with torchrun."""

DEFAULT_KINDS: Mapping[str, tuple[OutputKind, ...]] = {
    "panoptic": ("overlay", "panoptic"),
    "instance": ("overlay", "instances"),
    "detection": ("overlay", "instances"),
    "semantic": ("overlay", "semantic"),
}
"""Outputs by task of the model, if ``--write`` is not given."""

MISSING_KINDS: Mapping[str, tuple[OutputKind, ...]] = {
    "panoptic": (),
    "instance": ("panoptic", "semantic", "confidence", "step"),
    "detection": ("panoptic", "semantic", "labelstudio", "cvat", "confidence", "step"),
    "semantic": ("panoptic", "instances", "step"),
}
"""Outputs that a model does not have, by its task."""

UNTILED_KINDS: tuple[OutputKind, ...] = ("raw", "confidence", "ranking")
"""Outputs that need the class scores of a whole image."""

TRACKED_KINDS: tuple[OutputKind, ...] = ("overlay", "panoptic", "semantic", "raw", "step")
"""Outputs of segments, which have constant ids with ``--track``."""

TRACK_GAP = 10
"""Default of ``--track-gap``."""

EPILOG = """\
examples:
  seamseg predict runs/vistas_r50 images/ results/
  seamseg predict model.safetensors street.mp4 results/ --write overlay
  seamseg predict runs/vistas_r50 street.mp4 results/ --track
  seamseg predict MODEL scan.tif results/ --tile 1024 --overlap 256
  torchrun --nproc-per-node 8 -m seamseg predict MODEL IMAGES OUT"""


def add_arguments(subcommand: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_model(subcommand)
    subcommand.add_argument(
        "images",
        type=Path,
        metavar="IMAGES",
        help="image, folder (searched recursively), .txt list of images, or video",
    )
    add_out(subcommand, "output folder; created if missing")
    write = (
        f"outputs to write, any of {','.join(OUTPUT_KINDS)} (default: overlay,panoptic; for an instance or detection "
        "model overlay,instances; for a semantic model overlay,semantic)"
    )
    subcommand.add_argument("--write", type=kinds, metavar="KIND,…", help=write)
    used = subcommand.add_mutually_exclusive_group()
    used.add_argument("--resume", action="store_true", help="continue an interrupted run with the same options")
    add_overwrite(used, "overwrite existing results in OUT")
    add_device(subcommand)
    add_batch_size(subcommand)
    add_track_arguments(subcommand)
    add_tiles(subcommand)
    add_prediction_arguments(subcommand)


def add_batch_size(subcommand: argparse.ArgumentParser) -> None:
    """Add ``--batch-size``."""
    subcommand.add_argument(
        "--batch-size",
        type=at_least_one,
        default=1,
        metavar="N",
        help="number of images of the same size, or of tiles of an image, to process at once (default: 1)",
    )


def add_track_arguments(subcommand: argparse.ArgumentParser) -> None:
    """Add the arguments that give things constant ids over the frames of a video."""
    track = "give things constant ids over the frames of a video or of each folder of frames (panoptic models)"
    subcommand.add_argument("--track", action="store_true", help=track)
    gap = f"keep the id of a thing that is hidden for up to N consecutive frames (with --track; default: {TRACK_GAP})"
    subcommand.add_argument("--track-gap", type=at_least_zero, metavar="N", help=gap)


def track_gap(options: argparse.Namespace) -> int | None:
    """Return how many frames a hidden thing keeps its id; None without ``--track``.

    Raises:
        SeamsegError: ``--track-gap`` or an output requires ``--track``, or an output does not go with it.
    """
    write = options.write or ()
    if not options.track:
        needs = "--track-gap" if options.track_gap is not None else "--write step" if "step" in write else None
        if needs:
            raise SettingsError(f"{needs} requires --track")
        return None
    if unfit := [kind for kind in write if kind not in TRACKED_KINDS]:
        raise SettingsError(
            f"--write {','.join(unfit)} is not possible with --track; choose from {', '.join(TRACKED_KINDS)}"
        )
    return TRACK_GAP if options.track_gap is None else int(options.track_gap)


def check_tracking(model: LoadedModel, process: Process) -> None:
    """Check that things can be tracked.

    Raises:
        SeamsegError: The model is not panoptic, there are several processes, or scipy is not installed.
    """
    require_scipy()
    if model.experiment.task != "panoptic":
        raise SettingsError(f"--track requires a panoptic model, but {model.experiment.task} is the task of this one")
    if process.world_size > 1:
        raise SettingsError("--track needs the frames in order in one process; run the command without torchrun")


def add_prediction_arguments(subcommand: argparse.ArgumentParser) -> None:
    """Add the arguments that affect the prediction; see :func:`prediction_options`."""
    subcommand.add_argument(
        "--precision",
        choices=("auto", "float32", "bf16"),
        default="auto",
        help="number format of the network; bf16 is slightly less accurate, and faster on devices with instructions "
        "for it, where it is the default; `seamseg env` prints the choice (default: auto)",
    )
    score = "minimum score of an object in segments and overlays, 0 to 1 (default: from the model)"
    subcommand.add_argument("--score-threshold", type=float, metavar="P", help=score)
    overlap = "drop an object if higher-scoring ones cover more than this fraction of it (default: from the model)"
    subcommand.add_argument("--overlap-threshold", type=float, metavar="P", help=overlap)
    area = (
        "minimum area of a stuff segment, in pixels of the network's input or, if below 1, as a fraction of the image; "
        "smaller segments become void (default: from the model)"
    )
    subcommand.add_argument("--min-stuff-area", type=float, metavar="A", help=area)
    add_augmentation(subcommand)
    add_eval_norm(subcommand)
    add_compile(subcommand)


def prediction_options(options: argparse.Namespace) -> PredictionOptions:
    """Collect the options that affect the prediction."""
    return PredictionOptions(
        precision=options.precision,
        score_threshold=options.score_threshold,
        overlap_threshold=options.overlap_threshold,
        min_stuff_area=options.min_stuff_area,
        scales=options.scales,
        flip=options.flip,
        merge=options.merge,
        eval_norm=options.eval_norm,
        compile=options.compile,
        tile=options.tile,
        overlap=options.overlap,
    )


def all_options(options: argparse.Namespace, model: LoadedModel) -> PredictionOptions:
    """Return the options that affect the prediction, with confidence if the outputs need it."""
    needs_confidence = {"confidence", "ranking"} & set(options.write)
    has_confidence = "confidence" not in MISSING_KINDS[model.experiment.task]
    return replace(prediction_options(options), confidence=bool(needs_confidence) and has_confidence)


def mode(options: argparse.Namespace) -> Mode:
    """Return how to treat an output folder that is not empty."""
    return "resume" if options.resume else "overwrite" if options.overwrite else "new"


def kinds(text: str) -> tuple[OutputKind, ...]:
    """Parse a comma-separated list of output kinds; duplicates are removed and the order is that of OUTPUT_KINDS."""
    named = {word.strip() for word in text.split(",") if word.strip()}
    unknown = sorted(named - set(OUTPUT_KINDS))
    if unknown or not named:
        problem = f"unknown output: {', '.join(unknown)}" if unknown else "no output is named"
        raise argparse.ArgumentTypeError(f"{problem}; choose from {', '.join(OUTPUT_KINDS)}")
    return tuple(kind for kind in OUTPUT_KINDS if kind in named)


def check_kinds(write: Sequence[OutputKind], model: LoadedModel) -> None:
    """Check that a model has the outputs to write.

    Raises:
        SeamsegError: The task of the model has no such output.
    """
    task = model.experiment.task
    missing = [kind for kind in write if kind in MISSING_KINDS[task]]
    if missing:
        article = "an" if task == "instance" else "a"
        raise SettingsError(
            f"--write {','.join(missing)}: {article} {task} model has no such output; choose from "
            f"{', '.join(kind for kind in OUTPUT_KINDS if kind not in MISSING_KINDS[task])}"
        )


def check_video_kinds(write: Sequence[OutputKind], path: Path) -> None:
    """Check that outputs can be written for the frames of a video.

    Raises:
        SeamsegError: A labeling tool would not find the frames.
    """
    if unfit := [kind for kind in write if kind in ("labelstudio", "cvat")]:
        raise SettingsError(f"--write {','.join(unfit)} needs image files; extract the frames of {path} first")


def check_tile_kinds(given: argparse.Namespace, options: PredictionOptions) -> None:
    """Check that outputs can be written for images that are predicted in tiles.

    Raises:
        SeamsegError: An output needs the class scores of a whole image, or things are to be tracked.
    """
    if options.tile is None:
        return
    if unfit := [kind for kind in given.write if kind in UNTILED_KINDS]:
        raise SettingsError(
            f"--write {','.join(unfit)} and --tile exclude each other: the class scores of a large image are never in "
            "memory at once; choose other outputs, such as panoptic or instances"
        )
    if given.track:
        raise SettingsError("--track and --tile exclude each other; track the things of whole frames")


def as_info(options: argparse.Namespace, predictor: Predictor) -> dict[str, Any]:
    """Return the options to record in the results."""
    given = vars(prediction_options(options)) | {
        "model": model_name(options.model),
        "precision": predictor.precision,
    }
    del given["confidence"]  # follows from the outputs
    return {key: value for key, value in given.items() if value is not None}


PATIENCE = timedelta(days=7)
"""Maximum time that ranks wait for each other at the end, because their shares of the images take different times."""

_NEARLY_ALL = 0.99  # some video containers only estimate their number of frames from duration and rate


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "predict",
        help="segment images or a video, or detect objects in them",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(subcommand)
    subcommand.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    keep_freed_memory()
    cv2.setNumThreads(1)  # reading and writing run in their own threads; OpenCV's would take cores from the network
    video = Video.open(options.images) if is_video(options.images) else None
    if video is not None:
        check_video_kinds(options.write or (), video.path)
    gap, left_out = track_gap(options), list[str]()
    find = find_input_images if gap is None else find_frames
    input_images = [] if video else find(options.images, options.out, left_out.append)
    with started(options.device, PATIENCE) as process:
        model = open_model(options.model, process.device)
        options.write = options.write or DEFAULT_KINDS[model.experiment.task]
        check_kinds(options.write, model)
        if gap is not None:
            check_tracking(model, process)
        chosen = all_options(options, model)
        check_tile_kinds(options, chosen)
        predictor = build_predictor(model, process.device, chosen)
        folder = results_folder(options, predictor, model.output_categories, process, video, gap)
        info = {"description": f"made by seamseg {__version__} predict"} | as_info(options, predictor)
        info["image_folder"] = str(image_folder(options.images, [one.path for one in input_images]))
        job = PredictionJob(predictor, folder, mode(options), info, options.batch_size, gap)
        if video is not None:
            return run_video(job, video, process, options.out, model.experiment.task)
        outcome = predict_images(job, input_images, process)
    if process.is_first:
        report(outcome, options.out, left_out, model.experiment.task)
    return UNREADABLE if outcome.unreadable else 0


def results_folder(
    options: argparse.Namespace,
    predictor: Predictor,
    categories: Categories,
    process: Process,
    video: Video | None,
    gap: int | None,
) -> ResultsFolder:
    """Create the results folder of this rank."""
    word = fingerprint(predictor, categories, options.write, video.path if video else None, gap)
    return ResultsFolder(options.out, options.write, categories, word, process.rank, gap is not None)


def run_video(job: PredictionJob, video: Video, process: Process, out: Path, task: str) -> int:
    """Predict on a video and return the exit code."""
    if process.world_size > 1:
        raise SettingsError("a video can only be processed by one process; run the command without torchrun")
    outcome = predict_video(job, video)
    print(f"{what_was_done(task, counted(outcome.num_frames, 'frame'))}{earlier_run_note(outcome.num_kept)}: {out}")
    if outcome.num_frames >= _NEARLY_ALL * video.num_frames:
        return 0
    stated = counted(video.num_frames, "frame")
    print(
        f"{video.path} is truncated or damaged: only {outcome.num_frames:,} of its {stated} can be decoded",
        file=sys.stderr,
    )
    return UNREADABLE


def report(outcome: FolderOutcome, out: Path, left_out: list[str], task: str) -> None:
    """Print a summary and the files that were skipped."""
    for sentence in left_out:
        print(sentence, file=sys.stderr)
    for one in outcome.unreadable:
        print(f"skipped: {one.error}", file=sys.stderr)
    if outcome.dark:
        print(
            f"{counted(len(outcome.dark), '16-bit image')} with all values below {TWELVE_BITS}, such as "
            f"{outcome.dark[0]}: they are nearly black when read; multiply their values by 16",
            file=sys.stderr,
        )
    done = what_was_done(task, counted(outcome.num_done, "image"))
    print(f"{done}{earlier_run_note(outcome.num_kept)}: {out}")
    if outcome.unreadable:
        print(f"{counted(len(outcome.unreadable), 'image')} could not be read: {out / ERRORS_FILE}", file=sys.stderr)


def what_was_done(task: str, images: str) -> str:
    """Format what a model of a task did with images, such as ``3 images``."""
    return f"objects detected in {images}" if task in ("instance", "detection") else f"{images} segmented"


def earlier_run_note(number: int) -> str:
    """Format how many images an earlier run has finished; empty if none."""
    return f" ({number} of them in an earlier run)" if number else ""
