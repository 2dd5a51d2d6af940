"""Stages at which things were lost, on a drawn image with one thing per stage."""

from __future__ import annotations

import torch

from seamseg.algos.fusion import fuse
from seamseg.metrics.lost_things import LostThings, LostThingsCounter, total
from seamseg.structures import Detections, PanopticSegmentation

CAR, PERSON = 0, 1
BOXES = [(2, 2, 12, 12), (2, 20, 12, 30), (2, 40, 12, 50), (20, 2, 30, 12), (20, 20, 30, 30), (20, 40, 30, 50)]
"""Cars that are found, outranked, badly cut, of the wrong class, below the threshold, and not proposed."""
WHOLE, TOP = torch.full((6, 6), 9.0), torch.tensor([9.0] * 2 + [-9.0] * 4)[:, None].expand(6, 6)


def truth() -> PanopticSegmentation:
    ids = torch.ones(32, 64, dtype=torch.int64)
    for segment, (y0, x0, y1, x1) in enumerate(BOXES, start=2):
        ids[y0:y1, x0:x1] = segment
    ids[20:30, 54:62] = 8  # a crowd, which is never lost
    classes = torch.tensor([255, 0] + 7 * [1 + CAR])
    crowd = torch.tensor([False] * 8 + [True])
    return PanopticSegmentation(ids, classes, crowd, torch.ones(9))


def detections() -> Detections:
    found = [
        (BOXES[0], CAR, 0.9, WHOLE),
        (BOXES[1], CAR, 0.8, WHOLE),
        (BOXES[1], PERSON, 0.85, WHOLE),
        (BOXES[2], CAR, 0.9, TOP),
        (BOXES[3], PERSON, 0.9, WHOLE),
        (BOXES[4], CAR, 0.4, WHOLE),
    ]
    boxes, classes, scores, masks = zip(*sorted(found, key=lambda one: -one[2]), strict=True)
    return Detections(torch.tensor(boxes).float(), torch.tensor(classes), torch.tensor(scores), torch.stack(masks))


def counter_of_the_drawn_image() -> LostThingsCounter:
    counter, found = LostThingsCounter(num_things=2, num_stuff=1, score_threshold=0.5), detections()
    semantics = torch.zeros(32, 64, dtype=torch.int64)
    segmentation, _ = fuse(found, semantics, num_stuff=1, score_threshold=0.5, overlap_threshold=0.3, min_stuff_area=0)
    proposals = torch.cat([found.boxes, torch.tensor([[20.0, 46, 30, 60]])])  # an IoU of 0.2 with the last car
    counter.update(segmentation, found, proposals, truth())
    return counter


def test_each_drawn_car_is_lost_at_its_stage() -> None:
    lost = counter_of_the_drawn_image().compute(["car", "person"])
    assert lost["car"] == LostThings(things=6, outranked=1, badly_cut=1, wrong_class=1, score_too_low=1, not_proposed=1)
    assert lost["car"].num_lost == 5
    assert lost["person"] == LostThings(0, 0, 0, 0, 0, 0)
    assert total(lost) == lost["car"]


def test_states_of_two_images_add_up() -> None:
    first, second = counter_of_the_drawn_image(), counter_of_the_drawn_image()
    first.state += second.state
    assert first.compute(["car", "person"])["car"] == LostThings(12, 2, 2, 2, 2, 2)


def test_an_image_without_predictions_loses_all_things_before_the_proposals() -> None:
    counter, nothing = LostThingsCounter(2, 1, 0.5), torch.empty(0, 4)
    void = PanopticSegmentation(
        torch.zeros(32, 64, dtype=torch.int64), torch.tensor([255]), torch.tensor([False]), torch.ones(1)
    )
    none = Detections(nothing, torch.empty(0, dtype=torch.int64), torch.empty(0), torch.empty(0, 6, 6))
    counter.update(void, none, nothing, truth())
    assert counter.compute(["car", "person"])["car"] == LostThings(6, 0, 0, 0, 0, 6)
