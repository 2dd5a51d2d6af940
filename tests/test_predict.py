"""Images in, panoptic segmentations out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_experiment import narrow_body, tiny_experiment
from tiny_network import NUM_STUFF, tiny_network

from seamseg.build import build_fusion, build_input_transform
from seamseg.data.images import BrokenImageError
from seamseg.predict import Predictor
from seamseg.structures import VOID, PackedSequence

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    experiment = tiny_experiment(None, "fusion.score_threshold=0.1")
    network = tiny_network(background_images=True)
    with narrow_body():
        fusion = build_fusion(experiment, NUM_STUFF)
    return Predictor(network.train(), build_input_transform(experiment), fusion, torch.device("cpu"))


def photograph(*size: int) -> np.ndarray:
    return RNG.integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(48, 64), (200, 31), (64, 64), (1, 1), (1, 300), (5, 3)])
def test_any_size(predictor: Predictor, size: tuple[int, int]) -> None:
    found = predictor(photograph(*size))
    assert tuple(found.ids.shape) == size
    assert found.ids.dtype == found.classes.dtype == torch.int64
    assert len(found.classes) == len(found.scores) == len(found.crowd)
    assert 0 <= int(found.ids.min()) <= int(found.ids.max()) < len(found.classes)
    assert int(found.classes[0]) == VOID
    assert bool((found.classes[1:] < 5).all())


def test_objects_and_stuff_are_found(predictor: Predictor) -> None:
    found = predictor(photograph(80, 100))
    assert bool((found.classes[1:] >= NUM_STUFF).any())
    assert bool((found.classes[1:] < NUM_STUFF).any())


def test_it_is_what_the_network_says_in_evaluation_mode(predictor: Predictor) -> None:
    image = photograph(70, 90)
    assert not predictor.network.training
    said = predictor.network.predict(PackedSequence([predictor.transform(image)]))
    expected = predictor.fusion(said.detections(0), said.semantics(0), (70, 90)).segmentation
    found = predictor(image)
    assert torch.equal(found.ids, expected.ids)
    assert torch.equal(found.classes, expected.classes)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.crowd, expected.crowd)


def test_the_same_image_gives_the_same_result_and_is_left_alone(predictor: Predictor) -> None:
    image = photograph(50, 60)
    before = image.copy()
    first, second = predictor(image), predictor(image)
    assert torch.equal(first.ids, second.ids)
    assert (image == before).all()


def test_files_in_their_order_with_broken_ones_passed_over(predictor: Predictor, tmp_path: Path) -> None:
    images = {"b.png": photograph(30, 40), "a.png": photograph(44, 33)}
    for name, image in images.items():
        cv2.imwrite(str(tmp_path / name), image[..., ::-1])
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    paths = [tmp_path / name for name in ("b.png", "broken.jpg", "none.png", "a.png")]
    broken: list[BrokenImageError] = []
    found = list(predictor.files(paths, broken.append))
    assert [one.path.name for one in found] == ["b.png", "a.png"]
    assert [error.path.name for error in broken] == ["broken.jpg", "none.png"]
    for one in found:
        assert (one.image == images[one.path.name]).all()
        assert torch.equal(one.segmentation.ids, predictor(images[one.path.name]).ids)


def test_files_are_segmented_one_by_one(predictor: Predictor, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), photograph(30, 40))
    paths = iter([tmp_path / "a.png", tmp_path / "a.png"])
    next(iter(predictor.files(paths, lambda error: None)))
    assert len(list(paths)) == 1
