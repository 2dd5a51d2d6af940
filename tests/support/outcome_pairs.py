"""Pairs of prediction and truth for outcomes of segments: maps drawn by hand, and random ones with their cases."""

from __future__ import annotations

import torch
from oracles import outcomes as oracle

from seamseg.structures import PanopticSegmentation

VOID = 255

Pair = tuple[PanopticSegmentation, PanopticSegmentation]
"""Prediction and truth of an image."""


def drawn(rows: str, classes: list[int], crowd: tuple[int, ...] = ()) -> PanopticSegmentation:
    """Return a segmentation from rows of digits, the segment ids; ``crowd`` lists the crowd segments."""
    ids = torch.tensor([[int(pixel) for pixel in row] for row in rows.split()])
    flags = torch.tensor([segment in crowd for segment in range(len(classes) + 1)])
    return PanopticSegmentation(ids, torch.tensor([VOID, *classes]), flags)


def random_pair(seed: int) -> Pair:
    generator = torch.Generator().manual_seed(seed)

    def side(num: int, crowd: float) -> PanopticSegmentation:
        blocks = torch.randint(0, num + 1, (3, 4), generator=generator)
        classes = torch.randint(0, 4, (num + 1,), generator=generator)
        flags = torch.rand(num + 1, generator=generator) < crowd
        classes[torch.rand(num + 1, generator=generator) < 0.1] = VOID
        classes[0], flags[0] = VOID, False
        return PanopticSegmentation(blocks.repeat_interleave(4, 0).repeat_interleave(3, 1), classes, flags)

    truth, other = side(6, 0.3), side(6, 0.1)
    noise = torch.rand(truth.ids.shape, generator=generator) < (0.1 if seed % 2 else 0.3)
    same = torch.rand(7, generator=generator) < 0.6
    same[0] = True
    classes = torch.where(same, truth.classes, other.classes)
    prediction = PanopticSegmentation(torch.where(noise, other.ids, truth.ids.roll(seed % 3, 1)), classes, other.crowd)
    return (with_pieces(prediction) if seed % 2 else prediction), truth


def with_pieces(segments: PanopticSegmentation) -> PanopticSegmentation:
    """Return the segmentation with the last quarter of every segment as a separate segment of the same class."""
    ids, num = segments.ids.flatten(), len(segments.classes)
    for segment in range(1, num):
        pixels = (ids == segment).nonzero()[:, 0]
        ids[pixels[3 * len(pixels) // 4 :]] = num + segment - 1
    classes, crowd = (torch.cat([one, one[1:]]) for one in (segments.classes, segments.crowd))
    return PanopticSegmentation(ids.view_as(segments.ids), classes, crowd)


def expected(prediction: PanopticSegmentation, truth: PanopticSegmentation) -> list[oracle.Case]:
    sides = [(side.ids, side.classes.tolist(), side.crowd.tolist()) for side in (prediction, truth)]
    return oracle.cases(sides[0], sides[1])
