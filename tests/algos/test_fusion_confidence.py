"""Confidence of pixels: against a softmax at full size, by hand, and without logits of full size in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from oracles import confidence as oracle
from oracles.paste import paste_values
from oracles.upsample_argmax import enlarged
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from seamseg.algos.fusion import FusedImage, PanopticFusion, RenumberedFusion
from seamseg.ops.bootstrapped_cross_entropy import upsample_probability
from seamseg.ops.fusion import paste_probabilities
from seamseg.structures import VOID, Detections, SemanticLogits

FUSION = PanopticFusion(2, 0.3, 0.5, 90, confidence=True)
SIZE = (37, 53)


def semantics_of(dtype: torch.dtype = torch.float32, seed: int = 0) -> SemanticLogits:
    """Return logits of two stuff and two thing classes that cover 32×48 pixels, of which 29×41 are the image."""
    logits = 3 * torch.randn(4, 8, 12, generator=torch.Generator().manual_seed(seed))
    return SemanticLogits(logits.to(dtype), (32, 48), (29, 41))


def detections(seed: int = 0) -> Detections:
    """Return overlapping objects in pixels of the input, one of them beyond the border, and one below the threshold."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.tensor([[2.3, 3, 20, 22], [5, 10, 25, 45.5], [-3, 30, 9, 60], [20, 2, 20.4, 2.3], [0, 0, 29, 41]])
    scores = torch.tensor([0.5, 0.9, 0.7, 0.6, 0.2])
    masks = 2 * torch.randn(5, 14, 14, generator=generator) + 1
    return Detections(boxes, torch.tensor([0, 1, 1, 0, 1]), scores, masks)


def fused_parts(fused: FusedImage) -> Detections:
    """Return the detections that became segments 1 … T, found by their scores."""
    things = fused.segmentation.scores[(fused.segmentation.classes >= 2) & ~fused.segmentation.crowd]
    rows = [fused.detections.scores.tolist().index(score) for score in things[things > 0].tolist()]
    return fused.detections.rows(torch.tensor([row for row in rows if fused.detections.scores[row] < 1]).long())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_confidence_equals_the_softmax_at_full_size(dtype: torch.dtype) -> None:
    semantics = semantics_of(dtype)
    fused = FUSION(detections(), semantics, SIZE)
    things = fused_parts(fused)
    assert len(things) >= 2
    assert fused.segmentation.crowd.any()
    assert (fused.segmentation.ids == 0).any()
    expected = oracle.confidence(fused.segmentation, things, semantics)
    assert fused.confidence is not None
    assert fused.confidence.dtype == torch.float32
    torch.testing.assert_close(fused.confidence.double(), expected, atol=2e-5, rtol=0)
    assert (fused.confidence[fused.segmentation.ids == 0] == 0).all()


def test_confidence_does_not_change_the_segmentation_and_is_absent_by_default() -> None:
    plain = replace(FUSION, confidence=False)(detections(), semantics_of(), SIZE)
    assert plain.confidence is None
    assert torch.equal(plain.segmentation.ids, FUSION(detections(), semantics_of(), SIZE).segmentation.ids)
    assert repr(replace(FUSION, confidence=False)) == repr(FUSION)


def test_confidence_without_semantic_head_is_that_of_things() -> None:
    nothing = SemanticLogits(torch.zeros(0, 0, 0), (29, 41), (29, 41))
    fused = FUSION(detections(), nothing, SIZE)
    expected = oracle.confidence(fused.segmentation, fused_parts(fused), nothing)
    assert fused.confidence is not None
    torch.testing.assert_close(fused.confidence.double(), expected, atol=1e-5, rtol=0)
    assert (fused.confidence > 0).any()


def test_confidence_by_hand() -> None:
    """Two classes with logits 0 and log 3, and a sure mask in the left half with a score of 0.8."""
    logits = torch.tensor([0.0, 3.0]).log().clamp(min=0)[:, None, None].expand(2, 2, 2)
    box, mask = torch.tensor([[0.0, 0, 4, 2]]), torch.full((1, 4, 4), 40.0)
    found = Detections(box, torch.tensor([0]), torch.tensor([0.8]), mask)
    semantics = SemanticLogits(logits, (4, 4), (4, 4))
    fused = PanopticFusion(2, 0.5, 0.5, 0, confidence=True)(found, semantics, (4, 4))
    assert fused.confidence is not None
    middle = fused.confidence[1:3]  # at the ends of its box, a mask fades
    torch.testing.assert_close(middle[:, 2:], torch.full((2, 2), 0.75))
    torch.testing.assert_close(middle[:, :2], torch.full((2, 2), 0.8))


def test_confidence_of_renumbered_classes_is_unchanged() -> None:
    fused = RenumberedFusion(FUSION, (1, 0, 3, 2), 2)(detections(), semantics_of(), SIZE)
    expected = FUSION(detections(), semantics_of(), SIZE).confidence
    assert fused.confidence is not None
    assert torch.equal(fused.confidence, expected)


def test_confidence_of_given_classes_is_the_probability_of_those() -> None:
    """Other ways to merge passes can choose a class that is not the most probable one of the mean logits."""
    semantics, nothing = semantics_of(), detections().rows(torch.zeros(0).long())
    classes = torch.zeros(SIZE, dtype=torch.int64)
    fused = FUSION.with_classes(nothing, classes, semantics.size, semantics)
    expected = enlarged(semantics, SIZE).softmax(0)[0]
    assert fused.confidence is not None
    torch.testing.assert_close(fused.confidence.double(), expected, atol=2e-5, rtol=0)


def test_probability_of_logits_that_are_not_finite_is_a_number() -> None:
    logits = semantics_of().logits.clone()
    logits[0, 0, 0], logits[1, 3, 3], logits[2, 7, 7] = torch.nan, torch.inf, -torch.inf
    classes = torch.ones(SIZE, dtype=torch.int64)
    classes[0] = VOID
    found = upsample_probability(SemanticLogits(logits, (32, 48), (29, 41)), classes)
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[0] == 0).all()


@pytest.mark.parametrize("cells", [1, 2, 28])
@pytest.mark.parametrize(
    "box", [[2.3, 1.1, 20.9, 27.4], [-9.5, -3, 12, 60], [3.4, 7.4, 3.6, 7.6], [5, 5, 5, 9], [9, 9, 5, 5]]
)
def test_paste_probabilities_equal_sampling_the_whole_image(cells: int, box: list[float]) -> None:
    logits = 3 * torch.randn(cells, cells, generator=torch.Generator().manual_seed(cells))
    patch = paste_probabilities(logits, torch.tensor(box), (23, 31))
    if patch.mask.numel():
        expected = paste_values(logits, torch.tensor(box), (23, 31))[patch.window]
        torch.testing.assert_close(patch.mask.double(), expected, atol=1e-6, rtol=0)


class LargestTensor(TorchDispatchMode):
    """Records the largest number of elements of any tensor that an operator returns."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(one, Tensor):
                self.largest = max(self.largest, one.numel())
        return result


def test_confidence_never_holds_the_logits_of_all_pixels() -> None:
    semantics = replace(semantics_of(), logits=torch.randn(40, 8, 12))
    classes = torch.zeros((200, 300), dtype=torch.int64)
    with LargestTensor() as memory:
        upsample_probability(semantics, classes)
    assert 0 < memory.largest <= 200 * 300
