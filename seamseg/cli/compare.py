"""``seamseg compare``: whether one result is better than another, or only luckier."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from seamseg.cli.output import plain_console
from seamseg.data.json_fields import field, load_object
from seamseg.errors import DataError
from seamseg.metrics.matching import ImageCounts
from seamseg.metrics.resampling import Interval, compare
from seamseg.metrics.scores import percent
from seamseg.structures import ImageId

SEED = 0


def add_parser(subcommands: Any) -> None:
    """Adds the subcommand and its arguments."""
    subcommand = subcommands.add_parser(
        "compare",
        help="compare the scores of two results on the same images",
        description="Compares two files of scores, as `seamseg evaluate` and `seamseg score` write them with --json, "
        "on the same images: PQ of both, the difference, and where it lies for 95 % of the data sets that are drawn "
        "from these images with replacement. An interval that holds 0 means that the difference may be chance.",
    )
    subcommand.add_argument("first", type=Path, metavar="A.json", help="scores")
    subcommand.add_argument("second", type=Path, metavar="B.json", help="scores that A is subtracted from")
    subcommand.set_defaults(run=run)


@dataclass(frozen=True)
class StoredScores:
    """What is compared.

    Attributes:
        per_class: PQ by class name, NaN where the class does not appear.
        images: what each image contributes, by its id.
    """

    per_class: dict[str, float]
    images: dict[ImageId, ImageCounts]


def run(options: argparse.Namespace) -> int:
    first, second = read_scores(options.first), read_scores(options.second)
    check_comparable(first, second, options.first, options.second)
    images = [[scores.images[image] for image in first.images] for scores in (first, second)]
    result = compare(images[0], images[1], len(first.per_class), SEED)
    console = plain_console()
    table = Table("", "PQ", "95 % of resampled images")
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


def read_scores(path: Path) -> StoredScores:
    """Scores from a file.

    Raises:
        SeamsegError: it is no file of scores, or lacks what single images contribute.
    """
    content = load_object(path)
    lines = field(content, "per_class", dict, f"{path} is no file of scores")
    entries = field(content, "images", list, f"{path} (written by an older version?)")
    try:
        per_class = {name: math.nan if line["pq"] is None else float(line["pq"]) for name, line in lines.items()}
        images = [ImageCounts.from_dict(entry) for entry in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no file of scores: {error!r}") from error
    if any(((image.classes < 0) | (image.classes >= len(per_class))).any() for image in images):
        raise DataError(f"{path} contradicts itself: an image has a class that is not among its {len(per_class)}")
    return StoredScores(per_class, {image.image_id: image for image in images})


def check_comparable(first: StoredScores, second: StoredScores, *paths: Path) -> None:
    """Whether two results are of the same classes and images.

    Raises:
        SeamsegError: they are not, or there are no images.
    """
    if list(first.per_class) != list(second.per_class):
        raise DataError(f"{paths[0]} and {paths[1]} are scores of different classes")
    different = len(first.images.keys() ^ second.images.keys())
    if different:
        raise DataError(
            f"{paths[0]} and {paths[1]} are scores of different images: {different} are in one of them alone"
        )
    if not first.images:
        raise DataError(f"{paths[0]} and {paths[1]} hold no images")


def _verdict(difference: Interval) -> str:
    if difference.low > 0:
        return "B is better than A, beyond the chance of these images"
    if difference.high < 0:
        return "A is better than B, beyond the chance of these images"
    if math.isnan(difference.low):
        return "no class appears in these images: there is nothing to compare"
    return "the difference may be chance"


def _largest_changes(first: StoredScores, second: StoredScores, at_most: int = 5) -> list[tuple[str, float]]:
    """Class and change of its PQ, the largest first."""
    changes = {name: second.per_class[name] - pq for name, pq in first.per_class.items()}
    known = [(name, change) for name, change in changes.items() if change != 0 and not math.isnan(change)]
    return sorted(known, key=lambda item: -abs(item[1]))[:at_most]
