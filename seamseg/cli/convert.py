"""``seamseg convert``: other data sets to COCO panoptic, and that back to detection and semantic annotation."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from seamseg.cli import convert_sources
from seamseg.cli.wording import counted
from seamseg.convert.job import Job, Outcome, run_job
from seamseg.io.progress import progress_bar


def add_parser(verbs: Any) -> None:
    """Adds the verb, its kinds and their arguments."""
    verb = verbs.add_parser(
        "convert",
        help="turn other data sets into COCO panoptic, and that into detection or semantic annotation",
        description="Converts a data set, several images at a time. The same arguments give the same bytes. An "
        "interrupted conversion goes on where it stopped when the same command is given again; before it is complete, "
        "there is no JSON file, and so no data set.",
    )
    kinds = verb.add_subparsers(
        title="kinds", metavar="KIND", required=True, help="what to convert; KIND --help explains it"
    )
    for kind in convert_sources.KINDS:
        parser = kinds.add_parser(kind.name, help=kind.help, description=kind.description)
        kind.add_arguments(parser)
        parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
        parser.add_argument("--overwrite", action="store_true", help="convert again what is complete")
        parser.set_defaults(run=run, jobs=kind.jobs)


def run(options: argparse.Namespace) -> int:
    jobs: list[Job[Any]] = options.jobs(options)
    for remark in dict.fromkeys(remark for job in jobs for remark in job.remarks):
        print(remark, file=sys.stderr)
    for job in jobs:
        outcome = _run(job, options.workers, options.overwrite)
        print(_sentence(job, outcome))
    return 0


def _run(job: Job[Any], num_workers: int | None, overwrite: bool) -> Outcome:
    failures: list[str] = []
    try:
        with progress_bar(f"converting {job.title}", len(job.items)) as advance:
            return run_job(
                job,
                num_workers,
                overwrite=overwrite,
                on_progress=lambda done: advance(done, ""),
                on_failure=failures.append,
            )
    finally:
        for sentence in failures if len(failures) > 1 else []:
            print(f"not converted: {sentence}", file=sys.stderr)


def _sentence(job: Job[Any], outcome: Outcome) -> str:
    if outcome.complete_already:
        return f"{job.title}: complete already, {job.result} (--overwrite converts it again)"
    remarks = []
    if outcome.num_kept:
        remarks.append(f"{outcome.num_kept} of them earlier")
    if outcome.num_hidden:
        remarks.append(f"{counted(outcome.num_hidden, 'object')} left out that others cover")
    if outcome.num_replaced:
        fate = "replaced by their boxes" if job.options.get("without_outline") == "box" else "left out"
        remarks.append(f"{counted(outcome.num_replaced, 'object')} without an outline {fate}")
    said = ", ".join([counted(outcome.num_items, "image"), *remarks])
    return f"{job.title}: {said}: {job.result}"
