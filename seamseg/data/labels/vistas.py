"""Labels and categories of Mapillary Vistas (Neuhold et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamseg.data.formats.class_table import ClassTable, require_categories
from seamseg.data.json_fields import field, flag_field, load_object, short_text
from seamseg.errors import DataError, SeamsegError
from seamseg.structures import VOID, Categories, Category, Color

GROUP = "group"
"""Text in the name of labels whose regions each cover many objects."""


@dataclass(frozen=True)
class VistasLabel:
    """One entry of ``labels``; its index there is its number in instance PNGs.

    Attributes:
        name: Name, such as ``construction--flat--road``.
        is_thing: Whether its objects are told apart (``instances``).
        counts: Whether it is evaluated (``evaluate``); otherwise its pixels are void.
        color: Color in pictures.
    """

    name: str
    is_thing: bool
    counts: bool
    color: Color

    @property
    def is_crowd(self) -> bool:
        """Whether each of its regions covers many objects."""
        return self.is_thing and GROUP in self.name


def read_labels(path: Path) -> list[VistasLabel]:
    """Read the labels of a ``config.json`` or ``config_v*.json``, in the order of the file.

    Raises:
        SeamsegError: The file is not a label configuration, two labels share a name, or none is evaluated.
    """
    entries = field(load_object(path), "labels", list, str(path))
    labels = [_label(entry, f"{path}, label {position}") for position, entry in enumerate(entries)]
    names = [label.name for label in labels]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise DataError(f"{path}: several labels are named {', '.join(duplicates)}; names must be unique")
    try:
        categories = categories_of(labels, range(len(labels)))
    except SeamsegError as error:
        raise DataError(f"{path}: {error}") from error
    require_categories(categories, f"{path} has no label that is evaluated")
    return labels


def categories_of(labels: list[VistasLabel], original_ids: range | list[int]) -> Categories:
    """Return the evaluated classes: stuff in file order, then things in file order.

    Args:
        labels: All labels of the configuration.
        original_ids: Number that the annotation uses for each label.
    """
    classes = [
        Category(label.name, label.is_thing, label.color, original_id)
        for label, original_id in zip(labels, original_ids, strict=True)
        if label.counts
    ]
    return Categories(tuple(sorted(classes, key=lambda category: category.is_thing)))


def class_table(labels: list[VistasLabel], entries: list[Any], path: Path, config: Path) -> ClassTable:
    """Return the meaning of the category ids in a Vistas panoptic file.

    The configuration decides which classes are things and which are evaluated; the panoptic file states the ids. The
    configuration's ``name`` (``animal--bird``) is called ``supercategory`` in files from Mapillary, where ``name`` is
    for people (``Bird``). Files from other sources have it as ``name``.

    Args:
        labels: Labels of the configuration.
        entries: ``categories`` of the panoptic file.
        path: Path of the panoptic file, for error messages.
        config: Path of the configuration, for error messages.

    Raises:
        SeamsegError: An entry is wrong or missing in the configuration, or an evaluated label has no entry.
    """
    known, id_of_name = {label.name for label in labels}, dict[str, int]()
    for position, entry in enumerate(entries):
        where = f"{path}, category {position}"
        name = field(entry, "name", str, where)
        full_name = str(entry.get("supercategory"))
        name = full_name if name not in known and full_name in known else name
        if name in id_of_name:
            raise DataError(f"{where}: an earlier category is already named {short_text(name)}")
        id_of_name[name] = field(entry, "id", int, where)
    _check_same_labels(labels, id_of_name, path, config)
    categories = categories_of(labels, [id_of_name.get(label.name, 0) for label in labels])
    by_name = {label.name: label for label in labels}
    class_of_id = dict.fromkeys(id_of_name.values(), VOID) | categories.class_of_original_id
    crowd_ids = frozenset(original_id for name, original_id in id_of_name.items() if by_name[name].is_crowd)
    return ClassTable(categories, class_of_id, crowd_ids)


def _check_same_labels(labels: list[VistasLabel], id_of_name: dict[str, int], path: Path, config: Path) -> None:
    unknown = sorted(id_of_name.keys() - {label.name for label in labels})
    if unknown:
        raise DataError(f"{path}: the category {short_text(unknown[0])} is not among the labels of {config}")
    missing = [label.name for label in labels if label.counts and label.name not in id_of_name]
    if missing:
        raise DataError(f"{path}: the categories lack {short_text(missing[0])}, which {config} evaluates")
    used = list(id_of_name.values())
    duplicates = sorted({original_id for original_id in used if used.count(original_id) > 1})
    if duplicates:
        raise DataError(f"{path}: several categories have the id {duplicates[0]}; ids must be unique")


def _label(entry: Any, where: str) -> VistasLabel:
    color = field(entry, "color", list, where)
    if len(color) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in color):
        raise DataError(f"{where}: 'color' is {short_text(color)}, expected red, green and blue in 0 … 255")
    return VistasLabel(
        name=field(entry, "name", str, where),
        is_thing=flag_field(entry, "instances", where),
        counts=flag_field(entry, "evaluate", where),
        color=(color[0], color[1], color[2]),
    )


VISTAS_THINGS = {
    "animal--bird": 1,
    "animal--ground-animal": 2,
    "construction--flat--crosswalk-plain": 9,
    "human--person": 20,
    "human--rider--bicyclist": 21,
    "human--rider--motorcyclist": 22,
    "human--rider--other-rider": 23,
    "marking--crosswalk-zebra": 24,
    "object--banner": 33,
    "object--bench": 34,
    "object--bike-rack": 35,
    "object--billboard": 36,
    "object--catch-basin": 37,
    "object--cctv-camera": 38,
    "object--fire-hydrant": 39,
    "object--junction-box": 40,
    "object--mailbox": 41,
    "object--manhole": 42,
    "object--phone-booth": 43,
    "object--street-light": 45,
    "object--support--pole": 46,
    "object--support--traffic-sign-frame": 47,
    "object--support--utility-pole": 48,
    "object--traffic-light": 49,
    "object--traffic-sign--back": 50,
    "object--traffic-sign--front": 51,
    "object--trash-can": 52,
    "object--vehicle--bicycle": 53,
    "object--vehicle--boat": 54,
    "object--vehicle--bus": 55,
    "object--vehicle--car": 56,
    "object--vehicle--caravan": 57,
    "object--vehicle--motorcycle": 58,
    "object--vehicle--other-vehicle": 60,
    "object--vehicle--trailer": 61,
    "object--vehicle--truck": 62,
    "object--vehicle--wheeled-slow": 63,
}
"""The 37 thing categories with their ids."""

VISTAS_STUFF = {
    "construction--barrier--curb": 3,
    "construction--barrier--fence": 4,
    "construction--barrier--guard-rail": 5,
    "construction--barrier--other-barrier": 6,
    "construction--barrier--wall": 7,
    "construction--flat--bike-lane": 8,
    "construction--flat--curb-cut": 10,
    "construction--flat--parking": 11,
    "construction--flat--pedestrian-area": 12,
    "construction--flat--rail-track": 13,
    "construction--flat--road": 14,
    "construction--flat--service-lane": 15,
    "construction--flat--sidewalk": 16,
    "construction--structure--bridge": 17,
    "construction--structure--building": 18,
    "construction--structure--tunnel": 19,
    "marking--general": 25,
    "nature--mountain": 26,
    "nature--sand": 27,
    "nature--sky": 28,
    "nature--snow": 29,
    "nature--terrain": 30,
    "nature--vegetation": 31,
    "nature--water": 32,
    "object--pothole": 44,
    "object--vehicle--on-rails": 59,
    "void--car-mount": 64,
    "void--ego-vehicle": 65,
}
"""The 28 stuff categories with their ids."""

_COLORS = bytes.fromhex(
    "a52a2a 00c000 c4c4c4 be9999 b4a5b4 5a7896 66669c 8040ff 8c8cc8 aaaaaa faaaa0 606060 e6968c 804080 6e6e6e f423e8 "
    "966464 464646 96785a dc143c ff0000 ff0064 ff00c8 c88080 ffffff 40aa40 e6a032 4682b4 beffff 98fb98 6b8e23 00aa1e "
    "ffff80 fa001e 648cb4 dcdcdc dc8080 de2828 64aa1e 282828 212121 6480a0 8e0000 466496 d2aa64 999999 808080 000050 "
    "faaa1e c0c0c0 dcdc00 8c8c14 770b20 9600ff 003c64 00008e 00005a 0000e6 005064 804040 00006e 000046 0000c0 202020 "
    "780a0a"
)
"""Red, green and blue of the categories by id, from id 1."""


def vistas_categories() -> Categories:
    """Return the 65 evaluated classes of version 1.2: stuff, then things, each in the order of the label file."""
    classes = [
        Category(name, is_thing, _color(number), number)
        for is_thing, ids in ((False, VISTAS_STUFF), (True, VISTAS_THINGS))
        for name, number in sorted(ids.items(), key=lambda entry: entry[1])
    ]
    return Categories(tuple(classes))


def _color(number: int) -> Color:
    red, green, blue = _COLORS[3 * (number - 1) : 3 * number]
    return red, green, blue
