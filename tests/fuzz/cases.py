"""Which file case N is."""

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
"""They take turns."""

JSON_FILES: dict[str, Callable[[Sets], Any]] = {
    "coco": lambda sets: read_json(sets.coco.json_file),
    "results": lambda sets: {"annotations": read_json(sets.coco.json_file)["annotations"]},
    "vistas": lambda sets: read_json(sets.vistas_json),
    "vistas-labels": lambda sets: read_json(sets.vistas_labels),
    "detection": lambda sets: read_json(sets.detection_json),
    "cityscapes": lambda sets: read_json(sets.cityscapes_json),
    "metadata": lambda sets: msgpack.unpackb(sets.metadata.read_bytes()),
}
"""Sound content by the name of the kind; the last one is MessagePack."""


@dataclass(frozen=True)
class Case:
    """A damaged file.

    Attributes:
        number: of the case.
        kind: of :data:`KINDS`.
        name: of the sound file.
        data: what is left of it.
    """

    number: int
    kind: str
    name: str
    data: bytes


def make_case(seed: int, number: int, sets: Sets) -> Case:
    """Depends on the seed and the number alone."""
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
