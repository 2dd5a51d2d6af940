"""``seamseg predict``: segments photographs and films."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2

from seamseg import __version__
from seamseg.builders import build_predictor, load_model
from seamseg.cli.exit_codes import UNREADABLE
from seamseg.cli.predict_options import DESCRIPTION, add_arguments, as_info, mode, prediction_options
from seamseg.cli.wording import counted
from seamseg.data.images import TWELVE_BITS
from seamseg.predict import Predictor
from seamseg.predict.fingerprint import fingerprint
from seamseg.predict.folder_run import Outcome, predict_photographs
from seamseg.predict.job import Job
from seamseg.predict.photographs import find_photographs, image_folder
from seamseg.predict.results_folder import ERRORS_FILE, ResultsFolder
from seamseg.predict.video_file import Video, is_video
from seamseg.predict.video_run import predict_video
from seamseg.runtime.allocator import keep_freed_memory
from seamseg.runtime.distributed import Process, started
from seamseg.structures import Categories

PATIENCE = timedelta(days=7)
"""Between the first process that has done its share of the images and the last one: shares differ, and are long."""

_NEARLY_ALL = 0.99  # of a film's frames: some kinds of file tell their number by length and rate


def add_parser(verbs: Any) -> None:
    """Adds the verb and its arguments."""
    verb = verbs.add_parser(
        "predict",
        help="segment photographs or a film",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(verb)
    verb.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    keep_freed_memory()
    cv2.setNumThreads(1)  # reading and writing have threads of their own; more would take the cores from the network
    video = Video.open(options.images) if is_video(options.images) else None
    left_out: list[str] = []
    photographs = [] if video else find_photographs(options.images, options.out, left_out.append)
    with started(options.device, PATIENCE) as process:
        model = load_model(options.model, process.device)
        predictor = build_predictor(model, process.device, prediction_options(options))
        folder = results_folder(options, predictor, model.categories, process, video)
        info = {"description": f"made by seamseg {__version__} predict"} | as_info(options)
        info["image_folder"] = str(image_folder(options.images, [one.path for one in photographs]))
        job = Job(predictor, folder, mode(options), info, options.batch_size)
        if video is not None:
            return film(job, video, process, options.out)
        outcome = predict_photographs(job, photographs, process)
    if process.is_first:
        report(outcome, options.out, left_out)
    return UNREADABLE if outcome.unreadable else 0


def results_folder(
    options: argparse.Namespace, predictor: Predictor, categories: Categories, process: Process, video: Video | None
) -> ResultsFolder:
    """The folder as this rank sees it."""
    word = fingerprint(predictor, categories, options.write, video.path if video else None)
    return ResultsFolder(options.out, options.write, categories, word, process.rank)


def film(job: Job, video: Video, process: Process, out: Path) -> int:
    """Segments a film."""
    if process.world_size > 1:
        raise ValueError("a film is segmented by one process; leave out torchrun")
    outcome = predict_video(job, video)
    print(f"{counted(outcome.num_frames, 'frame')} segmented{kept(outcome.num_kept)}: {out}")
    if outcome.num_frames >= _NEARLY_ALL * video.num_frames:
        return 0
    said = f"{video.path} says that it has {counted(video.num_frames, 'frame')}, of which {outcome.num_frames:,}"
    print(f"{said} can be decoded: it is truncated or damaged", file=sys.stderr)
    return UNREADABLE


def report(outcome: Outcome, out: Path, left_out: list[str]) -> None:
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
