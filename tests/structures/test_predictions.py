from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seamseg.structures import PackedSequence, Predictions


def predictions() -> Predictions:
    """Return predictions for two images, with two objects and none."""
    return Predictions(
        boxes=PackedSequence([torch.arange(8.0).reshape(2, 4), torch.zeros(0, 4)]),
        classes=PackedSequence([torch.tensor([3, 1]), torch.zeros(0, dtype=torch.int64)]),
        scores=PackedSequence([torch.tensor([0.9, 0.5]), torch.zeros(0)]),
        masks=PackedSequence([torch.ones(2, 28, 28), torch.zeros(0, 28, 28)]),
        semantic_logits=torch.stack([torch.zeros(5, 4, 6), torch.ones(5, 4, 6)]),
        sizes=((16, 20), (12, 24)),
        padded_size=(16, 24),
    )


def test_detections_return_all_parts_of_one_image() -> None:
    found = predictions().detections(0)
    assert (len(predictions()), len(found)) == (2, 2)
    assert found.boxes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert found.classes.tolist() == [3, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.5])
    assert found.masks.shape == (2, 28, 28)


def test_predictions_with_missing_sizes_raise_value_error() -> None:
    with pytest.raises(ValueError, match="semantic_logits 2, sizes 1"):
        replace(predictions(), sizes=((16, 20),))


def test_detections_with_missing_scores_raise_value_error() -> None:
    found = predictions().detections(0)
    with pytest.raises(ValueError, match="boxes 2, classes 2, scores 1, masks 2"):
        replace(found, scores=found.scores[:1])


def test_detections_of_an_empty_image_have_zero_rows() -> None:
    found = predictions().detections(1)
    assert len(found) == 0
    assert (found.boxes.shape, found.masks.shape) == ((0, 4), (0, 28, 28))


def test_semantics_contain_logits_and_both_sizes() -> None:
    semantics = predictions().semantics(1)
    assert (semantics.padded_size, semantics.size) == ((16, 24), (12, 24))
    assert semantics.logits.shape == (5, 4, 6)
    assert (semantics.logits == 1).all()
