"""From the classes of predictions to a server's categories, by their names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seamseg.data.json_fields import field, flag_field, load_object
from seamseg.data.submit.benchmark import Benchmark, ServerCategory
from seamseg.data.submit.predictions import Predictions
from seamseg.structures import VOID

_MOST_NAMED = 5


def category_ids(predictions: Predictions, benchmark: Benchmark) -> NDArray[np.int64]:
    """The server's id for every class 0 … 255; 0 for void and for numbers without a class.

    Raises:
        ValueError: a class has a name that the server does not know, or is a thing on one side and stuff on the other.
    """
    classes = predictions.categories.classes
    unknown = [one.name for one in classes if one.name not in benchmark.categories]
    if unknown:
        raise ValueError(_unknown(unknown, predictions.json_file, benchmark))
    ids = np.zeros(VOID + 1, np.int64)
    for number, one in enumerate(classes):
        server = benchmark.categories[one.name]
        if server.is_thing != one.is_thing:
            kinds = ("stuff", "a thing")
            raise ValueError(
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
        ValueError: the file has no ``categories``, or one of them is wrong.
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
        raise ValueError(f"{path} holds no categories")
    return found


def _unknown(names: list[str], json_file: Path, benchmark: Benchmark) -> str:
    some = ", ".join(repr(name) for name in names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    near = difflib.get_close_matches(names[0], benchmark.categories, n=1)
    hint = f" (it has {near[0]!r})" if near else ""
    return (
        f"{json_file}: {benchmark.title} has no category {some}{hint}; its server takes predictions of its "
        f"{len(benchmark.categories)} categories alone, by their names"
    )
