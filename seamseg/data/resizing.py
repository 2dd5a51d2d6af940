"""The sizes at which images are shown to the network, and how their pixels and segments get there."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seamseg.ops.id_maps import index_grid
from seamseg.structures import Size


def network_size(size: Size, shortest_side: int, longest_side: int) -> Size:
    """Height and width of an image whose shorter side becomes ``shortest_side``, its shape kept.

    Where that makes the longer side exceed ``longest_side``, the longer side becomes ``longest_side`` instead. Both
    products are truncated to integers (a side can come out one pixel short), but never to 0.
    """
    scale = shortest_side / min(size)
    if int(max(size) * scale) > longest_side:
        scale = longest_side / max(size)
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def resize_image(image: NDArray[np.uint8], size: Size) -> Tensor:
    """Bilinear resampling of H×W×3 uint8 to 3×h×w uint8, contiguous, of height and width ``size``.

    When shrinking, the filter widens with the scale, so that fine patterns average out instead of turning into others.
    (OpenCV's bilinear looks at four pixels at any scale; the published networks were trained with the wide filter.)
    """
    if image.shape[:2] == size:
        return channels_first(image)
    batch = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    return functional.interpolate(batch, size=list(size), mode="bilinear", antialias=True)[0].contiguous()


def channels_first(image: NDArray[np.uint8]) -> Tensor:
    """From H×W×3 to 3×H×W, contiguous; a copy."""
    planes = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(image, list(planes))
    return torch.from_numpy(planes)


def channels_last(planes: Tensor) -> NDArray[np.uint8]:
    """From 3×H×W to H×W×3, contiguous; a copy."""
    return np.asarray(cv2.merge(list(planes.numpy())), dtype=np.uint8)


def resize_ids(ids: NDArray[np.int32], size: Size) -> NDArray[np.int32]:
    """Nearest neighbor: pixel ``i`` of ``n`` shows the pixel of ``N`` in which its center ``(i + 0.5)·N/n`` lies."""
    if ids.shape == size:
        return ids
    rows, columns = (torch.from_numpy(nearest(old, new)) for old, new in zip(ids.shape, size, strict=True))
    taken: NDArray[np.int32] = index_grid(torch.from_numpy(ids), rows, columns).numpy()
    return taken


def nearest(old: int, new: int) -> NDArray[np.int64]:
    """The pixels of ``old`` in which the centers of ``new`` lie; in integers, where the quotient is exact."""
    return (2 * np.arange(new, dtype=np.int64) + 1) * old // (2 * new)
