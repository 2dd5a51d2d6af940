"""Scores of files: comparison with panopticapi and hotcoco, and unusual or invalid files."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import hotcoco.panoptic
import numpy as np
import pytest
from oracles import boundary_quality
from support.panoptic_pairs import CATEGORIES, Side, empty_pairs, listed, random_pair, write_png, write_side

from seamseg.data.formats.coco_json import open_annotation, open_results
from seamseg.data.png import read_panoptic_png
from seamseg.scenes import write_scenes
from seamseg.score.files import FileScores, score_files

EXACT = 1e-12


def scored(truth: Path, results: Path, **options: Any) -> FileScores:
    annotation = open_annotation(truth, options.pop("gt_dir", None))
    return score_files(
        annotation, open_results(results, options.pop("pred_dir", None), annotation.categories), **options
    )


def panopticapi_scores(truth: Path, results: Path) -> dict[str, Any]:
    """Score files with panopticapi in this process; return the means, and IoU sums and counts per category."""
    evaluation = pytest.importorskip("panopticapi.evaluation", reason="panopticapi-lite is not installed")
    true, predicted = (json.loads(path.read_text()) for path in (truth, results))
    categories = {entry["id"]: entry for entry in true["categories"]}
    by_image = {entry["image_id"]: entry for entry in predicted["annotations"]}
    pairs = [(entry, by_image[entry["image_id"]]) for entry in true["annotations"]]
    with contextlib.redirect_stdout(io.StringIO()):
        stat = evaluation.pq_compute_single_core(
            0, pairs, str(truth.with_suffix("")), str(results.with_suffix("")), categories
        )
    means = [stat.pq_average(categories, isthing)[0] for isthing in (None, True, False)]
    counts = {key: [getattr(stat[key], name) for name in ("iou", "tp", "fp", "fn")] for key in categories}
    return {"means": means, "counts": counts}


def hotcoco_scores(truth: Path, results: Path) -> dict[str, Any]:
    evaluation = hotcoco.panoptic.PanopticEval(str(truth), str(results))
    evaluation.evaluate()
    found = evaluation.results()
    counts = {key: [line[name] for name in ("iou", "tp", "fp", "fn")] for key, line in found["per_class"].items()}
    means = [found[name] for name in ("All", "Things", "Stuff")]
    return {"means": means, "counts": counts, "miou": evaluation.report()["metrics"]["mIoU"]}


def assert_equal(found: FileScores, expected: dict[str, Any], truth: Path) -> None:
    scores = found.scores
    for ours, theirs in zip((scores.all, scores.things, scores.stuff), expected["means"], strict=True):
        assert ours.n == theirs["n"]
        assert (ours.pq, ours.sq, ours.rq) == pytest.approx(
            [theirs[key] for key in ("pq", "sq", "rq")], abs=EXACT, rel=0
        )
    names = {entry["id"]: entry["name"] for entry in json.loads(truth.read_text())["categories"]}
    for category, (iou_sum, *counts) in expected["counts"].items():
        line = scores.per_class[names[category]]
        assert [line.tp, line.fp, line.fn] == counts
        if line.tp:
            assert line.sq == pytest.approx(iou_sum / line.tp, abs=EXACT, rel=0)
    if "miou" in expected:
        assert scores.miou == pytest.approx(expected["miou"], abs=EXACT, rel=0)


def moved(side: Side, rng: np.random.Generator, categories: list[int]) -> Side:
    """Shift the segments, and change the class of some of them."""
    ids = np.roll(side.ids, (4, 5), (0, 1))
    classes = {s["id"]: s["category_id"] if rng.random() < 0.8 else int(rng.choice(categories)) for s in side.segments}
    return Side(ids, listed(ids, classes, set()))


def write_moved(truth: Path, folder: Path) -> Path:
    content = json.loads(truth.read_text())
    categories, rng = [entry["id"] for entry in content["categories"]], np.random.default_rng(0)
    (folder / "moved").mkdir()
    annotations = []
    for entry in content["annotations"]:
        side = Side(read_panoptic_png(truth.with_suffix("") / entry["file_name"]), entry["segments_info"])
        result = moved(side, rng, categories)
        write_png(folder / "moved" / entry["file_name"], result.ids)
        annotations.append(entry | {"segments_info": result.segments})
    (folder / "moved.json").write_text(json.dumps({"annotations": annotations}))
    return folder / "moved.json"


@pytest.fixture(scope="module")
def adversarial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[tuple[Side, Side]]]:
    folder = tmp_path_factory.mktemp("pairs")
    pairs = [random_pair(seed) for seed in range(120)] + empty_pairs()
    truth = write_side(folder, "truth", [true for true, _ in pairs])
    return truth, write_side(folder, "results", [predicted for _, predicted in pairs], bare=True), pairs


@pytest.mark.parametrize("expected", [panopticapi_scores, hotcoco_scores])
def test_scores_of_adversarial_files_match_other_programs(adversarial: Any, expected: Any) -> None:
    truth, results, _ = adversarial
    found = scored(truth, results)
    assert_equal(found, expected(truth, results), truth)
    assert 0.1 < found.scores.all.pq < 0.9
    assert min(sum(getattr(line, key) for line in found.scores.per_class.values()) for key in ("tp", "fp", "fn")) > 50
    assert not found.wrong_areas


def test_adversarial_files_contain_several_crowds_per_class(adversarial: Any) -> None:
    crowds = [[s["category_id"] for s in true.segments if s["iscrowd"]] for true, _ in adversarial[2]]
    assert sum(len(set(one)) < len(one) for one in crowds) > 10


@pytest.mark.parametrize("expected", [panopticapi_scores, hotcoco_scores])
def test_scores_of_coco_images_match_other_programs(shared: Path, tmp_path: Path, expected: Any) -> None:
    truth = shared / "data" / "coco128_panoptic" / "annotations" / "panoptic_val2017.json"
    results = write_moved(truth, tmp_path)
    found = scored(truth, results, boundary=False)
    assert_equal(found, expected(truth, results), truth)
    assert found.scores.boundary is None
    assert 0.2 < found.scores.all.pq < 0.9


@pytest.mark.parametrize("expected", [panopticapi_scores, hotcoco_scores])
def test_scores_of_scenes_match_other_programs(tmp_path: Path, expected: Any) -> None:
    write_scenes(tmp_path, 1, 4, (160, 320), 0)
    (truth,) = (tmp_path / "annotations").glob("panoptic_val*.json")
    results = write_moved(truth, tmp_path)
    found = scored(truth, results)
    assert_equal(found, expected(truth, results), truth)
    assert 0 < found.scores.boundary.all.pq < found.scores.all.pq


def test_boundary_quality_matches_oracle_with_erosion(adversarial: Any) -> None:
    truth, results, pairs = adversarial
    scores = scored(truth, results).scores
    total = {entry["id"]: np.zeros(4) for entry in CATEGORIES}
    for true, predicted in pairs:
        for key, line in boundary_quality.count(true.ids, predicted.ids, true.segments, predicted.segments).items():
            total[key] += line
    for entry in CATEGORIES[:-1]:
        iou_sum, hits, false, missed = total[entry["id"]]
        expected = iou_sum / (hits + false / 2 + missed / 2)
        assert scores.per_class[str(entry["name"])].boundary_pq == pytest.approx(expected, abs=EXACT, rel=0)
    assert scores.boundary.all.pq < scores.all.pq


def test_pq_dagger_of_stuff_matches_iou_without_threshold(adversarial: Any) -> None:
    truth, results, pairs = adversarial
    scores = scored(truth, results).scores
    lines = []
    for entry in CATEGORIES:
        if entry["isthing"]:
            lines.append(scores.per_class[str(entry["name"])].pq)
            continue
        total, num = 0.0, 0
        for true, predicted in pairs:
            for t in (s for s in true.segments if s["category_id"] == entry["id"] and not s["iscrowd"]):
                num += 1
                mine = true.ids == t["id"]
                for p in (s for s in predicted.segments if s["category_id"] == entry["id"]):
                    theirs = (predicted.ids == p["id"]) & (true.ids != 0)
                    total += (mine & theirs).sum() / (mine | theirs).sum()
        lines.append(total / num)
        assert scores.per_class[str(entry["name"])].pq_dagger == pytest.approx(lines[-1], abs=EXACT, rel=0)
    assert scores.pq_dagger == pytest.approx(np.nanmean(lines), abs=EXACT, rel=0)


def test_scores_are_identical_for_any_number_of_threads(adversarial: Any) -> None:
    truth, results, _ = adversarial
    one, *others = (scored(truth, results, num_threads=number).scores for number in (1, 2, 3, 7))
    assert all(scores.to_dict() == one.to_dict() for scores in others)
    assert [image.image_id for image in one.images] == list(range(10, 10 + len(one.images)))


# --- unusual and invalid files --------------------------------------------------------------------------------------

IDS = np.array([[1, 1, 2, 2, 0], [1, 1, 2, 2, 0]])
TRUE = {1: 7, 2: 3}


def pair(folder: Path, predicted: Side | None = None, true: Side | None = None) -> tuple[Path, Path]:
    true = true or Side(IDS, listed(IDS, TRUE, set()))
    predicted = predicted or Side(IDS, listed(IDS, TRUE, set()))
    return write_side(folder, "truth", [true]), write_side(folder, "results", [predicted], bare=True)


def test_score_files_counts_areas_and_reports_wrong_ones(tmp_path: Path) -> None:
    segments = listed(IDS, TRUE, set())
    segments[0]["area"] = 1
    found = scored(*pair(tmp_path, true=Side(IDS, segments)))
    assert found.scores.all.pq == found.scores.all.sq == 1
    (wrong,) = found.wrong_areas
    assert (wrong.side, wrong.image_id, wrong.segment_id, wrong.stated, wrong.counted) == ("annotation", 10, 1, 1, 4)


def test_results_without_optional_keys_are_accepted(tmp_path: Path) -> None:
    bare = [{"id": segment, "category_id": category} for segment, category in TRUE.items()]
    found = scored(*pair(tmp_path, Side(IDS, bare)))
    assert found.scores.all.pq == 1
    assert np.isnan(found.scores.box_ap)
    assert not found.wrong_areas


def test_segments_without_pixels_are_ignored(tmp_path: Path) -> None:
    segments = [*listed(IDS, TRUE, set()), {"id": 5, "category_id": 11, "iscrowd": 0}]
    found = scored(*pair(tmp_path, Side(IDS, segments), Side(IDS, segments)))
    assert found.scores.all.pq == 1
    assert found.scores.all.n == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 99}, "image 10, segment 1: its category_id 99 is not among the categories"),
        ({"id": 2**24}, r"segment 16777216: .*1 … 16777215"),
        ({"id": 0}, r"segment 0: .*1 … 16777215"),
        ({"id": 2}, "segment 2: "),
        ({"id": "1"}, "'id' is '1', expected int"),
        ({"id": 6}, r"000\.png of image 10 .*segment id\(s\) 1 "),
        ({"score": "high"}, "'score' is 'high', expected a number"),
    ],
)
def test_score_files_given_invalid_segment_raises(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    segments = listed(IDS, TRUE, set())
    segments[0] |= change
    with pytest.raises(ValueError, match=message):
        scored(*pair(tmp_path, Side(IDS, segments)))


def test_score_files_rejects_missing_results_and_ignores_additional_ones(tmp_path: Path) -> None:
    side = Side(IDS, listed(IDS, TRUE, set()))
    truth, results = write_side(tmp_path, "truth", [side]), write_side(tmp_path, "results", [side] * 2, bare=True)
    assert scored(truth, results).scores.all.pq == 1
    two = write_side(tmp_path, "two", [side] * 3)
    with pytest.raises(ValueError, match=r"results\.json .*image 12\b"):
        scored(two, results)


def test_score_files_given_different_sizes_raises(tmp_path: Path) -> None:
    small = IDS[:1]
    with pytest.raises(ValueError, match=r"image 10: .*000\.png is 1×5 .*annotation .*2×5"):
        scored(*pair(tmp_path, Side(small, listed(small, TRUE, set()))))


@pytest.mark.parametrize("kind", ["missing", "empty", "cut", "gray"])
def test_score_files_given_broken_png_names_it(tmp_path: Path, kind: str) -> None:
    truth, results = pair(tmp_path)
    png = tmp_path / "results" / "000.png"
    (tmp_path / "results" / "other.png").write_bytes(png.read_bytes())
    content = png.read_bytes()
    png.unlink()
    if kind == "gray":
        cv2.imwrite(str(png), IDS.astype(np.uint8))
    elif kind != "missing":
        png.write_bytes(b"" if kind == "empty" else content[: len(content) // 2])
    entry = json.loads(results.read_text())
    results.write_text(json.dumps(entry))
    with pytest.raises((ValueError, OSError), match=r"results.*000\.png|none of the 1 PNG"):
        scored(truth, results)


def test_score_files_given_scores_computes_average_precision(tmp_path: Path) -> None:
    segments = listed(IDS, TRUE, set())
    segments[1]["score"] = 0.7
    found = scored(*pair(tmp_path, Side(IDS, segments)))
    assert (found.scores.box_ap, found.scores.mask_ap) == pytest.approx((1, 1))
