"""Cases of fusion, most of them with exact arithmetic, so that results are equal in every pixel, ties included."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import fusion as oracle
from oracles.paste import paste_values
from oracles.upsample_argmax import classes_of
from torch import Tensor

from seamseg.algos.fusion import fuse
from seamseg.ops.fusion import paste_mask, upsample_argmax
from seamseg.structures import Detections, SemanticLogits

NUM_STUFF = 3
CELLS = 4


@dataclass(frozen=True)
class Scene:
    """Arguments of one fusion."""

    detections: Detections
    semantics: Tensor
    score_threshold: float
    overlap_threshold: float
    min_stuff_area: float
    num_stuff: int = NUM_STUFF

    def settings(self) -> dict[str, float]:
        return {
            "num_stuff": self.num_stuff,
            "score_threshold": self.score_threshold,
            "overlap_threshold": self.overlap_threshold,
            "min_stuff_area": self.min_stuff_area,
        }


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Draw scenes with many ties.

    Cells are 0 or 1, boxes lie on quarters of pixels, and their sides are powers of two. Interpolated values then have
    few bits, and values of exactly one half, equal scores, and areas equal to a threshold are common.
    """
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 40))
    num = draw(st.integers(0, 7))
    corners = st.tuples(st.integers(-20, 4 * height), st.integers(-20, 4 * width))
    sides = st.tuples(*[st.sampled_from([0.25, 0.5, 1, 2, 4, 8, 16, 32])] * 2)
    boxes = []
    for (y, x), (down, across) in draw(st.lists(st.tuples(corners, sides), min_size=num, max_size=num)):
        boxes.append([y / 4, x / 4, y / 4 + down, x / 4 + across])
    cells = draw(
        st.lists(st.integers(0, 2 ** (CELLS**2) - 1) | st.just(2 ** (CELLS**2) - 1), min_size=num, max_size=num)
    )
    bits = torch.tensor(cells, dtype=torch.int64)[:, None] >> torch.arange(CELLS**2) & 1
    masks = torch.where(bits.bool(), torch.inf, -torch.inf).reshape(num, CELLS, CELLS)
    numbers = {"min_size": num, "max_size": num}
    detections = Detections(
        torch.tensor(boxes).reshape(num, 4),
        torch.tensor(draw(st.lists(st.integers(0, 2), **numbers)), dtype=torch.int64),
        torch.tensor(draw(st.lists(st.integers(0, 8), **numbers)), dtype=torch.float32) / 8,
        masks,
    )
    seed = draw(st.integers(0, 1000))
    blocks = torch.randint(0, 6, (6, 10), generator=torch.Generator().manual_seed(seed))
    blocks[blocks == 5] = 255
    semantics = blocks.repeat_interleave(4, 0).repeat_interleave(4, 1)[:height, :width]
    thresholds = draw(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
    return Scene(detections, semantics, 0.25, thresholds, draw(st.sampled_from([0, 1, 4, 8.5, 16, 64])))


@st.composite
def exact_scores(draw: st.DrawFn) -> tuple[SemanticLogits, tuple[int, int]]:
    """Draw small integer scores and scales that are powers of two, so that ties are exact and common."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    factors = draw(st.tuples(*[st.sampled_from([1, 2, 4, 8])] * 2))
    padded = (height * factors[0], width * factors[1])
    size = (draw(st.integers(1, padded[0])), draw(st.integers(1, padded[1])))
    scale = draw(st.sampled_from([1, 2, 4]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    logits = torch.randint(-2, 3, (draw(st.integers(1, 7)), height, width), generator=generator).float()
    return SemanticLogits(logits, padded, size), (size[0] * scale, size[1] * scale)


@st.composite
def special_scores(draw: st.DrawFn) -> tuple[SemanticLogits, tuple[int, int]]:
    """Draw such scores of any type with infinities and NaN among them."""
    semantics, output = draw(exact_scores())
    logits = semantics.logits.to(draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16])))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    kinds = draw(st.lists(st.sampled_from([torch.inf, -torch.inf, torch.nan]), min_size=1, max_size=3))
    for kind in kinds:
        logits[torch.rand(logits.shape, generator=generator) < draw(st.sampled_from([0.1, 0.5, 0.9]))] = kind
    return replace(semantics, logits=logits), output


def check_scene(scene: Scene) -> None:
    """Compare fusion with the oracle in every pixel."""
    one, settings = scene.detections, scene.settings()
    found, _ = fuse(one, scene.semantics, **settings)
    parts = (one.boxes, one.classes, one.scores, one.masks, scene.semantics)
    ids, classes, scores, crowd = oracle.fuse(*parts, *settings.values())
    assert torch.equal(found.ids, ids)
    assert found.classes.tolist() == classes
    assert found.scores.tolist() == scores
    assert found.crowd.tolist() == crowd


def check_exact_classes(case: tuple[SemanticLogits, tuple[int, int]]) -> None:
    assert torch.equal(upsample_argmax(*case), classes_of(*case)[0])


def check_classes(shape: tuple[int, int, int], output: tuple[int, int], dtype: torch.dtype = torch.float32) -> None:
    """Compare classes of random scores wherever the best score leads by more than its rounding."""
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    padded = (4 * shape[1], 4 * shape[2])
    semantics = SemanticLogits(logits, padded, (padded[0] - 1, padded[1] - 3))
    found, (expected, lead) = upsample_argmax(semantics, output), classes_of(semantics, output)
    assert found.dtype == torch.int64
    assert not ((found != expected) & (lead > 1e-5)).any()


def check_mask(cells: int, seed: int, size: tuple[int, int] = (23, 31)) -> None:
    """Compare a pasted mask, in a box that may leave the image, wherever its value is not one half."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(cells, cells, generator=generator) * 4
    corners = torch.rand(2, 2, generator=generator) * 50 - 10
    box = torch.cat([corners.amin(0), corners.amax(0)])
    patch, expected = paste_mask(logits, box, size), paste_values(logits, box, size)
    image = torch.zeros(size, dtype=torch.bool)
    image[patch.window] = patch.mask
    assert not ((image != (expected > 0.5)) & ((expected - 0.5).abs() > 1e-5)).any()


# Sizes around tiles, strips and vectors: more columns than a tile of many classes, distant scores, one column.
CLASS_SHAPES = [
    ((5, 6, 10), (24, 40)),
    ((5, 6, 10), (7, 51)),
    ((3, 5, 90), (3, 2)),
    ((1, 1, 1), (1, 1)),
    ((2, 3, 40), (4, 33)),
    ((250, 2, 40), (2, 157)),
    ((700, 2, 70), (2, 280)),
    ((4, 20, 3), (80, 5)),
]


def check_all() -> None:
    """Check all kernels of this process."""
    settings(max_examples=20, deadline=None)(given(scenes())(check_scene))()
    settings(max_examples=20, deadline=None)(given(exact_scores())(check_exact_classes))()
    settings(max_examples=40, deadline=None)(given(special_scores())(check_exact_classes))()
    types = itertools.cycle((torch.float32, torch.bfloat16, torch.float16))
    for (shape, output), dtype in zip(CLASS_SHAPES, types, strict=False):
        check_classes(shape, output, dtype)
    for seed in range(12):
        check_mask([1, 2, 7, 28][seed % 4], seed)
