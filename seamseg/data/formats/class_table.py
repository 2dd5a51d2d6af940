"""Meaning of the category ids in a panoptic JSON file, from its own ``categories`` or those of an annotation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

from seamseg.data.json_fields import field, flag_field
from seamseg.errors import DataError
from seamseg.structures import Categories

KINDS = ("stuff", "a thing")
"""Words for a category in a sentence, indexed by whether it is a thing."""

_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class ClassTable:
    """Meaning of the category ids in a file.

    Attributes:
        categories: Categories that the classes are numbered by.
        class_of_id: Class of every category id that may occur; 255 for ids that count as void.
        crowd_ids: Category ids whose segments are always crowd, regardless of their ``iscrowd``.
        names: Names that results give to ids; empty if they have no categories of their own.
        notes: Sentences on how the categories of results differ from ``categories``. They contain no paths because
            reports show them.
    """

    categories: Categories
    class_of_id: Mapping[int, int]
    crowd_ids: frozenset[int] = frozenset()
    names: Mapping[int, str] = dataclass_field(default_factory=dict)
    notes: tuple[str, ...] = ()


def coco_classes(entries: list[Any], path: Path) -> ClassTable:
    """Return the class table of a COCO panoptic file from its own ``categories``.

    Args:
        entries: Unchecked ``categories`` of the file.
        path: Path of the file, for error messages.

    Raises:
        SeamsegError: An entry is wrong, two contradict each other, or there is none.
    """
    categories = coco_categories(entries, path)
    require_categories(categories, f"{path} has no category")
    return ClassTable(categories, categories.class_of_original_id)


def coco_categories(entries: list[Any], path: Path) -> Categories:
    """Return the categories of a COCO panoptic file, which may all be things or all be stuff.

    Args:
        entries: Unchecked ``categories`` of the file.
        path: Path of the file, for error messages.

    Raises:
        SeamsegError: An entry is wrong, or two contradict each other.
    """
    for position, entry in enumerate(entries):
        where = f"{path}, category {position}"
        field(entry, "id", int, where)
        field(entry, "name", str, where)
        flag_field(entry, "isthing", where)
    try:
        return Categories.from_list(entries)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error


def require_categories(categories: Categories, sentence: str) -> None:
    """Check that there is at least one category; all may be things, or all stuff.

    Args:
        categories: Categories of the data set.
        sentence: Description of the problem for the error message.

    Raises:
        SeamsegError: There is none.
    """
    if not len(categories):
        raise DataError(f"{sentence}; a data set needs at least one class")


@dataclass(frozen=True)
class _Entry:
    """A category of the results; name and kind are None if the file does not state them."""

    category_id: int
    name: str | None
    is_thing: bool | None


def match_categories(table: Any, truth: Categories, source: str) -> ClassTable:
    """Match the categories of results with those of the annotation, by name where possible and otherwise by id.

    A category whose name the annotation lacks is matched by id if both tables agree on the ids of all names that they
    share. If they disagree, equal ids mean nothing, and the category stays unknown.

    Args:
        table: ``categories`` of the results; None or an empty list if they have none.
        truth: Categories of the annotation.
        source: File of the results, for error messages.

    Raises:
        SeamsegError: An entry has no id, two have the same id or name, or a name or flag has the wrong type.
    """
    entries = _entries(table, source)
    by_name = {name: number for number, name in enumerate(truth.names)}
    by_id = truth.class_of_original_id
    named = {entry.category_id: by_name[entry.name] for entry in entries if entry.name in by_name}
    moved = [category_id for category_id, number in named.items() if by_id.get(category_id) != number]
    class_of = named if moved else by_id | named
    names = {entry.category_id: entry.name for entry in entries if entry.name is not None}
    kinds = {class_of[entry.category_id]: entry.is_thing for entry in entries if entry.category_id in class_of}
    notes = [
        *_id_notes(moved, named, truth),
        *_name_notes([entry for entry in entries if entry.category_id in class_of], truth),
        *_missing_notes(kinds, truth),
        *kind_notes(kinds, truth),
    ]
    return ClassTable(truth, class_of, names=names, notes=tuple(notes))


def kind_notes(kinds: Mapping[int, bool | None], truth: Categories) -> list[str]:
    """Return a note on the classes that are things on one side and stuff on the other.

    Args:
        kinds: Whether each class is a thing in the predictions; None if unknown.
        truth: Categories of the annotation, which decides.

    Returns:
        One sentence, or an empty list if there are no such classes.
    """
    differing = [
        f"{truth.classes[number].name!r} is {KINDS[truth.classes[number].is_thing]}, not {KINDS[is_thing]}"
        for number, is_thing in kinds.items()
        if is_thing is not None and is_thing != truth.classes[number].is_thing
    ]
    return _note_with_examples("the annotation decides what is a thing and what is stuff", differing)


def _entries(table: Any, source: str) -> list[_Entry]:
    entries: dict[int, _Entry] = {}
    for position, entry in enumerate(field({"categories": table or []}, "categories", list, source)):
        where = f"{source}, category {position}"
        category_id = field(entry, "id", int, where)
        if category_id in entries:
            raise DataError(f"{where}: an earlier category already has the id {category_id}")
        name = field(entry, "name", str, where) if "name" in entry else None
        if name is not None and name in (earlier.name for earlier in entries.values()):
            raise DataError(f"{where}: an earlier category already has the name {name!r}")
        is_thing = flag_field(entry, "isthing", where) if "isthing" in entry else None
        entries[category_id] = _Entry(category_id, name, is_thing)
    return list(entries.values())


def _id_notes(moved: list[int], named: Mapping[int, int], truth: Categories) -> list[str]:
    pairs = [(category_id, truth.classes[named[category_id]]) for category_id in moved]
    differing = [f"{category.name!r} is {category_id}, not {category.original_id}" for category_id, category in pairs]
    return _note_with_examples(
        "the category ids of the results differ from those of the annotation, so they are matched by name", differing
    )


def _name_notes(matched: list[_Entry], truth: Categories) -> list[str]:
    """Return a note on the categories that were matched by id although both sides name them."""
    names = {category.original_id: category.name for category in truth.classes}
    differing = [
        f"{entry.category_id} is {entry.name!r}, not {names[entry.category_id]!r}"
        for entry in matched
        if entry.name is not None and entry.name not in truth.names
    ]
    return _note_with_examples(
        "categories of the results are named differently in the annotation, so they are matched by id", differing
    )


def _missing_notes(kinds: Mapping[int, bool | None], truth: Categories) -> list[str]:
    """Return a note on the categories of the annotation that are missing from the results' own table."""
    missing = [repr(name) for number, name in enumerate(truth.names) if number not in kinds]
    return _note_with_examples("the results lack categories of the annotation", missing) if kinds else []


def _note_with_examples(sentence: str, items: list[str]) -> list[str]:
    """Return the sentence followed by the first items and their number; an empty list if there are no items."""
    if not items:
        return []
    rest = f", … ({len(items)} in all)" if len(items) > _NUM_EXAMPLES else ""
    return [f"{sentence}: {', '.join(items[:_NUM_EXAMPLES])}{rest}"]
