"""Predictions to submit, and the category ids that a server knows them by."""

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
class Predictions:
    """What one program predicted.

    Attributes:
        json_file: where it stands.
        categories: of its segments.
        images: in the order of the file.
    """

    json_file: Path
    categories: Categories
    images: list[ImageRecord]


def open_predictions(path: Path) -> Predictions:
    """Reads the JSON file; its PNGs lie in the folder of the same name.

    Args:
        path: a folder with ``panoptic.json``, or a JSON file with ``images``, ``annotations`` and ``categories``.

    Raises:
        FileNotFoundError: there is no such file.
        SeamsegError: it is not of that format, contradicts itself, or no PNG is found.
    """
    json_file = path / ANNOTATION_FILE if path.is_dir() else path
    if not json_file.is_file():
        raise FileNotFoundError(f"{json_file} does not exist; give the OUT folder of `seamseg predict`, or a JSON file")
    content = load_object(json_file)
    categories = listed_categories(content, json_file)
    table = ClassTable(categories, categories.class_of_original_id)
    return Predictions(json_file, categories, read_records(content, json_file, table, RESULTS))


_MOST_NAMED = 5


def category_ids(predictions: Predictions, benchmark: Benchmark) -> NDArray[np.int64]:
    """The server's id for every class 0 … 255; 0 for void and for numbers without a class.

    Raises:
        SeamsegError: the server does not know the name of a class, or a class is a thing on one side and stuff on the
            other.
    """
    classes = predictions.categories.classes
    unknown = [one.name for one in classes if one.name not in benchmark.categories]
    if unknown:
        raise DataError(_unknown(unknown, predictions.json_file, benchmark))
    ids = np.zeros(VOID + 1, np.int64)
    for number, one in enumerate(classes):
        server = benchmark.categories[one.name]
        if server.is_thing != one.is_thing:
            kinds = ("stuff", "a thing")
            raise DataError(
                f"{predictions.json_file}: {one.name!r} is {kinds[one.is_thing]} there, but {kinds[server.is_thing]} "
                f"on {benchmark.title}"
            )
        ids[number] = server.category_id
    return ids


def read_categories(path: Path) -> Mapping[str, ServerCategory]:
    """The categories of a COCO panoptic annotation, by their names.

    Vistas has the full name of a class (``animal--bird``) as ``supercategory`` and one for people (``Bird``) as
    ``name``; both count.

    Raises:
        SeamsegError: the file has no ``categories``, or one of them is wrong.
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
        raise DataError(f"{path} holds no categories")
    return found


def _unknown(names: list[str], json_file: Path, benchmark: Benchmark) -> str:
    some = ", ".join(repr(name) for name in names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    near = difflib.get_close_matches(names[0], benchmark.categories, n=1)
    hint = f" (it has {near[0]!r})" if near else ""
    return (
        f"{json_file}: {benchmark.title} has no category {some}{hint}; its server takes predictions of its "
        f"{len(benchmark.categories)} categories alone, by their names"
    )
