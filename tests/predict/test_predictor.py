"""Predictor: segmentations at the size of the image, equal to those of network and fusion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.tiny_experiment import narrow_body, tiny_experiment
from support.tiny_network import NUM_STUFF, NUM_THINGS, tiny_network

from seamseg.builders import build_fusion, build_input_transform
from seamseg.predict import Predictor
from seamseg.structures import VOID, PackedSequence

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    experiment = tiny_experiment(None, "fusion.score_threshold=0.1")
    network = tiny_network(background_images=True)
    with narrow_body():
        fusion = build_fusion(experiment, NUM_STUFF, NUM_THINGS)
    return Predictor(network.train(), build_input_transform(experiment), fusion, torch.device("cpu"))


def input_image(*size: int) -> np.ndarray:
    return RNG.integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(48, 64), (200, 31), (64, 64), (1, 1), (1, 300), (5, 3)])
def test_predictor_with_any_image_size_returns_a_segmentation_of_that_size(
    predictor: Predictor, size: tuple[int, int]
) -> None:
    found = predictor(input_image(*size))
    assert tuple(found.ids.shape) == size
    assert found.ids.dtype == found.classes.dtype == torch.int64
    assert len(found.classes) == len(found.scores) == len(found.crowd)
    assert 0 <= int(found.ids.min()) <= int(found.ids.max()) < len(found.classes)
    assert int(found.classes[0]) == VOID
    assert bool((found.classes[1:] < 5).all())


def test_predictor_finds_both_things_and_stuff(predictor: Predictor) -> None:
    found = predictor(input_image(80, 100))
    assert bool((found.classes[1:] >= NUM_STUFF).any())
    assert bool((found.classes[1:] < NUM_STUFF).any())


def test_predictor_equals_network_and_fusion_in_evaluation_mode(predictor: Predictor) -> None:
    image = input_image(70, 90)
    assert not predictor.network.training
    predictions = predictor.network.predict(PackedSequence([predictor.transform(image)]))
    expected = predictor.fusion(predictions.detections(0), predictions.semantics(0), (70, 90)).segmentation
    found = predictor(image)
    assert torch.equal(found.ids, expected.ids)
    assert torch.equal(found.classes, expected.classes)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.crowd, expected.crowd)


def test_predictor_called_twice_gives_equal_results_and_keeps_the_image(predictor: Predictor) -> None:
    image = input_image(50, 60)
    before = image.copy()
    first, second = predictor(image), predictor(image)
    assert torch.equal(first.ids, second.ids)
    assert (image == before).all()
