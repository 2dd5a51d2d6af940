"""Classes read off in bands of rows, against the enlarged scores."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seamseg.ops import interpolate
from seamseg.ops.interpolate import class_map
from seamseg.structures import SemanticLogits


def random_logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def looped_scores(semantics: SemanticLogits, output: tuple[int, int]) -> torch.Tensor:
    """C × output: every pixel on its own, in double precision."""
    scores, (num_classes, height, width) = semantics.logits.double(), semantics.logits.shape
    result = torch.empty(num_classes, *output, dtype=torch.float64)
    for i in range(output[0]):
        for j in range(output[1]):
            y = (i + 0.5) * semantics.size[0] / output[0] * height / semantics.padded_size[0] - 0.5
            x = (j + 0.5) * semantics.size[1] / output[1] * width / semantics.padded_size[1] - 0.5
            y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = scores[:, top, left] * (1 - (x - left)) + scores[:, top, right] * (x - left)
            lower = scores[:, bottom, left] * (1 - (x - left)) + scores[:, bottom, right] * (x - left)
            result[:, i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return result


@pytest.mark.parametrize("size", [(48, 64), (45, 64), (48, 37), (1, 1)])
def test_at_the_valid_size_it_is_upsampling_and_cropping(size: tuple[int, int]) -> None:
    logits = random_logits(9, 12, 16)
    enlarged = F.interpolate(logits[None], (48, 64), mode="bilinear", align_corners=False)[0]
    found = class_map(SemanticLogits(logits, (48, 64), size), size)
    assert found.dtype == torch.int64
    assert torch.equal(found, enlarged[:, : size[0], : size[1]].argmax(0))


@pytest.mark.parametrize("padded", [(46, 61), (50, 63)])
def test_when_the_scores_do_not_divide_the_image(padded: tuple[int, int]) -> None:
    logits = random_logits(5, 12, 16, seed=1)
    enlarged = F.interpolate(logits[None], padded, mode="bilinear", align_corners=False)[0]
    best, second = enlarged.topk(2, dim=0).values
    differs = class_map(SemanticLogits(logits, padded, padded), padded) != enlarged.argmax(0)
    assert not (differs & (best - second > 1e-5)).any()


@pytest.mark.parametrize("output", [(30, 40), (19, 50), (7, 5), (1, 1), (100, 3)])
@pytest.mark.parametrize("size", [(32, 40), (27, 33)])
def test_at_other_sizes_every_pixel_is_interpolated_on_its_own(size: tuple[int, int], output: tuple[int, int]) -> None:
    semantics = SemanticLogits(random_logits(4, 8, 10, seed=2), (32, 40), size)
    scores = looped_scores(semantics, output)
    best, second = scores.topk(2, dim=0).values
    differs = class_map(semantics, output) != scores.argmax(0)
    assert not (differs & (best - second > 1e-5)).any()


def test_the_bands_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    semantics = SemanticLogits(random_logits(6, 10, 12, seed=3), (40, 48), (37, 44))
    whole = class_map(semantics, (53, 61))
    for rows in (1, 2, 7, 52):
        monkeypatch.setattr(interpolate, "_BAND_VALUES", rows * 6 * 61)
        assert torch.equal(class_map(semantics, (53, 61)), whole)


def test_equal_scores_give_the_smallest_class() -> None:
    assert (class_map(SemanticLogits(torch.ones(7, 3, 3), (12, 12), (12, 12)), (20, 20)) == 0).all()


def test_one_class_and_one_value() -> None:
    assert class_map(SemanticLogits(torch.ones(1, 1, 1), (4, 4), (3, 2)), (5, 6)).tolist() == [[0] * 6] * 5


def test_half_precision_scores() -> None:
    logits = random_logits(5, 6, 7, seed=4).bfloat16()
    exact = class_map(SemanticLogits(logits.float(), (24, 28), (24, 28)), (24, 28))
    assert torch.equal(class_map(SemanticLogits(logits, (24, 28), (24, 28)), (24, 28)), exact)
