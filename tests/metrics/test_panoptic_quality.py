"""Panoptic quality, on maps drawn by hand and compared with an oracle, hotcoco and the published network's counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import hotcoco.panoptic
import numpy as np
import pytest
import torch
from oracles import panoptic_quality as oracle

from seamseg.metrics.panoptic_quality import PanopticQuality, Quality
from seamseg.structures import PanopticSegmentation

NUM_CLASSES, NUM_STUFF = 4, 2


def drawn(rows: str, classes: list[int], crowd: tuple[int, ...] = ()) -> PanopticSegmentation:
    """Return a segmentation from rows of digits, the segment ids; ``crowd`` lists the crowd segments."""
    ids = torch.tensor([[int(pixel) for pixel in row] for row in rows.split()])
    flags = torch.tensor([segment in crowd for segment in range(len(classes) + 1)])
    return PanopticSegmentation(ids, torch.tensor([255, *classes]), flags)


def counted(
    prediction: PanopticSegmentation, truth: PanopticSegmentation, num_classes: int = NUM_CLASSES
) -> torch.Tensor:
    quality = PanopticQuality(num_classes, NUM_STUFF)
    quality.update(prediction, truth)
    return quality.counts


def by_class(state: torch.Tensor) -> dict[int, list[float]]:
    """Return IoU sum, TP, FP and FN of the classes with any count."""
    return {c: [round(v, 6) for v in state[:, c].tolist()] for c in range(state.shape[1]) if state[:, c].any()}


TRUTH = drawn("11122 11122 11122 33000 33000", [0, 2, 3])


def test_quality_of_a_perfect_prediction_is_one() -> None:
    quality = PanopticQuality(NUM_CLASSES, NUM_STUFF)
    quality.update(TRUTH, TRUTH)
    assert by_class(quality.counts) == {0: [1, 1, 0, 0], 2: [1, 1, 0, 0], 3: [1, 1, 0, 0]}
    assert quality.over_all() == Quality(1, 1, 1, 3)
    assert quality.over_things() == Quality(1, 1, 1, 2)
    assert quality.over_stuff() == Quality(1, 1, 1, 1)


def test_iou_on_void_pixels_ignores_them_in_the_union() -> None:
    # Segment 3 grows over all void pixels: IoU 1. Segment 1 loses a column to segment 2: IoU 6/9 for both.
    prediction = drawn("11222 11222 11222 33333 33333", [0, 2, 3])
    assert by_class(counted(prediction, TRUTH)) == {
        0: [round(6 / 9, 6), 1, 0, 0],
        2: [round(6 / 9, 6), 1, 0, 0],
        3: [1, 1, 0, 0],
    }


def test_segments_with_an_iou_of_one_half_do_not_match() -> None:
    truth = drawn("11112222", [0, 1])
    assert by_class(counted(drawn("11000000", [0]), truth)) == {0: [0, 0, 1, 1], 1: [0, 0, 0, 1]}
    assert by_class(counted(drawn("11100000", [0]), truth)) == {0: [0.75, 1, 0, 0], 1: [0, 0, 0, 1]}


def test_segments_with_different_classes_do_not_match() -> None:
    prediction = drawn("11122 11122 11122 33000 33000", [1, 3, 3])
    assert by_class(counted(prediction, TRUTH)) == {0: [0, 0, 0, 1], 1: [0, 0, 1, 0], 2: [0, 0, 0, 1], 3: [1, 1, 1, 0]}


def test_false_prediction_mostly_on_void_does_not_count() -> None:
    truth = drawn("11000", [0])
    assert by_class(counted(drawn("11222", [0, 2]), truth)) == {0: [1, 1, 0, 0]}
    assert by_class(counted(drawn("02200", [0, 2]), truth)) == {
        0: [0, 0, 0, 1],
        2: [0, 0, 1, 0],
    }  # exactly half is not enough
    assert by_class(counted(drawn("02220", [0, 2]), truth)) == {0: [0, 0, 0, 1]}


def test_true_crowd_is_never_missed_and_excuses_only_its_own_class() -> None:
    truth = drawn("11122 11122", [2, 0], crowd=(1,))
    assert by_class(counted(drawn("11322 11322", [2, 0, 2]), truth)) == {0: [1, 1, 0, 0]}
    assert by_class(counted(drawn("11322 11322", [3, 0, 3]), truth)) == {0: [1, 1, 0, 0], 3: [0, 0, 2, 0]}
    assert by_class(counted(drawn("00022 00022", [2, 0]), truth)) == {0: [1, 1, 0, 0]}


def test_false_prediction_on_crowd_and_void_adds_up_both() -> None:
    truth = drawn("1102222222", [2, 0], crowd=(1,))
    assert by_class(counted(drawn("1111100000", [2]), truth)) == {0: [0, 0, 0, 1]}
    assert by_class(counted(drawn("1111110000", [2]), truth)) == {0: [0, 0, 0, 1], 2: [0, 0, 1, 0]}


def test_several_crowd_segments_of_a_class_excuse_only_with_the_last() -> None:
    """COCO's own implementation keeps one crowd segment per class."""
    truth = drawn("1122333", [2, 2, 0], crowd=(1, 2))
    assert by_class(counted(drawn("0111100", [2]), truth)) == {0: [0, 0, 0, 1], 2: [0, 0, 1, 0]}
    assert by_class(counted(drawn("0111000", [2]), truth)) == {0: [0, 0, 0, 1]}
    assert by_class(counted(drawn("1110000", [2]), truth)) == {0: [0, 0, 0, 1], 2: [0, 0, 1, 0]}


def test_predicted_crowd_counts_as_void() -> None:
    prediction = drawn("11122 11122 11122 33000 33000", [0, 2, 3], crowd=(3,))
    assert by_class(counted(prediction, TRUTH)) == {0: [1, 1, 0, 0], 2: [1, 1, 0, 0], 3: [0, 0, 0, 1]}


def test_segments_without_pixels_do_not_count() -> None:
    prediction = PanopticSegmentation(TRUTH.ids, torch.tensor([255, 0, 2, 3, 3]), torch.zeros(5, dtype=torch.bool))
    truth = PanopticSegmentation(TRUTH.ids, torch.tensor([255, 0, 2, 3, 1, 3]), torch.zeros(6, dtype=torch.bool))
    assert torch.equal(counted(prediction, truth), counted(TRUTH, TRUTH))


def test_quality_with_only_void_in_the_truth_is_nan() -> None:
    quality = PanopticQuality(NUM_CLASSES, NUM_STUFF)
    quality.update(drawn("12", [0, 2]), drawn("00", []))
    assert not quality.state.any()
    for mean in (quality.over_all(), quality.over_things()):
        assert [mean.pq, mean.sq, mean.rq, mean.n] == pytest.approx([torch.nan, torch.nan, torch.nan, 0], nan_ok=True)
    assert quality.pq.isnan().all()


def test_means_over_classes_skip_absent_classes() -> None:
    quality = PanopticQuality(NUM_CLASSES, NUM_STUFF)
    quality.add(np.array([[1.6, 0, 0, 0.9], [2, 0, 0, 1], [1, 0, 3, 0], [1, 0, 0, 2]])[:, None])
    assert quality.sq.tolist() == pytest.approx([0.8, torch.nan, 0, 0.9], nan_ok=True)
    assert quality.rq.tolist() == pytest.approx([2 / 3, torch.nan, 0, 0.5], nan_ok=True)
    assert quality.pq.tolist() == pytest.approx([1.6 / 3, torch.nan, 0, 0.45], nan_ok=True)
    means = quality.over_all()
    assert (means.pq, means.n) == (pytest.approx((1.6 / 3 + 0.45) / 3), 3)
    assert quality.over_things() == Quality(pytest.approx(0.225), pytest.approx(0.45), pytest.approx(0.25), 2)
    assert quality.over_stuff().n == 1


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (drawn("111", [0]), drawn("11", [0]), "same size"),
        (drawn("11", [4]), drawn("11", [0]), "class 4"),
        (drawn("11", [0]), drawn("11", [-1]), "class -1"),
    ],
)
def test_update_with_invalid_input_raises_and_keeps_the_state(
    prediction: PanopticSegmentation, truth: PanopticSegmentation, message: str
) -> None:
    quality = PanopticQuality(NUM_CLASSES, NUM_STUFF)
    with pytest.raises(ValueError, match=message):
        quality.update(prediction, truth)
    assert not quality.state.any()


def random_segments(
    generator: torch.Generator, size: tuple[int, int], num_segments: int, crowds: bool
) -> PanopticSegmentation:
    """Return blocks of random segments, including void; crowd is rare unless ``crowds`` is set."""
    blocks = torch.randint(0, num_segments + 1, (3, 4), generator=generator)
    ids = blocks.repeat_interleave(5, 0).repeat_interleave(4, 1)[: size[0], : size[1]]
    classes = torch.randint(0, NUM_CLASSES, (num_segments + 1,), generator=generator)
    crowd = torch.rand(num_segments + 1, generator=generator) < (0.4 if crowds else 0.1)
    classes[0], crowd[0] = 255, False
    return PanopticSegmentation(ids, classes, crowd)


def random_pair(seed: int) -> tuple[PanopticSegmentation, PanopticSegmentation]:
    """Return a prediction and a truth that agree in most pixels and classes."""
    generator = torch.Generator().manual_seed(seed)
    truth = random_segments(generator, (14, 15), 7, crowds=True)
    other = random_segments(generator, (14, 15), 7, crowds=False)
    noise = torch.rand(truth.ids.shape, generator=generator) < 0.25
    same_class = torch.rand(len(truth.classes), generator=generator) < 0.8
    same_class[0] = True
    ids = torch.where(noise, other.ids, truth.ids.roll(int(seed % 3), 1))
    return PanopticSegmentation(ids, torch.where(same_class, truth.classes, other.classes), other.crowd), truth


@pytest.mark.parametrize("seed", range(60))
def test_counts_of_a_random_pair_equal_the_oracle(seed: int) -> None:
    prediction, truth = random_pair(seed)
    sides = [(side.ids, side.classes.tolist(), side.crowd.tolist()) for side in (prediction, truth)]
    expected = oracle.count(sides[0], sides[1], NUM_CLASSES)
    found = counted(prediction, truth)
    assert torch.allclose(found, expected, atol=1e-12)
    assert torch.equal(found[1:], expected[1:])


def test_random_pairs_include_every_kind_of_count() -> None:
    total = torch.stack([counted(*random_pair(seed)) for seed in range(60)]).sum(0)
    assert (total[1:].sum(1) > 20).all()


@pytest.mark.parametrize("num_ranks", [2, 3, 7])
def test_merge_of_uneven_shares_equals_one_process_bit_for_bit(num_ranks: int) -> None:
    single, ranks = PanopticQuality(NUM_CLASSES, NUM_STUFF), []
    shares = np.array_split(np.random.default_rng(num_ranks).permutation(60), [5, 6, 20, 31, 40, 59][: num_ranks - 1])
    for seed in range(60):
        single.update(*random_pair(seed))
    for share in shares:
        ranks.append(PanopticQuality(NUM_CLASSES, NUM_STUFF))
        for seed in share.tolist():
            ranks[-1].update(*random_pair(seed))
    merged = PanopticQuality(NUM_CLASSES, NUM_STUFF)
    for rank in reversed(ranks):
        merged.merge(rank.state)
    assert torch.equal(merged.counts, single.counts)
    assert (merged.over_all(), merged.over_things()) == (single.over_all(), single.over_things())
    in_floats = [
        sum(counted(*random_pair(int(seed)))[0] for seed in order) for order in (range(60), np.concatenate(shares))
    ]
    assert not torch.equal(*in_floats), "sums of floats must depend on the order, or this test shows nothing"


def test_counts_of_uint8_maps_do_not_overflow() -> None:
    prediction, truth = random_pair(5)
    small = [PanopticSegmentation(side.ids.to(torch.uint8), side.classes, side.crowd) for side in (prediction, truth)]
    assert torch.equal(counted(*small), counted(prediction, truth))


def write_panoptic(folder: Path, name: str, images: list[PanopticSegmentation]) -> Path:
    """Write COCO's panoptic format: a JSON file and a folder of PNGs. Predicted crowd must already be void."""
    (folder / name).mkdir()
    annotations = []
    for image, segments in enumerate(images):
        ids = segments.ids.numpy().astype(np.uint8)
        cv2.imwrite(str(folder / name / f"{image}.png"), np.stack([0 * ids, 0 * ids, ids], axis=-1))
        present = [segment for segment in np.unique(ids).tolist() if segments.classes[segment] != 255]
        info = [
            {
                "id": segment,
                "category_id": int(segments.classes[segment]) + 1,
                "area": int((ids == segment).sum()),
                "bbox": [0, 0, 1, 1],
                "iscrowd": int(segments.crowd[segment]),
            }
            for segment in present
        ]
        annotations.append({"image_id": image, "file_name": f"{image}.png", "segments_info": info})
    size = {"height": images[0].size[0], "width": images[0].size[1]}
    content = {
        "images": [{"id": image, "file_name": f"{image}.jpg"} | size for image in range(len(images))],
        "annotations": annotations,
        "categories": [{"id": c + 1, "name": f"class {c}", "isthing": int(c >= NUM_STUFF)} for c in range(NUM_CLASSES)],
    }
    (folder / f"{name}.json").write_text(json.dumps(content))
    return folder / f"{name}.json"


def void_as_zero(segments: PanopticSegmentation) -> PanopticSegmentation:
    """Erase crowd from the map, since only id 0 is void in a file."""
    return PanopticSegmentation(
        segments.ids.masked_fill(segments.crowd[segments.ids], 0), segments.classes, segments.crowd
    )


def test_quality_of_random_pairs_equals_hotcoco(tmp_path: Path) -> None:
    pairs = [random_pair(seed) for seed in range(80)]
    truths = [truth for _, truth in pairs]
    predictions = [void_as_zero(prediction) for prediction, _ in pairs]
    evaluation = hotcoco.panoptic.PanopticEval(
        str(write_panoptic(tmp_path, "truth", truths)), str(write_panoptic(tmp_path, "prediction", predictions))
    )
    evaluation.evaluate()
    expected = evaluation.results()
    quality = PanopticQuality(NUM_CLASSES, NUM_STUFF)
    for (prediction, _), truth in zip(pairs, truths, strict=True):
        quality.update(prediction, truth)
    for klass in range(NUM_CLASSES):
        theirs = expected["per_class"][klass + 1]
        assert quality.counts[:, klass].tolist() == pytest.approx([theirs[key] for key in ("iou", "tp", "fp", "fn")])
        assert float(quality.pq[klass]) == pytest.approx(theirs["pq"])
    for name, ours in (("All", quality.over_all()), ("Things", quality.over_things()), ("Stuff", quality.over_stuff())):
        assert vars(ours) == pytest.approx(expected[name])


def read_segments(folder: Path, annotation: dict[str, Any], class_of: dict[int, int]) -> PanopticSegmentation:
    blue, green, red = cv2.split(cv2.imread(str(folder / annotation["file_name"])).astype(np.int64))
    listed, ids = np.unique(red + 256 * green + 65536 * blue, return_inverse=True)
    info = {entry["id"]: entry for entry in annotation["segments_info"]}
    classes = [255, *(class_of[info[segment]["category_id"]] for segment in listed.tolist() if segment)]
    crowd = [False, *(bool(info[segment]["iscrowd"]) for segment in listed.tolist() if segment)]
    ids = ids.reshape(blue.shape) + (listed[0] != 0)  # without a void pixel the smallest segment would get id 0
    return PanopticSegmentation(torch.from_numpy(ids), torch.tensor(classes), torch.tensor(crowd))


def test_quality_of_coco_annotations_equals_hotcoco(shared: Path, tmp_path: Path) -> None:
    """Each annotation is compared with itself, moved by 5 rows and 6 columns, some segments with another class."""
    source = shared / "data" / "coco128_panoptic" / "annotations"
    content = json.loads((source / "panoptic_val2017.json").read_text())
    with_crowd = sorted(content["annotations"], key=lambda a: -sum(s["iscrowd"] for s in a["segments_info"]))
    content["annotations"] = with_crowd[:12]
    chosen = {annotation["image_id"] for annotation in content["annotations"]}
    content["images"] = [image for image in content["images"] if image["id"] in chosen]
    categories = sorted(content["categories"], key=lambda category: category["isthing"])
    class_of = {category["id"]: index for index, category in enumerate(categories)}
    (tmp_path / "truth.json").write_text(json.dumps(content))

    quality = PanopticQuality(len(categories), sum(not category["isthing"] for category in categories))
    predictions = []
    (tmp_path / "moved").mkdir()
    for annotation in content["annotations"]:
        truth = read_segments(source / "panoptic_val2017", annotation, class_of)
        ids = truth.ids.roll((5, 6), (0, 1))
        classes = truth.classes.clone()
        classes[1::5] = (classes[1::5] + 1) % len(categories)
        quality.update(PanopticSegmentation(ids, classes, torch.zeros_like(truth.crowd)), truth)
        name = annotation["file_name"]
        cv2.imwrite(str(tmp_path / "moved" / name), np.stack([0 * ids, 0 * ids, ids], -1).astype(np.uint8))
        info = [
            {"id": segment, "category_id": categories[int(classes[segment])]["id"]}
            for segment in ids.unique().tolist()
            if segment
        ]
        predictions.append({"image_id": annotation["image_id"], "file_name": name, "segments_info": info})
    (tmp_path / "moved.json").write_text(json.dumps(content | {"annotations": predictions}))
    evaluation = hotcoco.panoptic.PanopticEval(
        str(tmp_path / "truth.json"), str(tmp_path / "moved.json"), gt_folder=str(source / "panoptic_val2017")
    )
    evaluation.evaluate()
    expected = evaluation.results()
    for name, ours in (("All", quality.over_all()), ("Things", quality.over_things()), ("Stuff", quality.over_stuff())):
        assert vars(ours) == pytest.approx(expected[name])
    assert 0.2 < quality.over_all().pq < 0.9


def golden_segments(
    golden: dict[str, np.ndarray], ids: str, classes: str, crowd: str | None = None
) -> PanopticSegmentation:
    labels = torch.from_numpy(golden[classes])
    flags = torch.zeros(len(labels), dtype=torch.bool) if crowd is None else torch.from_numpy(golden[crowd])
    return PanopticSegmentation(torch.from_numpy(golden[ids]).squeeze(), labels, flags)


@pytest.mark.parametrize("image", [0, 1])
def test_counts_of_published_maps_equal_the_published_counts(shared: Path, image: int) -> None:
    golden = np.load(shared / "golden" / "vistas_r50.npz")
    truth = golden_segments(golden, f"pq/{image}/gt_msk", f"pq/{image}/gt_cat")
    prediction = golden_segments(golden, f"pq/{image}/pred_msk", f"pq/{image}/pred_cat")
    assert np.allclose(counted(prediction, truth, num_classes=65).numpy(), golden["pq/stats"][image], atol=1e-9)


@pytest.mark.parametrize("image", [0, 1])
def test_counts_of_a_published_fused_output_equal_the_published_counts(shared: Path, image: int) -> None:
    """The published program counts true crowd as ordinary segments, and predicted crowd as void.

    Counting predicted crowd as ordinary segments would give 19 and 14 more false positives.
    """
    golden = np.load(shared / "golden" / "vistas_r50.npz")
    truth = golden_segments(golden, f"in/{image}/msk", f"in/{image}/cat")
    key = f"eval/panoptic/{image}"
    prediction = golden_segments(golden, f"{key}/msk", f"{key}/cat", f"{key}/iscrowd")
    assert np.array_equal(counted(prediction, truth, num_classes=65).numpy(), golden["eval/panoptic_stats"][image])
