"""``seamseg compare``: compare two scores files, with bootstrap confidence intervals."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from seamseg.cli.output import plain_console
from seamseg.data.json_fields import field, load_object
from seamseg.errors import DataError, SeamsegError
from seamseg.metrics.matching import ImageCounts
from seamseg.metrics.resampling import Interval, compare_runs
from seamseg.metrics.scores import percent
from seamseg.structures import ImageId

SEED = 0


def add_parser(subcommands: Any) -> None:
    """Add the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "compare",
        help="compare two results on the same images",
        description="Compare two scores files that `seamseg evaluate --json` or `seamseg score --json` wrote for the "
        "same images. Prints both PQs and their difference with 95% bootstrap intervals over the images, and the "
        "classes that changed most. If the interval of the difference contains 0, the difference may be due to chance. "
        "If A and B were trained several times, pass the scores of all runs: `seamseg compare A0.json A1.json --with "
        "B0.json B1.json` compares the mean PQs, and the intervals are over the images and the runs.",
    )
    subcommand.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="SCORES.json",
        help="baseline A and result B, or all runs of A if --with is given; the difference is B minus A",
    )
    subcommand.add_argument("--with", dest="second", type=Path, nargs="+", metavar="SCORES.json", help="all runs of B")
    subcommand.set_defaults(run=run)


@dataclass(frozen=True)
class StoredScores:
    """Scores read from a JSON file.

    Attributes:
        per_class: PQ by class name, 0 … 1; NaN if the class does not appear.
        images: Match counts of each image, by image id.
    """

    per_class: dict[str, float]
    images: dict[ImageId, ImageCounts]


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code."""
    paths_a, paths_b = _sides(options.files, options.second)
    runs = {path: read_scores(path) for path in (*paths_a, *paths_b)}
    reference = runs[paths_a[0]]
    for path, scores in runs.items():
        check_comparable(reference, scores, paths_a[0], path)
    first, second = [runs[path] for path in paths_a], [runs[path] for path in paths_b]
    images = [[[scores.images[image] for image in reference.images] for scores in side] for side in (first, second)]
    result = compare_runs(images[0], images[1], len(reference.per_class), SEED)
    console = plain_console()
    table = Table("", "PQ", "95% interval")
    rows = [
        ("A", result.first, result.first_interval),
        ("B", result.second, result.second_interval),
        ("B − A", result.difference, result.difference_interval),
    ]
    for name, value, interval in rows:
        table.add_row(name, percent(value, 2), f"{percent(interval.low, 2)} … {percent(interval.high, 2)}")
    console.print(table)
    console.print(_verdict(result.difference_interval))
    for name, change in _largest_changes(first, second):
        console.print(f"{name}: {100 * change:+.1f}")
    return 0


def _sides(files: list[Path], second: list[Path] | None) -> tuple[list[Path], list[Path]]:
    """Return the files of A and of B."""
    if second is not None:
        return files, second
    if len(files) != 2:
        raise SeamsegError(
            f"{len(files)} scores files do not say which are A and which are B: pass two files, or A0.json A1.json … "
            "--with B0.json B1.json …"
        )
    return files[:1], files[1:]


def read_scores(path: Path) -> StoredScores:
    """Read a scores file.

    Raises:
        SeamsegError: The file is not a scores file, or has no counts per image.
    """
    content = load_object(path)
    if "box" in content and "all" not in content:
        raise DataError(f"{path} has scores of an instance or detection model; only panoptic scores can be compared")
    lines = field(content, "per_class", dict, f"{path} is not a scores file")
    entries = field(content, "images", list, f"{path} (scores of a semantic model, or of an older version?)")
    try:
        per_class = {name: math.nan if line["pq"] is None else float(line["pq"]) for name, line in lines.items()}
        images = [ImageCounts.from_dict(entry) for entry in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a scores file: {error!r}") from error
    if any(((image.classes < 0) | (image.classes >= len(per_class))).any() for image in images):
        raise DataError(f"{path} is inconsistent: an image has a class number outside of its {len(per_class)} classes")
    return StoredScores(per_class, {image.image_id: image for image in images})


def check_comparable(first: StoredScores, second: StoredScores, *paths: Path) -> None:
    """Check that two results have the same classes and images.

    Args:
        first: Scores of the first file.
        second: Scores of the second file.
        *paths: Both files, for error messages.

    Raises:
        SeamsegError: The classes or the images differ, or there are no images.
    """
    if list(first.per_class) != list(second.per_class):
        raise DataError(f"{paths[0]} and {paths[1]} have different classes; score both on the same data set")
    different = len(first.images.keys() ^ second.images.keys())
    if different:
        raise DataError(f"{paths[0]} and {paths[1]} have different images: {different} are in only one of them")
    if not first.images:
        raise DataError(f"{paths[0]} and {paths[1]} contain no images")


def _verdict(difference: Interval) -> str:
    if difference.low > 0:
        return "B is better than A: the 95% interval of the difference excludes 0"
    if difference.high < 0:
        return "A is better than B: the 95% interval of the difference excludes 0"
    if math.isnan(difference.low):
        return "no class appears in these images, so there is nothing to compare"
    return "the difference may be due to chance: its 95% interval contains 0"


def _largest_changes(
    first: Sequence[StoredScores], second: Sequence[StoredScores], at_most: int = 5
) -> list[tuple[str, float]]:
    """Return the classes whose PQ, the mean over the runs, changed most, with the change, largest first."""
    changes = {name: _mean_pq(second, name) - _mean_pq(first, name) for name in first[0].per_class}
    known = [(name, change) for name, change in changes.items() if change != 0 and not math.isnan(change)]
    return sorted(known, key=lambda item: -abs(item[1]))[:at_most]


def _mean_pq(runs: Sequence[StoredScores], name: str) -> float:
    return sum(run.per_class[name] for run in runs) / len(runs)
