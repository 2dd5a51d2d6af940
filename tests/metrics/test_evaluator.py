"""Evaluator: scores of a perfect and of a poor prediction, their JSON form, and several ranks."""

from __future__ import annotations

import json
import pickle

import pytest
import torch

from seamseg.metrics.evaluator import PanopticEvaluator
from seamseg.metrics.scores import Scores
from seamseg.structures import Detections, PanopticSegmentation

NAMES = ("sky", "road", "car", "person")
NUM_STUFF = 2
BOX = [4.0, 2.0, 8.0, 10.0]


def truth() -> PanopticSegmentation:
    """Return sky above road, a car on the road, and a strip of void on the left."""
    ids = torch.ones(12, 16, dtype=torch.int64)
    ids[6:] = 2
    ids[4:8, 2:10] = 3
    ids[:, 0] = 0
    return PanopticSegmentation(ids, torch.tensor([255, 0, 1, 2]), torch.zeros(4, dtype=torch.bool))


def car(score: float = 0.9, box: list[float] = BOX) -> Detections:
    return Detections(torch.tensor([box]), torch.tensor([0]), torch.tensor([score]), torch.full((1, 28, 28), 30.0))


def no_detections() -> Detections:
    return Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(0, 28, 28))


def segmentation(segments: PanopticSegmentation) -> PanopticSegmentation:
    return PanopticSegmentation(segments.ids, segments.classes, segments.crowd, torch.ones(len(segments.classes)))


def update_perfectly(evaluator: PanopticEvaluator, image_id: int) -> None:
    segments = truth()
    evaluator.update(image_id, segmentation(segments), car(), segments.semantics.clamp(max=3), segments)


def update_poorly(evaluator: PanopticEvaluator, image_id: int) -> None:
    """Add a prediction with the car as a crowd segment without a detection, and the sky as person in the class map."""
    segments = truth()
    predicted = PanopticSegmentation(segments.ids, segments.classes, segments.classes == 2)
    semantics = segments.semantics
    semantics[semantics == 0] = 3
    evaluator.update(image_id, segmentation(predicted), no_detections(), semantics, segments)


def scores(*updates: object) -> Scores:
    evaluator = PanopticEvaluator(len(NAMES), NUM_STUFF)
    for image_id, update in enumerate(updates):
        update(evaluator, image_id)  # type: ignore[operator]
    return evaluator.compute(NAMES)


def test_update_with_inputs_that_change_later_keeps_the_scores() -> None:
    """The state must not share memory with its inputs, which worker processes may reuse."""
    segments = truth()
    evaluator = PanopticEvaluator(len(NAMES), NUM_STUFF)
    evaluator.update(0, segmentation(segments), car(), segments.semantics.clamp(max=3), segments)
    segments.classes[1:] = 3
    segments.crowd[1:] = True
    assert evaluator.compute(NAMES).to_dict() == scores(update_perfectly).to_dict()


def test_scores_of_a_perfect_prediction_are_one() -> None:
    result = scores(update_perfectly, update_perfectly).to_dict()
    assert result["all"] == {"pq": 1, "sq": 1, "rq": 1, "n": 3}
    assert result["things"] == {"pq": 1, "sq": 1, "rq": 1, "n": 1}
    assert result["stuff"] == {"pq": 1, "sq": 1, "rq": 1, "n": 2}
    assert [result[key] for key in ("miou", "miou_semantic", "box_ap", "mask_ap")] == pytest.approx([1] * 4)
    assert result["per_class"]["car"] == {
        "pq": 1, "sq": 1, "rq": 1, "tp": 2, "fp": 0, "fn": 0, "iou": 1, "iou_semantic": 1,
        "pq_dagger": 1, "boundary_pq": 1,
    }  # fmt: skip


def test_scores_of_a_poor_prediction_equal_values_by_hand() -> None:
    result = scores(update_poorly)
    assert (result.stuff.pq, result.things.pq, result.things.n) == (1, 0, 1)
    assert (result.per_class["car"].fn, result.per_class["car"].fp) == (
        1,
        0,
    )  # crowd pixels are void, not a false prediction
    assert result.per_class["car"].iou == 0
    assert result.miou == pytest.approx(2 / 3)
    assert result.per_class["car"].iou_semantic == 1
    assert result.per_class["sky"].iou_semantic == result.per_class["person"].iou_semantic == 0
    assert result.miou_semantic == pytest.approx(2 / 4)  # over sky, road, car, person
    assert (result.box_ap, result.mask_ap) == (0, 0)


def test_to_dict_has_exactly_these_keys_and_no_nan() -> None:
    result = scores(update_perfectly).to_dict()
    assert list(result) == [
        "all", "things", "stuff", "per_class", "miou", "miou_semantic", "box_ap", "mask_ap", "pq_dagger", "boundary",
        "images", "analysis", "box", "mask", "unreadable",
    ]  # fmt: skip
    assert list(result["boundary"]) == ["all", "things", "stuff"]
    assert list(result["images"][0]) == ["image_id", "classes", "iou", "tp", "fp", "fn"]
    assert list(result["per_class"]) == list(NAMES)
    assert result["per_class"]["person"]["pq"] is None
    assert result["per_class"]["person"]["tp"] == 0
    assert json.loads(json.dumps(result, allow_nan=False)) == result


NOTHING = {"pq": None, "sq": None, "rq": None, "n": 0}


def test_scores_without_images_are_null() -> None:
    result = scores().to_dict()
    qualities = [*(result[part] for part in ("all", "things", "stuff")), *result["boundary"].values()]
    for size in result["analysis"]["by_size"].values():
        qualities += [size[part] for part in ("all", "things", "stuff")]
    assert qualities == [NOTHING] * len(qualities)
    for name in ("miou", "miou_semantic", "box_ap", "mask_ap", "pq_dagger"):
        assert result[name] is None


def test_scores_of_things_without_things_are_null() -> None:
    evaluator = PanopticEvaluator(len(NAMES), NUM_STUFF)
    segments = PanopticSegmentation(
        torch.ones(4, 4, dtype=torch.int64), torch.tensor([255, 0]), torch.zeros(2, dtype=torch.bool)
    )
    for image_id in range(2):
        evaluator.update(image_id, segmentation(segments), no_detections(), segments.semantics, segments)
    result = evaluator.compute(NAMES).to_dict()
    assert result["things"] == result["boundary"]["things"] == NOTHING
    assert result["all"] == result["stuff"] == {"pq": 1, "sq": 1, "rq": 1, "n": 1}
    assert result["analysis"]["intervals"]["things"] == {"low": None, "high": None}
    assert result["analysis"]["intervals"]["all"] == {"low": 1, "high": 1}


def test_merge_of_two_ranks_equals_one_evaluator() -> None:
    ranks = [PanopticEvaluator(len(NAMES), NUM_STUFF) for _ in range(3)]
    update_perfectly(ranks[1], 0)
    update_poorly(ranks[0], 1)
    merged = PanopticEvaluator(len(NAMES), NUM_STUFF)
    merged.merge(pickle.loads(pickle.dumps(rank.state)) for rank in ranks)  # the third rank has no images
    assert merged.compute(NAMES).to_dict() == scores(update_perfectly, update_poorly).to_dict()
    update_perfectly(merged, 12)
    assert merged.compute(NAMES).per_class["car"].tp == 2
    assert ranks[1].compute(NAMES).per_class["car"].tp == 1


def test_update_or_merge_with_a_scored_image_raises() -> None:
    evaluator, other = (PanopticEvaluator(len(NAMES), NUM_STUFF) for _ in range(2))
    update_perfectly(evaluator, 7)
    update_perfectly(other, 7)
    with pytest.raises(ValueError, match="image 7 was scored twice"):
        update_perfectly(evaluator, 7)
    with pytest.raises(ValueError, match="image 7 was scored twice"):
        evaluator.merge([other.state])


def test_update_with_a_refused_image_leaves_the_state_unchanged() -> None:
    evaluator = PanopticEvaluator(len(NAMES), NUM_STUFF)
    segments = truth()
    with pytest.raises(ValueError, match=r"image 0 .* \(12, 16\).* \(3, 3\)"):
        evaluator.update(0, segmentation(segments), car(), torch.zeros(3, 3, dtype=torch.int64), segments)
    assert evaluator.compute(NAMES).all.n == 0
    update_perfectly(evaluator, 0)


def test_compute_with_too_few_names_raises() -> None:
    with pytest.raises(ValueError, match="3 names for 4 classes"):
        PanopticEvaluator(4, 2).compute(NAMES[:3])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")
def test_update_with_tensors_on_a_gpu_equals_the_cpu() -> None:
    evaluator, segments = PanopticEvaluator(len(NAMES), NUM_STUFF), truth()
    moved = PanopticSegmentation(segments.ids.cuda(), segments.classes.cuda(), segments.crowd.cuda())
    found = segmentation(segments)
    on_gpu = PanopticSegmentation(found.ids.cuda(), found.classes.cuda(), found.crowd.cuda())
    one = car()
    detections = Detections(one.boxes.cuda(), one.classes.cuda(), one.scores.cuda(), one.masks.cuda())
    evaluator.update(0, on_gpu, detections, moved.semantics.clamp(max=3), moved)
    assert evaluator.compute(NAMES).to_dict() == scores(update_perfectly).to_dict()
