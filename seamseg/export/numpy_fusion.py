"""Panoptic fusion of the outputs of an exported network (Porzi et al. 2019), for programs without PyTorch.

This file imports only NumPy. Copy it next to your program if seamseg is not installed there.

.. code-block:: python

    description = Description.from_json(session.get_modelmeta().custom_metadata_map["seamseg"])
    outputs = dict(zip(OUTPUTS, session.run(OUTPUTS, {"images": images}), strict=True))
    segmentation = fuse(one_image(outputs, 0), description)

Boxes are ``(y0, x0, y1, x1)`` in pixels, and the center of pixel i is at i + 0.5.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = "seamseg export 2"
OUTPUTS = ("semantics", "boxes", "classes", "scores", "masks", "valid")
"""Names of the outputs of an exported panoptic network, in order; docs/export.md lists their shapes.

Networks of other tasks have some of them.
"""
VOID = 255
"""Class of pixels that belong to no segment."""


@dataclass(frozen=True)
class Description:
    """Classes and fusion settings of an exported network, stored as JSON in its file.

    Attributes:
        height, width: Size of the input images, in pixels; None if the network takes images of any size whose sides are
            multiples of ``size_multiple``.
        batch: Number of images that the network takes at a time; None if any.
        size_multiple: Number that divides the sides of images of any size.
        shortest_side, longest_side: Size that the network was trained for: the shorter side, in pixels, and the maximum
            of the longer one, which takes precedence.
        names: Names of the classes, stuff first, then things.
        colors: Color of each class: red, green, blue in 0 … 255.
        original_ids: Id of each class in its data set.
        num_stuff: Number S of stuff classes, which is the number of the first thing class.
        score_threshold: Minimum score (exclusive) of the objects that enter the fusion.
        overlap_threshold: Maximum fraction of the pixels of an object that may belong to other objects; objects with
            more are dropped.
        min_stuff_area: Minimum area of a stuff segment in pixels of the network's input; values below 1 are a fraction
            of the image.
        version: Version of seamseg that exported the network.
    """

    height: int | None
    width: int | None
    batch: int | None
    size_multiple: int
    shortest_side: int
    longest_side: int
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    original_ids: tuple[int, ...]
    num_stuff: int
    score_threshold: float
    overlap_threshold: float
    min_stuff_area: float
    version: str

    def to_json(self) -> str:
        """Format as JSON, which :meth:`from_json` reads back."""
        return json.dumps({"format": FORMAT} | dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Parse the JSON written by :meth:`to_json`.

        Raises:
            ValueError: The text is not a description of an exported network, or an entry is missing.
        """
        content: Any = json.loads(text)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"the text is not the description of a network exported by seamseg ({FORMAT})")
        fields = {field.name for field in dataclasses.fields(cls)}
        if fields - content.keys():
            raise ValueError(f"the description of the network has no {', '.join(sorted(fields - content.keys()))}")
        entries: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        entries["colors"] = tuple(tuple(color) for color in content["colors"])
        return cls(**{name: entries[name] for name in fields})


def input_size(description: Description, size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width to which an image of this size has to be scaled for the network.

    A network for images of any size gets them at the size that it was trained for, rounded to allowed sides.
    """
    if description.height is not None and description.width is not None:
        return description.height, description.width
    scale = min(description.shortest_side / min(size), description.longest_side / max(size))
    multiple = description.size_multiple
    height, width = (max(2, round(side * scale / multiple)) * multiple for side in size)
    return height, width


def one_image(outputs: Mapping[str, NDArray[Any]], index: int) -> dict[str, NDArray[Any]]:
    """Return the outputs of one image of a batch, as :func:`fuse` expects them."""
    return {name: values[index] for name, values in outputs.items()}


@dataclass(frozen=True)
class NumpySegmentation:
    """Panoptic segmentation of one image: each pixel has a segment, and each segment has a class.

    Attributes:
        ids: H×W int64 segment ids 0 … K; 0 is void.
        classes: K+1 int64 classes of the segments; entry 0 is 255.
        scores: K+1 float32 scores of the segments; 1 for stuff, 0 for void.
        crowd: K+1 bool, True for segments of a thing class that do not come from a detection.
    """

    ids: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]
    crowd: NDArray[np.bool_]


def fuse(
    outputs: Mapping[str, NDArray[Any]], description: Description, size: tuple[int, int] | None = None
) -> NumpySegmentation:
    """Fuse the outputs of an exported panoptic network into a panoptic segmentation.

    Things are placed first, by descending score, each on the pixels that are still free. The remaining pixels form one
    segment per class.

    Args:
        outputs: Outputs of the network for one image, by name; :func:`one_image` picks them from a batch.
        description: Description of the network.
        size: Height and width of the result, for example of the original image; None uses the size of the network's
            input. Masks are interpolated at this size directly. The class of a pixel is that of the input pixel that
            contains its center.

    Returns:
        The segmentation. At the size of the network's input, it equals that of :func:`seamseg.algos.fusion.fuse`.

    Raises:
        ValueError: An output is missing, or the outputs belong to a batch.

    Example:
        A network of one stuff and one thing class whose only detection covers the left half of the image:

        >>> import numpy as np
        >>> from seamseg.export.numpy_fusion import Description, fuse
        >>> description = Description(
        ...     height=4, width=8, batch=1, size_multiple=32, shortest_side=4, longest_side=8, names=("road", "car"),
        ...     colors=((128, 64, 128), (0, 0, 142)), original_ids=(7, 26), num_stuff=1, score_threshold=0.5,
        ...     overlap_threshold=0.5, min_stuff_area=0, version="1.0")
        >>> outputs = {
        ...     "semantics": np.zeros((4, 8), np.uint8), "boxes": np.array([[0, 0, 4, 4]], np.float32),
        ...     "classes": np.array([1]), "scores": np.array([0.9], np.float32),
        ...     "masks": np.full((1, 28, 28), 5, np.float32), "valid": np.array([True]),
        ... }
        >>> segmentation = fuse(outputs, description)
        >>> segmentation.ids[0], segmentation.classes
        (array([1, 1, 1, 1, 2, 2, 2, 2]), array([255,   1,   0]))
    """
    _check(outputs)
    semantics = outputs["semantics"].astype(np.int64)
    scale = np.array(size or semantics.shape) / semantics.shape
    semantics = _scaled(semantics, scale)
    boxes = outputs["boxes"].astype(np.float64) * np.tile(scale, 2)
    ids = np.zeros(semantics.shape, np.int64)
    things: list[int] = []
    for index in _by_score(outputs, description.score_threshold):
        if place_object(ids, outputs["masks"][index], boxes[index], len(things) + 1, description.overlap_threshold):
            things.append(int(index))
    least = description.min_stuff_area * ids.size / (1 if description.min_stuff_area < 1 else outputs["semantics"].size)
    rest = place_classes(ids, semantics, len(things) + 1, least)
    classes = np.concatenate([[VOID], outputs["classes"][things], rest]).astype(np.int64)
    scores = np.concatenate([[0], outputs["scores"][things], np.ones(len(rest))]).astype(np.float32)
    crowd = (classes >= description.num_stuff) & (np.arange(len(classes)) > len(things))
    return NumpySegmentation(ids, classes, scores, crowd)


def _check(outputs: Mapping[str, NDArray[Any]]) -> None:
    missing = [name for name in OUTPUTS if name not in outputs]
    if missing:
        raise ValueError(f"the fusion needs all outputs of a panoptic network, but there are no {', '.join(missing)}")
    if outputs["semantics"].ndim != 2:
        raise ValueError("the outputs belong to a batch; select an image by one_image(outputs, index)")


def _scaled(semantics: NDArray[np.int64], scale: NDArray[np.float64]) -> NDArray[np.int64]:
    rows, columns = (_nearest(old, int(old * factor + 0.5)) for old, factor in zip(semantics.shape, scale, strict=True))
    return semantics[rows][:, columns]


def _by_score(outputs: Mapping[str, NDArray[Any]], score_threshold: float) -> NDArray[np.int64]:
    """Return the indices of the detections that take part, best first."""
    taking_part = outputs["valid"] & (outputs["scores"] > score_threshold)
    order = np.argsort(-outputs["scores"], kind="stable")
    return order[taking_part[order]]


def place_object(
    ids: NDArray[np.int64], logits: NDArray[Any], box: NDArray[np.float64], new_id: int, overlap_threshold: float
) -> bool:
    """Assign the free pixels of a mask to an object, unless other objects own too many of its pixels.

    Args:
        ids: H×W segment ids, 0 where free; changed in place.
        logits: M×M mask logits.
        box: 4 coordinates of the box that the mask covers.
        new_id: Id of the object.
        overlap_threshold: Maximum fraction of the pixels of the mask that may belong to other objects.

    Returns:
        Whether the object was placed. An object without pixels counts as placed.
    """
    (top, bottom), (left, right) = (
        _pixel_range(box[axis], box[axis + 2], length) for axis, length in enumerate(ids.shape)
    )
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
    """Return the pixels of a window whose bilinearly interpolated foreground probability is above ½.

    Args:
        logits: M×M mask logits at the centers of equal cells of the box. The probability fades to 0 beyond them.
        box: 4 coordinates of the box.
        rows: First and last + 1 row of the window.
        columns: First and last + 1 column of the window.

    Returns:
        Bool array with the size of the window.
    """
    with np.errstate(over="ignore"):  # a very negative logit overflows; its probability is 0
        probabilities = 1 / (1 + np.exp(-logits.astype(np.float32)))
    framed: NDArray[np.float32] = np.pad(probabilities.astype(np.float32), 1)
    wide = _interpolated(framed.T, box[1], box[3], columns).T
    return np.asarray(_interpolated(wide, box[0], box[2], rows) > 0.5)


def place_classes(
    ids: NDArray[np.int64], semantics: NDArray[np.int64], first_id: int, min_area: float
) -> NDArray[np.int64]:
    """Assign an id to the free pixels of each class that has enough of them, in ascending order of the classes.

    Args:
        ids: H×W segment ids, 0 where free; changed in place.
        semantics: H×W class of each pixel, 255 for void.
        first_id: Id of the first class that is placed.
        min_area: Minimum number of free pixels. Classes without free pixels never get an id.

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
    """Return, for each of ``new`` pixels, the index of the one of ``old`` pixels that contains its center."""
    return (2 * np.arange(new, dtype=np.int64) + 1) * old // (2 * new)


def _pixel_range(low: float, high: float, length: int) -> tuple[int, int]:
    """Return the first and last + 1 pixel with a center strictly between two edges."""
    first = int(np.clip(np.floor(low - 0.5) + 1, 0, length))
    return first, int(np.clip(np.ceil(high - 0.5), first, length))


def _interpolated(cells: NDArray[np.float32], low: float, high: float, window: tuple[int, int]) -> NDArray[np.float32]:
    """Interpolate rows of cells at the rows of a window; the first and last row of cells are a frame of zeros."""
    num = len(cells) - 2
    pixels = np.arange(*window) + 0.5
    position = np.clip((pixels - low) * (num / max(high - low, 1e-300)) + 0.5, 0, num + 1)
    before = position.astype(np.int64)
    after = np.minimum(before + 1, num + 1)
    fraction = (position - before).astype(np.float32)[:, None]
    return np.asarray(cells[before] + fraction * (cells[after] - cells[before]))
