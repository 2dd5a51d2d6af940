"""Outcomes of segments: maps drawn by hand, and sets of pixels."""

from __future__ import annotations

import pytest
import torch
from oracles import outcomes as oracle

from seamseg.metrics.matching import match
from seamseg.metrics.outcomes import CASES, ImageSegments, Outcome, segment_cases
from seamseg.metrics.overlaps import Overlaps
from seamseg.structures import PanopticSegmentation

VOID = 255


def drawn(rows: str, classes: list[int], crowd: tuple[int, ...] = ()) -> PanopticSegmentation:
    """An id map as lines of digits; ``crowd`` names the crowd segments."""
    ids = torch.tensor([[int(pixel) for pixel in row] for row in rows.split()])
    flags = torch.tensor([segment in crowd for segment in range(len(classes) + 1)])
    return PanopticSegmentation(ids, torch.tensor([VOID, *classes]), flags)


def kept(prediction: PanopticSegmentation, truth: PanopticSegmentation, image_id: int = 0) -> ImageSegments:
    overlaps = Overlaps.between(prediction, truth)
    return ImageSegments.of(image_id, overlaps, match(overlaps))


def plain(images: list[ImageSegments]) -> list[tuple[object, ...]]:
    rows = segment_cases(images)
    assert rows.dtype == CASES
    return [(*row[:3], Outcome(row[3]).name, row[4], pytest.approx(row[5], abs=1e-12)) for row in rows.tolist()]


TRUTH = drawn("11122 11122 11122 33000 33000", [0, 2, 3])


def test_all_found() -> None:
    assert plain([kept(TRUTH, TRUTH)]) == [
        (True, 0, 0, "FOUND", 9, 1), (True, 2, 2, "FOUND", 6, 1), (True, 3, 3, "FOUND", 4, 1),
    ]  # fmt: skip


def test_recognised_but_badly_segmented() -> None:
    # Of the 6 pixels of segment 2 the prediction has 2, and 1 beside them.
    found = plain([kept(drawn("11111 11222 11111 33000 33000", [0, 2, 3]), TRUTH)])
    assert (True, 2, 2, "POOR", 6, 2 / 7) in found
    assert (False, 2, 2, "POOR", 3, 2 / 7) in found


def test_taken_for_another_class() -> None:
    found = plain([kept(drawn("11122 11122 11120 33000 33000", [0, 3, 3]), TRUTH)])
    assert found[1] == (True, 2, 3, "CONFUSED", 6, 5 / 6)
    assert found[3:] == [(False, 3, 2, "CONFUSED", 5, 5 / 6)]


def test_missed_and_invented() -> None:
    found = plain([kept(drawn("11100 11100 11100 33000 33000", [0, 2, 2]), TRUTH)])
    assert found[1] == (True, 2, VOID, "ALONE", 6, 0)
    # A prediction of class 2 stands exactly where segment 3 is: neither side has nothing.
    assert found[2:] == [(True, 3, 2, "CONFUSED", 4, 1), (False, 2, 3, "CONFUSED", 4, 1)]
    found = plain([kept(drawn("11112 11112 11112", [0, 3]), drawn("11111 11111 11111", [0]))])
    assert found == [(True, 0, 0, "FOUND", 15, 12 / 15), (False, 3, VOID, "ALONE", 3, 0)]


def test_a_small_piece_of_the_right_class_does_not_hide_the_confusion() -> None:
    truth = drawn("1111111111", [2])
    found = plain([kept(drawn("1222222222", [2, 3]), truth)])
    assert found[0] == (True, 2, 3, "CONFUSED", 10, 0.9)
    assert (False, 2, 2, "POOR", 1, 0.1) in found
    assert plain([kept(drawn("1000000000 0000000000", [2]), drawn("1111111111 1000000000", [2]))])[0][3] == "ALONE"


def test_void_and_crowd_take_no_part() -> None:
    truth = drawn("11122 11122", [2, 0], crowd=(1,))
    assert plain([kept(drawn("33322 33322", [2, 0, 2]), truth)]) == [(True, 0, 0, "FOUND", 4, 1)]
    assert plain([kept(drawn("11100", [3]), drawn("00022", [1, 0]))]) == [(True, 0, VOID, "ALONE", 2, 0)]


def test_nothing_at_all() -> None:
    assert plain([]) == []
    assert plain([kept(drawn("000", []), drawn("000", []))]) == []


def random_pair(seed: int) -> tuple[PanopticSegmentation, PanopticSegmentation]:
    generator = torch.Generator().manual_seed(seed)

    def side(num: int, crowd: float) -> PanopticSegmentation:
        blocks = torch.randint(0, num + 1, (3, 4), generator=generator)
        classes = torch.randint(0, 4, (num + 1,), generator=generator)
        flags = torch.rand(num + 1, generator=generator) < crowd
        classes[torch.rand(num + 1, generator=generator) < 0.1] = VOID
        classes[0], flags[0] = VOID, False
        return PanopticSegmentation(blocks.repeat_interleave(4, 0).repeat_interleave(3, 1), classes, flags)

    truth, other = side(6, 0.3), side(6, 0.1)
    noise = torch.rand(truth.ids.shape, generator=generator) < 0.3
    same = torch.rand(7, generator=generator) < 0.6
    same[0] = True
    classes = torch.where(same, truth.classes, other.classes)
    return PanopticSegmentation(torch.where(noise, other.ids, truth.ids.roll(seed % 3, 1)), classes, other.crowd), truth


def expected(prediction: PanopticSegmentation, truth: PanopticSegmentation) -> list[oracle.Case]:
    sides = [(side.ids, side.classes.tolist(), side.crowd.tolist()) for side in (prediction, truth)]
    return oracle.cases(*sides[0], *sides[1])


@pytest.mark.parametrize("seed", range(50))
def test_equals_sets_of_pixels(seed: int) -> None:
    assert plain([kept(*random_pair(seed))]) == expected(*random_pair(seed))


def test_many_images_at_once_are_those_one_by_one() -> None:
    pairs = [random_pair(seed) for seed in range(30)]
    each = [expected(*pair) for pair in pairs]
    together = [case for side in (True, False) for cases in each for case in cases if case[0] == side]
    assert plain([kept(*pair) for pair in pairs]) == together
    counts = {(side, name): sum(c[0] == side and c[3] == name for c in together) for side in (True, False) for name in
              ("FOUND", "CONFUSED", "POOR", "ALONE")}  # fmt: skip
    assert counts.pop((False, "FOUND")) == 0
    assert min(counts.values()) >= 5
