"""Predictions to submit, and their category ids on the server."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seamseg.data.formats.class_table import ClassTable
from seamseg.data.formats.coco_entries import RESULTS
from seamseg.data.formats.coco_json import ImageRecord, listed_categories, read_records
from seamseg.data.formats.coco_writer import ANNOTATION_FILE
from seamseg.data.json_fields import field, flag_field, load_object
from seamseg.errors import DataError
from seamseg.structures import VOID, Categories
from seamseg.submit.benchmark import Benchmark, ServerCategory


@dataclass(frozen=True, eq=False)
class SubmittedPredictions:
    """Predictions for a set of images, as listed in a JSON file.

    Attributes:
        json_file: Path of the JSON file.
        categories: Categories of the predicted segments.
        images: Predicted images in the order of the file.
    """

    json_file: Path
    categories: Categories
    images: list[ImageRecord]


def open_predictions(path: Path) -> SubmittedPredictions:
    """Read the JSON file of predictions; the PNGs must be in the folder with the same name.

    Args:
        path: Path of a folder that contains ``panoptic.json``, or of a JSON file with ``images``, ``annotations`` and
            ``categories``.

    Raises:
        FileNotFoundError: The JSON file does not exist.
        SeamsegError: The file has another format or is inconsistent, or none of its PNGs exists.
    """
    json_file = path / ANNOTATION_FILE if path.is_dir() else path
    if not json_file.is_file():
        raise FileNotFoundError(f"{json_file} does not exist; pass the OUT folder of `seamseg predict`, or a JSON file")
    content = load_object(json_file)
    categories = listed_categories(content, json_file)
    table = ClassTable(categories, categories.class_of_original_id)
    return SubmittedPredictions(json_file, categories, read_records(content, json_file, table, RESULTS))


_MOST_NAMED = 5


def category_ids(
    categories: Categories, source: Path, benchmark: Benchmark, compare_kinds: bool = True
) -> NDArray[np.int64]:
    """Look up the category id on the server for every class 0 … 255.

    Args:
        categories: Categories of the predictions.
        source: Path of the predictions, for error messages.
        benchmark: Benchmark with the categories of the server.
        compare_kinds: Whether things and stuff must be the same; False for class maps.

    Returns:
        256 ids; 0 for void and for numbers without a class.

    Raises:
        SeamsegError: The server has no category with the name of a class, or a class is a thing in the predictions and
            stuff on the server, or vice versa.
    """
    classes = categories.classes
    unknown = [one.name for one in classes if one.name not in benchmark.categories]
    if unknown:
        raise DataError(_unknown_categories_message(unknown, source, benchmark))
    ids = np.zeros(VOID + 1, np.int64)
    for number, one in enumerate(classes):
        server = benchmark.categories[one.name]
        if compare_kinds and server.is_thing != one.is_thing:
            kinds = ("stuff", "a thing")
            raise DataError(
                f"{source}: the category {one.name!r} is {kinds[one.is_thing]}, but it is "
                f"{kinds[server.is_thing]} in {benchmark.title}"
            )
        ids[number] = server.category_id
    return ids


def read_categories(path: Path) -> Mapping[str, ServerCategory]:
    """Read the categories of a COCO panoptic annotation file, by name.

    Vistas stores the full name of a class (``animal--bird``) as ``supercategory`` and a readable name (``Bird``) as
    ``name``. Both names are included.

    Raises:
        SeamsegError: The file has no ``categories``, or one of them is invalid.
    """
    found: dict[str, ServerCategory] = {}
    for position, entry in enumerate(field(load_object(path), "categories", list, str(path))):
        where = f"{path}, category {position}"
        category_id, is_thing = field(entry, "id", int, where), flag_field(entry, "isthing", where)
        names = [field(entry, "name", str, where)]
        if "--" in str(entry.get("supercategory", "")):
            names.append(entry["supercategory"])
        found |= dict.fromkeys(names, ServerCategory(category_id, is_thing))
    if not found:
        raise DataError(f"{path} contains no categories")
    return found


def _unknown_categories_message(names: list[str], json_file: Path, benchmark: Benchmark) -> str:
    examples = ", ".join(repr(name) for name in names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    near = difflib.get_close_matches(names[0], benchmark.categories, n=1)
    hint = f" (it has {near[0]!r})" if near else ""
    return (
        f"{json_file}: {benchmark.title} has no category {examples}{hint}; its server accepts only its "
        f"{len(benchmark.categories)} categories, which are matched by name"
    )
