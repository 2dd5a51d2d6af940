"""Definition of the file of each case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from fuzz.mutations import damaged_bytes, damaged_json, damaged_png, pick
from fuzz.seeds import id_pngs, images
from fuzz.sets import Sets, read_json

KINDS = ("image", "png", "json")
"""Kinds of files, used in turn."""

JSON_FILES: dict[str, Callable[[Sets], Any]] = {
    "coco": lambda sets: read_json(sets.coco.json_file),
    "results": lambda sets: {"annotations": read_json(sets.coco.json_file)["annotations"]},
    "vistas": lambda sets: read_json(sets.vistas_json),
    "vistas-labels": lambda sets: read_json(sets.vistas_labels),
    "detection": lambda sets: read_json(sets.detection_json),
    "cityscapes": lambda sets: read_json(sets.cityscapes_json),
    "metadata": lambda sets: msgpack.unpackb(sets.metadata.read_bytes()),
}
"""Valid content by the name of the file; the last one is MessagePack."""


@dataclass(frozen=True)
class Case:
    """A damaged file.

    Attributes:
        number: Number of the case.
        kind: One of :data:`KINDS`.
        name: Name of the valid file.
        data: Content of the damaged file.
    """

    number: int
    kind: str
    name: str
    data: bytes


def make_case(seed: int, number: int, sets: Sets) -> Case:
    """Return the case of a number, which depends only on the seed and the number."""
    generator = np.random.default_rng([seed, number])
    kind = KINDS[number % len(KINDS)]
    if kind == "image":
        name = pick(generator, sorted(images()))
        damage = damaged_png if name.endswith(".png") and generator.random() < 0.5 else damaged_bytes
        return Case(number, kind, name, damage(images()[name], generator))
    if kind == "png":
        place = int(generator.integers(len(id_pngs())))
        return Case(number, kind, f"ids-{place}.png", damaged_png(id_pngs()[place], generator))
    name = pick(generator, list(JSON_FILES))
    content = JSON_FILES[name](sets)
    if name == "metadata":
        return Case(number, kind, name, damaged_bytes(msgpack.packb(content), generator))
    return Case(number, kind, name, damaged_json(content, generator))
