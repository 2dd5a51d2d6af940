"""Panoptic fusion and the semantic arg-max, against plain PyTorch on full-size maps.

The peer does what the published code does: it samples every mask over the whole image before placing any, and upsamples
every class before choosing the best.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.memory import peak_bytes
from benchmarks.table import Row
from benchmarks.timing import medians, timed
from seamseg.algos.fusion import fuse
from seamseg.ops.fusion import upsample_argmax
from seamseg.structures import Detections, PanopticSegmentation, SemanticLogits, Size

FUSION_SIZE, NUM_OBJECTS, CELLS = (1024, 2048), 100, 28
NUM_STUFF, NUM_CLASSES = 11, 19  # of Cityscapes
ARGMAX_SIZE, ARGMAX_CLASSES, STRIDE = (1920, 2560), 65, 4  # of Mapillary Vistas
QUICK_SIZE = (128, 256)
ALLOWED_MB = 100.0
SCORE, OVERLAP, MIN_AREA = 0.5, 0.5, 4096
_WRONG = "the two sides of a row compute different things"
_WARM_UP = 1


def fusion_rows(rounds: int, quick: bool = False) -> list[Row]:
    """Measure time and memory of fusion and of the semantic arg-max.

    Args:
        rounds: Number of rounds that count.
        quick: Whether to use small images.
    """
    sizes = (QUICK_SIZE, QUICK_SIZE) if quick else (FUSION_SIZE, ARGMAX_SIZE)
    return [*fuse_rows(rounds, sizes[0], NUM_OBJECTS), *argmax_rows(rounds, sizes[1], ARGMAX_CLASSES)]


def fuse_rows(rounds: int, size: Size, num_objects: int) -> list[Row]:
    """Measure fusion of objects and a class map into one segmentation."""
    detections, semantics = a_street(size, num_objects)
    settings = {"num_stuff": NUM_STUFF, "score_threshold": SCORE, "overlap_threshold": OVERLAP}

    def ours() -> PanopticSegmentation:
        return fuse(detections, semantics, **settings, min_stuff_area=MIN_AREA)[0]  # type: ignore[arg-type]

    def peer() -> tuple[Tensor, list[int]]:
        return whole_fusion(detections, semantics)

    found, (ids, classes) = ours(), peer()
    assert found.classes.tolist() == classes, _WRONG
    assert (found.ids != ids).double().mean() < 1e-4, _WRONG  # sampling rounds differently
    what = f"fusion, {size[0]}×{size[1]}, {num_objects} objects of {CELLS}×{CELLS}, {NUM_CLASSES} classes"
    sides = _race(ours, peer, rounds)
    ours_mb, peer_mb = peak_bytes(ours) / 1e6, peak_bytes(peer) / 1e6
    return [
        Row("fusion", f"{what}; pasting every mask at full size", *sides, "ms", 0.03, 0.015),
        Row(
            "fusion-memory",
            f"{what}: extra memory; its limit (pasting at full size: {peer_mb:.0f} MB)",
            *(ours_mb, ALLOWED_MB),
            "MB",
            1.0,
        ),
    ]


def argmax_rows(rounds: int, size: Size, num_classes: int) -> list[Row]:
    """Measure the class map of scores at a quarter of the image size."""
    height, width = size
    shape = (num_classes, height // STRIDE, width // STRIDE)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def ours() -> Tensor:
        return upsample_argmax(SemanticLogits(logits, size, size), size)

    def peer() -> Tensor:
        return F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0].argmax(0)

    assert (ours() != peer()).double().mean() < 1e-4, _WRONG  # interpolation rounds differently
    what = f"semantic arg-max, {num_classes} classes, {height}×{width} from stride {STRIDE}"
    peer_words = "upsampling all scores"
    memory = (peak_bytes(ours) / 1e6, peak_bytes(peer) / 1e6)
    return [
        Row("argmax", f"{what}; {peer_words}", *_race(ours, peer, rounds), "ms", 0.6),
        Row("argmax-memory", f"{what}: extra memory; {peer_words}", *memory, "MB", 0.1),
    ]


def _race(ours: Callable[[], object], peer: Callable[[], object], rounds: int) -> tuple[float, float]:
    sides = {"ours": timed(lambda: None, lambda _: ours()), "peer": timed(lambda: None, lambda _: peer())}
    taken = medians(sides, rounds, _WARM_UP)
    return taken["ours"], taken["peer"]


# ---- the input ------------------------------------------------------------------------------------------------------


def a_street(size: Size, num_objects: int) -> tuple[Detections, Tensor]:
    """Return objects in front of a class map of large areas.

    Objects are rounded shapes with uneven edges, from a hundredth to half of the image's height, and all of them have
    scores above the threshold.
    """
    generator = torch.Generator().manual_seed(0)
    height = size[0] / 2 * 50 ** -torch.rand(num_objects, generator=generator)
    sides = torch.stack([height, height * (0.4 + 1.6 * torch.rand(num_objects, generator=generator))], dim=1)
    centers = torch.rand(num_objects, 2, generator=generator) * torch.tensor(size)
    detections = Detections(
        torch.cat([centers - sides / 2, centers + sides / 2], dim=1),
        torch.randint(0, NUM_CLASSES - NUM_STUFF, (num_objects,), generator=generator),
        0.55 + 0.45 * torch.rand(num_objects, generator=generator),
        _blobs(num_objects, generator),
    )
    coarse = torch.randn(NUM_CLASSES, 9, 17, generator=generator)
    return detections, upsample_argmax(SemanticLogits(coarse, size, size), size)


def _blobs(num: int, generator: torch.Generator) -> Tensor:
    axis = torch.linspace(-1, 1, CELLS)
    radius = (axis[:, None] ** 2 + axis**2).sqrt()
    uneven = F.interpolate(torch.randn(num, 1, 5, 5, generator=generator), (CELLS, CELLS), mode="bicubic")[:, 0]
    return 12 * (0.9 - radius) + 2 * uneven


# ---- the peer -------------------------------------------------------------------------------------------------------


def whole_fusion(detections: Detections, semantics: Tensor) -> tuple[Tensor, list[int]]:
    """Return ids and classes of fusion with full-size masks."""
    sure = detections.scores > SCORE
    order = torch.argsort(detections.scores[sure], descending=True)
    masks = paste_whole(detections.masks[sure], detections.boxes[sure], semantics)[order]
    ids, occupied = torch.zeros_like(semantics), torch.zeros_like(semantics, dtype=torch.bool)
    classes = [255]
    for mask, klass in zip(masks, detections.classes[sure][order].tolist(), strict=True):
        taken = mask & occupied
        if int(taken.sum()) / max(int(mask.sum()), 1) > OVERLAP:
            continue
        free = mask & ~taken
        ids[free] = len(classes)
        occupied |= free
        classes.append(klass + NUM_STUFF)
    for klass in range(int(semantics.max()) + 1):
        free = (semantics == klass) & ~occupied
        if int(free.sum()) >= MIN_AREA:
            ids[free] = len(classes)
            classes.append(klass)
    return ids, classes


def paste_whole(masks: Tensor, boxes: Tensor, image: Tensor) -> Tensor:
    """Return every mask sampled in every pixel, outside of its box as well."""
    height, width = image.shape
    y, x = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    values = torch.empty(len(masks), height, width)
    for index, (y0, x0, y1, x1) in enumerate(boxes.tolist()):
        rows, columns = (y - y0) / (y1 - y0) * 2 - 1, (x - x0) / (x1 - x0) * 2 - 1
        grid = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=-1)
        probabilities = masks[index].sigmoid()[None, None]
        values[index] = F.grid_sample(probabilities, grid[None], padding_mode="zeros", align_corners=False)[0, 0]
    return values > 0.5
