"""Prediction in tiles: identities of drawn objects across seams, and equality with the plain prediction."""

from __future__ import annotations

import itertools
import resource
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.command_processes import COMMAND, environment
from support.drawn_tiles import NUM_STUFF, draw_ids, truthful_predictor
from support.odd_images import vast_png
from support.tiny_experiment import narrow_body, tiny_experiment
from support.tiny_network import NUM_STUFF as TINY_STUFF
from support.tiny_network import NUM_THINGS as TINY_THINGS
from support.tiny_network import tiny_network

from seamseg.algos.tiles import TileGrid, Tiling, intersection, within
from seamseg.builders import build_fusion, build_initialized_network, build_input_transform
from seamseg.config import save_experiment
from seamseg.data.png import read_panoptic_png
from seamseg.errors import BrokenImageError
from seamseg.export.model_file import MODEL_FILE, ModelFile, save_model
from seamseg.predict import Predictor
from seamseg.predict.predictor import Augmentation, Prediction
from seamseg.predict.tiled import LargeImage, TiledPrediction, TiledPredictor
from seamseg.structures import Categories, Category, PanopticSegmentation

TILING = Tiling((32, 32), 8)
CPU = torch.device("cpu")


def predicted(image: NDArray[np.uint8], tiling: Tiling = TILING, **given: Any) -> TiledPrediction:
    predictor = truthful_predictor(tiling, tiling.tile[0], **given)
    (found,) = predictor.predict([predictor.prepare(image)])
    assert isinstance(found, TiledPrediction)
    return found


def check_segments(found: PanopticSegmentation, ids: NDArray, classes: list[int]) -> None:
    """Check that predicted and drawn segments have the same pixels; stuff is one segment per class."""
    drawn = np.where(np.array(classes)[ids] < NUM_STUFF, 1000 + np.array(classes)[ids], ids)
    pairs = {(int(mine), int(theirs)) for mine, theirs in zip(found.ids.ravel(), drawn.ravel(), strict=True)}
    assert len(pairs) == len(np.unique(drawn)) == len({mine for mine, _ in pairs})
    assert (found.semantics.numpy() == np.array(classes)[ids]).all()
    assert not found.crowd.any()


def box(ids: NDArray, number: int, y0: int, x0: int, y1: int, x1: int) -> None:
    ids[y0:y1, x0:x1] = number


def test_object_across_two_three_and_four_tiles_is_one_object() -> None:
    """Tiles start at 0, 22, 45, 68 and 91 in a row."""
    ids = np.zeros((80, 123), np.int64)
    box(ids, 1, 2, 20, 12, 40)  # two tiles in a row
    box(ids, 2, 14, 30, 20, 120)  # four tiles in a row
    box(ids, 3, 22, 60, 50, 84)  # around the corner of four tiles
    box(ids, 4, 10, 4, 78, 10)  # three rows of tiles
    box(ids, 5, 52, 12, 60, 120)  # an L: right, ...
    box(ids, 5, 52, 110, 78, 120)  # ... then down
    classes = [0, 2, 3, 2, 3, 2]
    found = predicted(draw_ids(ids, classes))
    check_segments(found.segmentation, ids, classes)
    assert len(found.objects) == 5
    assert max(len(one.parts) for one in found.objects) >= 6


def test_touching_objects_of_one_class_at_seams_stay_separate() -> None:
    """Objects meet at the edge of a tile, in the middle of an overlap, and at the corner of four tiles."""
    grid = TILING.grid((56, 80))
    assert (grid.rows, grid.columns) == ((0, 24), (0, 24, 48))
    ids = np.zeros((56, 80), np.int64)
    box(ids, 1, 2, 10, 10, 24)  # ends where the second tile starts
    box(ids, 2, 2, 24, 10, 40)
    box(ids, 3, 12, 20, 20, 32)  # ends where the first tile ends
    box(ids, 4, 12, 32, 20, 44)
    box(ids, 5, 20, 44, 28, 52)  # four around one point in the overlap of four tiles
    box(ids, 6, 20, 52, 28, 60)
    box(ids, 7, 28, 44, 36, 52)
    box(ids, 8, 28, 52, 36, 60)
    classes = [1, *[2] * 8]
    found = predicted(draw_ids(ids, classes))
    check_segments(found.segmentation, ids, classes)
    assert len(found.objects) == 8


def test_small_object_in_the_overlap_is_one_object_with_its_box() -> None:
    ids = np.zeros((56, 56), np.int64)
    box(ids, 1, 25, 26, 30, 31)
    box(ids, 2, 24, 2, 25, 4)  # a sliver for the upper tile
    found = predicted(draw_ids(ids, [0, 2, 4]))
    assert sorted(len(one.parts) for one in found.objects) == [2, 4]
    assert sorted(found.detections.boxes.tolist()) == [[24, 2, 25, 4], [25, 26, 30, 31]]
    assert found.detections.scores.tolist() == sorted(found.detections.scores.tolist(), reverse=True)


def test_joined_object_has_the_best_score_and_the_mask_of_all_parts() -> None:
    ids = np.zeros((32, 56), np.int64)
    box(ids, 1, 4, 6, 20, 30)  # mostly in the first tile
    found = predicted(draw_ids(ids, [0, 2]))
    (one,) = found.objects
    assert [part.tile for part in one.parts] == [0, 1]
    assert one.score == pytest.approx(0.5 + 0.4 * 16 * 24 / 1024)
    (instance,) = found.instances()
    assert (instance.mask.decoded() == (ids == 1)).all()
    assert instance.box == (4, 6, 20, 30)
    assert found.instances(above=0.9) == []


def expected_parts(ids: NDArray, grid: TileGrid, classes: list[int]) -> NDArray:
    """Return an id per pixel that distinguishes parts of an object which no overlap connects."""
    expected = np.where(np.array(classes)[ids] < NUM_STUFF, 10_000 + np.array(classes)[ids], 0)
    whole = (0, 0, *ids.shape)
    for number in [one for one in np.unique(ids) if classes[one] >= NUM_STUFF]:
        tiles = [n for n in range(len(grid)) if (ids[within(grid.window(n), whole)] == number).any()]
        group = {tile: tile for tile in tiles}
        for one, other in itertools.combinations(tiles, 2):
            shared = intersection(grid.window(one), grid.window(other))
            if (ids[within(shared, whole)] == number).any():
                old, new = group[other], group[one]
                group = {tile: new if member == old else member for tile, member in group.items()}
        for tile in tiles:
            window = within(grid.window(tile), whole)
            expected[window][ids[window] == number] = 1 + number * len(grid) + group[tile]
    return expected


@pytest.mark.parametrize("seed", range(6))
def test_random_scene_keeps_all_identities(seed: int) -> None:
    """Later objects cover earlier ones and may divide them into pieces that no tile sees together."""
    generator = np.random.default_rng(seed)
    size = (int(generator.integers(40, 90)), int(generator.integers(40, 110)))
    ids = np.zeros(size, np.int64)
    for number in range(1, 25):
        height, width = generator.integers(2, 50, 2)
        y, x = generator.integers(-10, size[0]), generator.integers(-10, size[1])
        box(ids, number, max(0, y), max(0, x), max(0, y + height), max(0, x + width))
    classes = [0, *generator.integers(1, 5, 24).tolist()]
    tiling = Tiling((32, 32), int(generator.integers(4, 17)))
    found = predicted(draw_ids(ids, classes), tiling).segmentation
    expected = expected_parts(ids, tiling.grid(size), classes)
    pairs = {(int(mine), int(theirs)) for mine, theirs in zip(found.ids.ravel(), expected.ravel(), strict=True)}
    assert len(pairs) == len(np.unique(expected)) == len({mine for mine, _ in pairs})
    assert (found.semantics.numpy() == np.array(classes)[ids]).all()


def test_without_overlap_objects_end_at_the_tile() -> None:
    ids = np.zeros((32, 64), np.int64)
    box(ids, 1, 4, 20, 20, 50)
    found = predicted(draw_ids(ids, [0, 2]), Tiling((32, 32), 0))
    assert sorted(found.detections.boxes.tolist()) == [[4, 20, 20, 32], [4, 32, 20, 50]]


def test_model_without_masks_joins_boxes() -> None:
    ids = np.zeros((56, 80), np.int64)
    box(ids, 1, 10, 20, 40, 70)
    box(ids, 2, 42, 4, 50, 20)
    found = predicted(draw_ids(ids, [0, 2, 2]), masks=False, semantics=False)
    assert sorted(found.detections.boxes.tolist()) == [[10, 20, 40, 70], [42, 4, 50, 20]]
    assert [one.mask for one in found.instances()] == [None, None]
    assert len(found.drawn().instances) == 2
    assert found.segmentation.size == (56, 80)


def test_tiles_are_predicted_in_batches_with_equal_results_and_reported() -> None:
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 4, (8, 12)).repeat(10, 0).repeat(10, 1)
    image, predictor = draw_ids(ids, [0, 1, 2, 3]), truthful_predictor(TILING)
    assert isinstance(predictor, TiledPredictor)
    seen: list[tuple[int, int]] = []
    (one,) = predictor.predict([predictor.prepare(image)], 1, lambda *now: seen.append(now))
    (other,) = predictor.predict([predictor.prepare(image)], 3)
    assert torch.equal(one.segmentation.ids, other.segmentation.ids)
    assert seen == [(number, len(TILING.grid(ids.shape))) for number in range(1, 1 + len(TILING.grid(ids.shape)))]


def test_large_and_small_images_may_be_predicted_together() -> None:
    ids = np.zeros((40, 60), np.int64)
    box(ids, 1, 4, 20, 20, 50)
    large, small = draw_ids(ids, [0, 2]), draw_ids(ids[:32, :32], [0, 2])
    predictor = truthful_predictor(TILING)
    found = predictor.predict([predictor.prepare(image) for image in (large, small)])
    assert [one.segmentation.size for one in found] == [(40, 60), (32, 32)]
    assert [one.detections.boxes.tolist() for one in found] == [[[4, 20, 20, 50]], [[4, 20, 20, 32]]]


def tiny_predictors(tiling: Tiling, augmentation: Augmentation | None = None) -> tuple[Predictor, TiledPredictor]:
    experiment = tiny_experiment(None, "fusion.score_threshold=0.1")
    fusion = build_fusion(experiment, TINY_STUFF, TINY_THINGS)
    arguments = tiny_network(background_images=True), build_input_transform(experiment), fusion, CPU, augmentation
    return Predictor(*arguments), TiledPredictor(*arguments, "float32", False, tiling)


def check_equal(one: Prediction, other: Prediction) -> None:
    for name in ("ids", "classes", "scores", "crowd"):
        assert torch.equal(getattr(one.segmentation, name), getattr(other.segmentation, name)), name
    for name in ("boxes", "classes", "scores", "masks"):
        assert torch.equal(getattr(one.detections, name), getattr(other.detections, name)), name
    assert torch.equal(one.semantics.logits, other.semantics.logits)


@pytest.mark.parametrize("augmentation", [None, Augmentation((0.5, 1.0), flip=True)])
@pytest.mark.parametrize("size", [(48, 80), (90, 80), (20, 33)])
def test_image_that_one_tile_covers_equals_the_plain_prediction(
    size: tuple[int, int], augmentation: Augmentation | None
) -> None:
    plain, tiled = tiny_predictors(Tiling((90, 80), 30), augmentation)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    (expected,), (found,) = (one.predict([one.prepare(image)]) for one in (plain, tiled))
    check_equal(found, expected)


@pytest.mark.parametrize("size", [(48, 80), (64, 96)])
def test_one_tile_of_a_large_image_equals_the_plain_prediction(size: tuple[int, int]) -> None:
    """The joined and fused prediction of a grid of one tile has the segments of the plain one."""
    plain, tiled = tiny_predictors(Tiling(size, 0))
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    (expected,) = plain.predict([plain.prepare(image)])
    (found,) = tiled.predict([LargeImage(size, (), image)])
    assert isinstance(found, TiledPrediction)
    for name in ("classes", "scores", "crowd"):
        assert torch.equal(getattr(found.segmentation, name), getattr(expected.segmentation, name)), name
    assert torch.equal(found.segmentation.ids.long(), expected.segmentation.ids)
    assert torch.equal(found.detections.boxes, expected.detections.boxes)
    assert found.instances() == expected.instances()


def test_tiles_with_a_merge_of_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match="merge=vote"):
        tiny_predictors(TILING, Augmentation((0.5, 1.0), merge="vote"))[1]


def test_error_while_reading_rows_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(image: LargeImage, start: int, end: int) -> NDArray[np.uint8]:
        raise BrokenImageError("a.tif", "is damaged")

    monkeypatch.setattr(LargeImage, "rows", broken)
    predictor = truthful_predictor(TILING)
    with pytest.raises(BrokenImageError, match=r"a\.tif is damaged"):
        predictor.predict([predictor.prepare(np.zeros((100, 100, 3), np.uint8))])


@pytest.mark.manual
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kinds", "most"), [("panoptic,instances", 30), ("overlay,panoptic,instances", 60)])
def test_predict_of_a_hundred_megapixels_uses_the_documented_memory(tmp_path: Path, kinds: str, most: float) -> None:
    """A tile of 1024×1024 pixels is reduced to the 64×64 of the tiny network, as only the other memory counts."""
    (tmp_path / "vast.png").write_bytes(vast_png(12_000, 9_000, channels=3))
    (tmp_path / "small.png").write_bytes(vast_png(100, 100, channels=3))
    experiment = tiny_experiment(None, "fusion.score_threshold=0.1")
    categories = Categories((Category("sky", False, (1, 2, 3), 1), Category("car", True, (4, 5, 6), 2)))
    with narrow_body():
        network = build_initialized_network(experiment, categories)
    save_model(
        tmp_path / MODEL_FILE, ModelFile(save_experiment(experiment), categories.to_list(), network.state_dict())
    )
    words = ["--write", kinds, "--tile", "1024", "--overlap", "256", "--device", "cpu"]
    peaks = []
    for name in ("small", "vast"):
        arguments = ["predict", str(tmp_path / MODEL_FILE), str(tmp_path / f"{name}.png"), str(tmp_path / name), *words]
        subprocess.run([*COMMAND, *arguments], env=environment(), check=True)
        peaks.append(1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)  # of all processes until now
    assert read_panoptic_png(tmp_path / "vast" / "panoptic" / "vast.png").shape == (12_000, 9_000)
    assert 0 < (peaks[1] - peaks[0]) / (12_000 * 9_000) <= most
