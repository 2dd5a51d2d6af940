"""Id maps: read, look up ids, resample, and compute boxes and areas of segments."""

from __future__ import annotations

import torch
from torch import Tensor

from seamseg.ops import native
from seamseg.structures import LayeredSegmentation, PanopticSegmentation


def read_id_png(data: bytes) -> Tensor:
    """Read the ids of an RGB PNG file with 8 bits per channel, without transparency and interlacing.

    Args:
        data: Contents of the file.

    Returns:
        H×W int32, ``red + 256 green + 65536 blue``.

    Raises:
        ValueError: If the file is broken or of another kind.
        NativeLibraryError: If the native library is missing.
    """
    native.use_zlib_ng()
    native.require("read_id_png", _read)
    try:
        ids: Tensor = torch.ops.seamseg.read_id_png(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    except (RuntimeError, ValueError) as error:  # the reader of the rows names an operator of its own
        raise ValueError(f"read_id_png: {error}") from None
    return ids


def lookup_ids(ids: Tensor, known: Tensor) -> Tensor:
    """Return the position of each id of a map in a list.

    Args:
        ids: H×W int32 on the CPU.
        known: K int32, ascending.

    Returns:
        H×W int32 in 0 … K−1; −1 for ids that are not in the list.

    Raises:
        ValueError: If a tensor has another type or shape, or the list is not ascending.
        NativeLibraryError: If the native library is missing.
    """
    positions: Tensor = native.call("lookup_ids", _lookup_shape, ids, known)
    return positions


def index_grid(ids: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Compute ``ids[rows][:, columns]`` in one pass, for resampling, cropping and mirroring.

    Args:
        ids: H×W int32 on the CPU.
        rows: h int64 in 0 … H−1, in any order.
        columns: w int64 in 0 … W−1, in any order.

    Returns:
        h×w int32.

    Raises:
        ValueError: If a tensor has another type or shape, or a row or column is not in the map.
        NativeLibraryError: If the native library is missing.
    """
    resampled: Tensor = native.call("index_grid", _index_grid_shape, ids, rows, columns)
    return resampled


def _read(data: Tensor) -> Tensor:
    size = torch.library.get_ctx()
    return data.new_empty((size.new_dynamic_size(), size.new_dynamic_size()), dtype=torch.int32)


def _lookup_shape(ids: Tensor, known: Tensor) -> Tensor:
    return ids.new_empty(tuple(ids.shape))


def _index_grid_shape(ids: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return ids.new_empty((rows.shape[0], columns.shape[0]))


def segment_boxes(ids: Tensor, num_segments: int) -> tuple[Tensor, Tensor]:
    """Compute the tight box and the number of pixels of every segment in one pass over the id map.

    Args:
        ids: H×W int32 or int64 on the CPU, the segment of every pixel, in 0 … num_segments − 1.
        num_segments: Number of segments, including those without pixels.

    Returns:
        boxes: num_segments×4 float32, (y0, x0, y1, x1) in pixel edges, half-open; −1 for a segment without pixels.
        areas: num_segments int64, in pixels.

    Raises:
        ValueError: If ids are not H×W int32 or int64, an id is not in 0 … num_segments − 1, or num_segments is
            negative.
        NativeLibraryError: If the native library is missing.
    """
    boxes, areas = native.call("segment_boxes", _segment_boxes_shapes, ids, num_segments)
    return boxes, areas


def _segment_boxes_shapes(ids: Tensor, num_segments: int) -> tuple[Tensor, Tensor]:
    boxes = ids.new_empty((num_segments, 4), dtype=torch.float32)
    areas = ids.new_empty((num_segments,), dtype=torch.int64)
    return boxes, areas


def layered_segment_boxes(ids: Tensor, num_segments: int) -> tuple[Tensor, Tensor]:
    """Compute the tight box and the number of pixels of every segment of L layers.

    Args:
        ids: L×H×W int32 or int64 on the CPU with L ≥ 1, in 0 … num_segments − 1; every segment except void lies in one
            layer.
        num_segments: Number of segments, including those without pixels.

    Returns:
        Boxes and areas as :func:`segment_boxes` returns them. With several layers, row 0 (void) has no meaning.

    Raises:
        ValueError: See :func:`segment_boxes`.
    """
    measured = [segment_boxes(layer, num_segments) for layer in ids]
    boxes, areas = (torch.stack(parts) for parts in zip(*measured, strict=True))
    return boxes.amax(dim=0), areas.sum(dim=0)


def drop_empty_segments(segmentation: PanopticSegmentation) -> tuple[PanopticSegmentation, Tensor]:
    """Renumber the segments so that each has a pixel; void stays 0, even without pixels, and the order is kept.

    Args:
        segmentation: Annotation with H×W int32 ids on the CPU.

    Returns:
        The segmentation with the K remaining segments, and their K+1×4 float32 boxes (y0, x0, y1, x1); −1 for void
        without pixels.
    """
    left, boxes, _ = drop_empty_layers(segmentation.as_layers())
    return left.flat, boxes


def drop_empty_layers(segmentation: LayeredSegmentation) -> tuple[LayeredSegmentation, Tensor, Tensor]:
    """Renumber the segments as :func:`drop_empty_segments` does, and drop layers without segments except for one.

    Args:
        segmentation: Annotation with L×H×W int32 ids on the CPU.

    Returns:
        The segmentation with the K remaining segments, their K+1×4 float32 boxes, and which of the segments remain,
        bool.
    """
    ids = segmentation.ids
    if len(ids) > 1:
        used_layers = ids.flatten(1).any(dim=1)
        ids = ids[used_layers] if used_layers.any() else ids[:1]
    boxes, areas = layered_segment_boxes(ids, len(segmentation.classes))
    used = areas > 0
    used[0] = True
    if used.all():
        return LayeredSegmentation(ids, segmentation.classes, segmentation.crowd), boxes, used
    new_ids = used.cumsum(0, dtype=torch.int32) - 1
    ids = new_ids.index_select(0, ids.reshape(-1)).view(ids.shape)
    return LayeredSegmentation(ids, segmentation.classes[used], segmentation.crowd[used]), boxes[used], used
