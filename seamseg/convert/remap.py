"""A panoptic data set with its classes merged, renamed or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from seamseg.convert.from_panoptic import DataSetItem, data_set_items
from seamseg.convert.job import Job
from seamseg.convert.panoptic_target import PanopticTarget
from seamseg.data.formats.annotated_dataset import PanopticDataset
from seamseg.errors import SeamsegError, SettingsError
from seamseg.io.journal import ItemOutput
from seamseg.io.yaml_files import read_yaml
from seamseg.structures import VOID, Categories, Category, PanopticSegmentation

_KEYS = ("stuff", "things", "void")


@dataclass(frozen=True)
class ClassMapping:
    """New classes, and what becomes of the old ones.

    Attributes:
        categories: New classes, with original ids counted from 1 in the order of the file, stuff first.
        new_class: S+T integers, the new class of each old class in network order; 255 turns it into void.
    """

    categories: Categories
    new_class: tuple[int, ...]

    def apply(self, segmentation: PanopticSegmentation) -> PanopticSegmentation:
        """Return the segmentation with new classes.

        Segments of one new stuff class become one segment. Things stay separate, and crowds stay crowds unless they
        become stuff.
        """
        table = torch.tensor([*self.new_class, *[VOID] * (VOID + 1 - len(self.new_class))])
        classes = table[segmentation.classes]
        is_thing = (classes >= self.categories.num_stuff) & (classes != VOID)
        # Segments with equal keys become one: all of one stuff class, all void; each thing has a key of its own.
        keys = torch.where(is_thing, VOID + 1 + torch.arange(len(classes)), classes)
        keys[classes == VOID] = -1  # sorts first, so that void stays segment 0
        present = keys[torch.unique(segmentation.ids).long()]
        kept = torch.unique(torch.cat([torch.tensor([-1]), present]))
        number = torch.searchsorted(kept, keys)
        new_classes = torch.full((len(kept),), VOID)
        crowd = torch.zeros(len(kept), dtype=torch.bool)
        inside = torch.isin(keys, kept)
        new_classes[number[inside]] = classes[inside]
        crowd[number[inside]] = (segmentation.crowd & is_thing)[inside]
        return PanopticSegmentation(number[segmentation.ids.long()].to(segmentation.ids.dtype), new_classes, crowd)


def read_class_mapping(path: Path, old: Categories) -> ClassMapping:
    """Read a YAML file that says which old classes each new class consists of.

    The file looks like this::

        stuff:
          ground: [road, pavement]    # merged
          sky: sky                    # kept
        things:
          vehicle: [car, truck, bus]
        void: [banner]                # dropped; these pixels get no label

    Args:
        path: Path of the file.
        old: Classes of the data set. Each has to be listed once.

    Raises:
        SeamsegError: The file is malformed, an old class is unknown, listed twice or not at all, or a stuff class is
            listed under ``things``.
        OSError: The file cannot be read.
    """
    listed, dropped = read_class_lists(path)
    categories: list[Category] = []
    taken: dict[str, int] = {}
    for one in listed:
        _take(taken, one.sources, len(categories), old, one.is_thing, f"{path}, {one.name}")
        color = old.classes[old.names.index(one.sources[0])].color
        categories.append(Category(one.name, one.is_thing, color, len(categories) + 1))
    _take(taken, dropped, VOID, old, False, f"{path}, void")
    if missing := [name for name in old.names if name not in taken]:
        raise SettingsError(
            f"{path} does not list {', '.join(missing)}; add them to a new class, or to `void` to drop them"
        )
    try:
        return ClassMapping(Categories(tuple(categories)), tuple(taken[name] for name in old.names))
    except SeamsegError as error:
        raise SettingsError(f"{path}: {error}") from error


class ListedClass(NamedTuple):
    """New class and the names in the source that it consists of."""

    name: str
    is_thing: bool
    sources: tuple[str, ...]


def read_class_lists(path: Path) -> tuple[list[ListedClass], tuple[str, ...]]:
    """Read a YAML file with the keys ``stuff``, ``things`` and ``void``.

    ``stuff`` and ``things`` are mappings from a new class to a name or a list of names in the source, or plain lists of
    names that stay as they are. ``void`` is a name or a list of names.

    Returns:
        The new classes, stuff first, each in the order of the file, and the names under ``void``.

    Raises:
        SeamsegError: The file is malformed.
        OSError: The file cannot be read.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not set(content) <= set(_KEYS):
        raise SettingsError(f"{path} must be a mapping with the keys stuff, things and void")
    listed = []
    for key in ("stuff", "things"):
        named = content.get(key) or {}
        if isinstance(named, list):
            rows = [(name, name) for name in _source_names(named, f"{path}, {key}")]
        elif isinstance(named, dict):
            rows = list(named.items())
        else:
            raise SettingsError(f"{path}: {key} must list new classes by name, such as `vehicle: [car, truck]`")
        listed += [
            ListedClass(str(name), key == "things", _source_names(entry, f"{path}, {name}")) for name, entry in rows
        ]
    dropped = content.get("void")
    return listed, _source_names(dropped, f"{path}, void") if dropped else ()


def _source_names(entry: Any, where: str) -> tuple[str, ...]:
    names = entry if isinstance(entry, list) else [entry]
    if not names or not all(isinstance(name, str) for name in names):
        raise SettingsError(
            f"{where}: expected a name or a list of names, found {entry!r}; put names that are "
            "numbers or truth values in quotes"
        )
    return tuple(names)


def _take(
    taken: dict[str, int], names: Sequence[str], number: int, old: Categories, as_things: bool, where: str
) -> None:
    for name in names:
        if name not in old.names:
            raise SettingsError(f"{where}: the data set has no class {name}; it has {', '.join(old.names)}")
        if name in taken:
            raise SettingsError(f"{where}: {name} is listed twice; each old class can become only one new class")
        if as_things and not old.classes[old.names.index(name)].is_thing:
            raise SettingsError(
                f"{where}: {name} is stuff and its segments do not separate objects; list it under `stuff` or `void`"
            )
        taken[name] = number


@dataclass(frozen=True)
class _Remapping:
    source: PanopticDataset
    mapping: ClassMapping
    target: PanopticTarget

    def __call__(self, item: DataSetItem) -> ItemOutput:
        segmentation = self.mapping.apply(self.source.read_annotation(item.index))
        return self.target.write(
            self.source.image_id(item.index),
            self.source.image_path(item.index),
            item.name,
            item.annotation,
            segmentation,
            self.mapping.categories,
            png_file=f"{item.stem}.png",
        )


def remap_job(source: PanopticDataset, mapping: ClassMapping, target: PanopticTarget) -> Job[DataSetItem]:
    """Create a job that writes a split with new classes in COCO panoptic format.

    Args:
        source: Split of a panoptic data set.
        mapping: New classes, and what becomes of the old ones.
        target: Output files.
    """
    return Job(
        title=target.split,
        description="panoptic data set with other classes",
        result=target.json_file,
        head={"categories": mapping.categories.to_list()},
        items=data_set_items(source),
        convert=_Remapping(source, mapping, target),
        options={"new_class": mapping.new_class, "images": target.placement},
    )
