"""Panoptic fusion of an exported network's outputs (Porzi et al. 2019), for programs that have numpy but no PyTorch.

This file imports nothing but numpy: copy it beside your program if seamseg is not installed there.

    description = Description.from_json(session.get_modelmeta().custom_metadata_map["seamseg"])
    outputs = dict(zip(OUTPUTS, session.run(OUTPUTS, {"image": image}), strict=True))
    segmentation = fuse(outputs, description)

Boxes are ``(y0, x0, y1, x1)`` in pixels, and the center of pixel i lies at i + 0.5.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = "seamseg export 1"
OUTPUTS = ("semantics", "boxes", "classes", "scores", "masks", "valid")
"""What an exported network says of an image, in its order; docs/export.md tells their shapes."""
VOID = 255
"""The class of pixels that belong to no segment."""


@dataclass(frozen=True)
class Description:
    """What belongs to an exported network; its file carries it as JSON.

    Attributes:
        height, width: of the images that it takes, in pixels.
        names: of the classes, stuff first, then things.
        colors: red, green, blue in 0 … 255 of each.
        original_ids: the number of each in its data set.
        num_stuff: S, the first thing class.
        score_threshold: objects take part in the fusion when their score is above this.
        overlap_threshold: an object is dropped when more than this fraction of its pixels belongs to others.
        min_stuff_area: smallest area of a stuff segment, in pixels of the network's input.
        version: of the seamseg that exported it.
    """

    height: int
    width: int
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    original_ids: tuple[int, ...]
    num_stuff: int
    score_threshold: float
    overlap_threshold: float
    min_stuff_area: float
    version: str

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT} | dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Reads what :meth:`to_json` wrote.

        Raises:
            SeamsegError: it is no description of an exported network, or lacks an entry.
        """
        content: Any = json.loads(text)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"this is no description of a network that seamseg exported ({FORMAT})")
        fields = {field.name for field in dataclasses.fields(cls)}
        if fields - content.keys():
            raise ValueError(f"the description of the network lacks {', '.join(sorted(fields - content.keys()))}")
        entries: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        entries["colors"] = tuple(tuple(color) for color in content["colors"])
        return cls(**{name: entries[name] for name in fields})


@dataclass(frozen=True)
class NumpySegmentation:
    """One image, fused: every pixel has a segment, every segment a class.

    Attributes:
        ids: H×W int64, segment ids 0 … K; 0 is void.
        classes: K+1 int64; entry 0 is 255.
        scores: K+1 float32; 1 for stuff, 0 for void.
        crowd: K+1 bool; segments of a thing class that no detection stands behind.
    """

    ids: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]
    crowd: NDArray[np.bool_]


def fuse(
    outputs: Mapping[str, NDArray[Any]], description: Description, size: tuple[int, int] | None = None
) -> NumpySegmentation:
    """Things by falling score, each on the pixels still free, then one segment per class on what is left.

    Args:
        outputs: of the network, by their names.
        description: of the network.
        size: height and width of the result, such as those of the image; None for the network's input. Masks are
            read off at that size directly, the class of a pixel is that of the input's pixel in which its center lies.

    Returns:
        At the size of the network's input, what :func:`seamseg.algos.fusion.fuse` gives.

    Example:
        A network of one stuff and one thing class whose only detection covers the left half of the image:

        >>> import numpy as np
        >>> from seamseg.export.numpy_fusion import Description, fuse
        >>> description = Description(
        ...     height=4, width=8, names=("road", "car"), colors=((128, 64, 128), (0, 0, 142)), original_ids=(7, 26),
        ...     num_stuff=1, score_threshold=0.5, overlap_threshold=0.5, min_stuff_area=0, version="1.0"
        ... )
        >>> outputs = {
        ...     "semantics": np.zeros((4, 8), np.uint8),
        ...     "boxes": np.array([[0, 0, 4, 4]], np.float32),
        ...     "classes": np.array([1]),
        ...     "scores": np.array([0.9], np.float32),
        ...     "masks": np.full((1, 28, 28), 5, np.float32),
        ...     "valid": np.array([True]),
        ... }
        >>> segmentation = fuse(outputs, description)
        >>> segmentation.ids[0], segmentation.classes
        (array([1, 1, 1, 1, 2, 2, 2, 2]), array([255,   1,   0]))
    """
    semantics = outputs["semantics"].astype(np.int64)
    scale = np.array(size or semantics.shape) / semantics.shape
    rows, columns = (_nearest(old, int(old * factor + 0.5)) for old, factor in zip(semantics.shape, scale, strict=True))
    semantics = semantics[rows][:, columns]
    taking_part = outputs["valid"] & (outputs["scores"] > description.score_threshold)
    order = np.argsort(-outputs["scores"], kind="stable")
    order = order[taking_part[order]]
    boxes = outputs["boxes"].astype(np.float64) * np.tile(scale, 2)
    ids = np.zeros(semantics.shape, np.int64)
    things: list[int] = []
    for index in order:
        if place_object(ids, outputs["masks"][index], boxes[index], len(things) + 1, description.overlap_threshold):
            things.append(int(index))
    rest = place_classes(ids, semantics, len(things) + 1, description.min_stuff_area * float(scale.prod()))
    classes = np.concatenate([[VOID], outputs["classes"][things], rest]).astype(np.int64)
    scores = np.concatenate([[0], outputs["scores"][things], np.ones(len(rest))]).astype(np.float32)
    crowd = (classes >= description.num_stuff) & (np.arange(len(classes)) > len(things))
    return NumpySegmentation(ids, classes, scores, crowd)


def place_object(
    ids: NDArray[np.int64], logits: NDArray[Any], box: NDArray[np.float64], new_id: int, overlap_threshold: float
) -> bool:
    """Gives an object the free pixels of its mask, unless others have more than a fraction of its pixels.

    Args:
        ids: H×W, 0 where free; written to.
        logits: M×M mask logits.
        box: 4, what they span.
        new_id: of the object.
        overlap_threshold: that fraction.

    Returns:
        Whether the object got its id; one without a pixel does.
    """
    (top, bottom), (left, right) = (_inside(box[axis], box[axis + 2], length) for axis, length in enumerate(ids.shape))
    mask = paste(logits, box, (top, bottom), (left, right))
    window = ids[top:bottom, left:right]
    free = mask & (window == 0)
    area, free_area = np.count_nonzero(mask), np.count_nonzero(free)
    if area and (area - free_area) / area > overlap_threshold:
        return False
    window[free] = new_id
    return True


def paste(
    logits: NDArray[Any], box: NDArray[np.float64], rows: tuple[int, int], columns: tuple[int, int]
) -> NDArray[np.bool_]:
    """The pixels of a window whose foreground probability, interpolated bilinearly, is over ½.

    Args:
        logits: M×M; they are the centers of equal cells of the box, beyond which the probability fades to 0.
        box: 4.
        rows, columns: of the window, the end excluded.
    """
    with np.errstate(over="ignore"):  # of a very negative logit: the probability is 0
        probabilities = 1 / (1 + np.exp(-logits.astype(np.float32)))
    framed: NDArray[np.float32] = np.pad(probabilities.astype(np.float32), 1)
    wide = _interpolated(framed.T, box[1], box[3], columns).T
    return np.asarray(_interpolated(wide, box[0], box[2], rows) > 0.5)


def place_classes(
    ids: NDArray[np.int64], semantics: NDArray[np.int64], first_id: int, min_area: float
) -> NDArray[np.int64]:
    """Gives the free pixels of every class, ascending, an id, if there are enough of them.

    Args:
        ids: H×W, 0 where free; written to.
        semantics: H×W, the class of every pixel, 255 where none.
        first_id: of the first class.
        min_area: smallest number of pixels; classes without any never get an id.

    Returns:
        The classes that got an id.
    """
    areas = np.bincount(np.where(ids == 0, semantics, VOID).ravel(), minlength=VOID + 1)[:VOID]
    classes = np.flatnonzero((areas > 0) & (areas >= min_area))
    id_of = np.zeros(VOID + 1, np.int64)
    id_of[classes] = np.arange(first_id, first_id + len(classes))
    np.copyto(ids, id_of[semantics], where=ids == 0)
    return classes


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    """The pixels of ``old`` in which the centers of ``new`` lie."""
    return (2 * np.arange(new, dtype=np.int64) + 1) * old // (2 * new)


def _inside(low: float, high: float, length: int) -> tuple[int, int]:
    """First and last + 1 of the pixels that have their center strictly between two edges."""
    first = int(np.clip(np.floor(low - 0.5) + 1, 0, length))
    return first, int(np.clip(np.ceil(high - 0.5), first, length))


def _interpolated(cells: NDArray[np.float32], low: float, high: float, window: tuple[int, int]) -> NDArray[np.float32]:
    """Rows of pixels between rows of cells, of which a frame of zeros is the first and the last."""
    num = len(cells) - 2
    pixels = np.arange(*window) + 0.5
    position = np.clip((pixels - low) * (num / max(high - low, 1e-300)) + 0.5, 0, num + 1)
    before = position.astype(np.int64)
    after = np.minimum(before + 1, num + 1)
    fraction = (position - before).astype(np.float32)[:, None]
    return np.asarray(cells[before] + fraction * (cells[after] - cells[before]))
