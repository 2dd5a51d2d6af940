"""Verdicts on segments: drawn by hand, and counted against the panoptic quality."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from support.drawn_predictions import CUT, FOUND, INVENTED, LOST, WRONG, write_drawn_predictions
from support.panoptic_pairs import CATEGORIES, Side, empty_pairs, random_pair

from seamseg.data.formats.coco_json import open_annotation, open_results
from seamseg.metrics.matching import match
from seamseg.metrics.overlaps import Overlaps
from seamseg.report.verdicts import Verdict, judge_segments
from seamseg.score.files import image_overlaps
from seamseg.structures import VOID, Categories, PanopticSegmentation

CLASS_OF = Categories.from_list(CATEGORIES).class_of_original_id


def segments(side: Side) -> PanopticSegmentation:
    names = [0, *(entry["id"] for entry in side.segments)]
    ids = np.searchsorted(np.sort(names), side.ids)
    order = np.argsort(names)
    classes = np.array([VOID, *(CLASS_OF[entry["category_id"]] for entry in side.segments)])[order]
    crowd = np.array([False, *(bool(entry["iscrowd"]) for entry in side.segments)])[order]
    return PanopticSegmentation(torch.from_numpy(ids), torch.from_numpy(classes), torch.from_numpy(crowd))


def test_every_kind_is_drawn(tmp_path) -> None:
    drawn = write_drawn_predictions(tmp_path)
    truth = open_annotation(drawn.truth, None)
    results = open_results(drawn.predictions / "panoptic.json", None, truth.categories)
    found = judge_segments(image_overlaps(truth.images[10], results.images[11], boundary=False))
    kinds = [Verdict.FOUND, Verdict.FOUND, Verdict.FOUND, Verdict.BADLY_CUT, Verdict.WRONG_CLASS]
    assert found.true.verdicts == [Verdict.NOT_COUNTED, *kinds, Verdict.MISSED]
    assert found.predicted.verdicts == [Verdict.NOT_COUNTED, *kinds, Verdict.FALSE]
    assert found.true.partners.tolist() == found.predicted.partners.tolist() == [-1, 1, 2, 3, 4, 5, -1]
    assert found.true.iou[3:6] == pytest.approx([1, 7 / 20, 1])
    assert np.isnan(found.true.iou[[0, 6]]).all()
    assert len({FOUND, CUT, WRONG, LOST, INVENTED}) == 5


@pytest.mark.parametrize("seed", range(40))
def test_they_add_up_to_the_panoptic_quality(seed: int) -> None:
    pairs = [random_pair(seed)] if seed < 36 else [empty_pairs()[seed - 36]]
    for true, predicted in pairs:
        overlaps = Overlaps.between(segments(predicted), segments(true))
        verdicts, counts = judge_segments(overlaps), match(overlaps).counts(len(CATEGORIES))
        sides = (
            (verdicts.true, overlaps.true_classes, counts[3]),
            (verdicts.predicted, overlaps.predicted_classes, counts[2]),
        )
        for side, classes, wrong in sides:
            by_class = Counter(zip(classes.tolist(), side.verdicts, strict=True))
            for number in range(len(CATEGORIES)):
                of_class = {kind: by_class[number, kind] for kind in Verdict}
                assert of_class[Verdict.FOUND] == counts[1, number]
                missed_or_false = sum(of_class.values()) - of_class[Verdict.FOUND] - of_class[Verdict.NOT_COUNTED]
                assert missed_or_false == wrong[number]
        assert Verdict.FALSE not in verdicts.true.verdicts
        assert Verdict.MISSED not in verdicts.predicted.verdicts


@pytest.mark.parametrize("seed", range(30))
def test_partners_by_looking_at_every_pair(seed: int) -> None:
    true, predicted = (segments(side) for side in random_pair(seed))
    overlaps = Overlaps.between(predicted, true)
    verdicts = judge_segments(overlaps)
    void = true.classes[true.ids.long()] == VOID
    for p, (verdict, partner, iou) in enumerate(
        zip(verdicts.predicted.verdicts, verdicts.predicted.partners, verdicts.predicted.iou, strict=True)
    ):
        best = {True: (0.0, -1), False: (0.0, -1)}  # by whether the classes are alike
        for t in range(len(true.classes)):
            if int(true.classes[t]) == VOID or bool(true.crowd[t]):
                continue
            mine, theirs = (predicted.ids == p) & ~void, true.ids == t
            value = float((mine & theirs).sum() / (mine | theirs).sum().clamp(min=1))
            alike = bool(true.classes[t] == predicted.classes[p])
            best[alike] = max(best[alike], (value, t))
        if verdict is Verdict.WRONG_CLASS:
            assert best[False] == (pytest.approx(iou), partner)
            assert iou > 0.5
        elif verdict in (Verdict.FOUND, Verdict.BADLY_CUT):
            assert best[True][0] == pytest.approx(iou)
            assert (iou > 0.5) if verdict is Verdict.FOUND else (0.1 <= iou <= 0.5)
        elif verdict is Verdict.FALSE:
            assert best[True][0] < 0.1
            assert best[False][0] <= 0.5
