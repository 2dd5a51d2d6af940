"""Classes read off at any size, against the enlarged scores."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from support.fusion_cases import CLASS_SHAPES, check_classes, check_exact_classes, exact_scores, special_scores

from benchmarks.memory import peak_bytes
from seamseg.ops.fusion import resample, upsample_argmax
from seamseg.structures import SemanticLogits


def random_logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(48, 64), (45, 64), (48, 37), (1, 1)])
def test_upsample_argmax_at_the_valid_size_equals_upsampling_and_cropping(size: tuple[int, int]) -> None:
    logits = random_logits(9, 12, 16)
    enlarged = F.interpolate(logits[None], (48, 64), mode="bilinear", align_corners=False)[0]
    found = upsample_argmax(SemanticLogits(logits, (48, 64), size), size)
    assert found.dtype == torch.int64
    assert torch.equal(found, enlarged[:, : size[0], : size[1]].argmax(0))


@pytest.mark.parametrize("padded", [(46, 61), (50, 63)])
def test_upsample_argmax_of_scores_that_do_not_divide_the_image_equals_the_oracle(padded: tuple[int, int]) -> None:
    logits = random_logits(5, 12, 16, seed=1)
    enlarged = F.interpolate(logits[None], padded, mode="bilinear", align_corners=False)[0]
    best, second = enlarged.topk(2, dim=0).values
    differs = upsample_argmax(SemanticLogits(logits, padded, padded), padded) != enlarged.argmax(0)
    assert not (differs & (best - second > 1e-5)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("shape", "output"), CLASS_SHAPES, ids=str)
def test_upsample_argmax_at_other_sizes_equals_the_oracle(
    shape: tuple[int, int, int], output: tuple[int, int], dtype: torch.dtype
) -> None:
    check_classes(shape, output, dtype)


@given(exact_scores())
@settings(max_examples=150)
def test_upsample_argmax_of_equal_scores_gives_the_lowest_class(case: tuple[SemanticLogits, tuple[int, int]]) -> None:
    check_exact_classes(case)


@given(exact_scores())
def test_upsample_argmax_of_exact_scores_equals_interpolation_and_argmax(
    case: tuple[SemanticLogits, tuple[int, int]],
) -> None:
    semantics, _ = case
    enlarged = F.interpolate(semantics.logits[None], semantics.padded_size, mode="bilinear", align_corners=False)[0]
    height, width = semantics.size
    assert torch.equal(upsample_argmax(semantics, semantics.size), enlarged[:, :height, :width].argmax(0))


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_upsample_argmax_on_several_threads_equals_one_thread(threads: int) -> None:
    semantics = SemanticLogits(random_logits(30, 20, 24, seed=3), (80, 96), (77, 92))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = upsample_argmax(semantics, (230, 301))
        torch.set_num_threads(threads)
        assert torch.equal(upsample_argmax(semantics, (230, 301)), whole)
    finally:
        torch.set_num_threads(before)


def test_upsample_argmax_allocates_only_the_class_map() -> None:
    semantics = SemanticLogits(random_logits(19, 64, 128), (256, 512), (256, 512))
    assert peak_bytes(lambda: upsample_argmax(semantics, (256, 512))) == 8 * 256 * 512


def test_upsample_argmax_of_constant_scores_gives_class_zero() -> None:
    assert (upsample_argmax(SemanticLogits(torch.ones(7, 3, 3), (12, 12), (12, 12)), (20, 20)) == 0).all()


def test_upsample_argmax_of_one_class_and_one_value_gives_class_zero() -> None:
    assert upsample_argmax(SemanticLogits(torch.ones(1, 1, 1), (4, 4), (3, 2)), (5, 6)).tolist() == [[0] * 6] * 5


def test_upsample_argmax_takes_half_precision_scores() -> None:
    logits = random_logits(5, 6, 7, seed=4).bfloat16()
    exact = upsample_argmax(SemanticLogits(logits.float(), (24, 28), (24, 28)), (24, 28))
    assert torch.equal(upsample_argmax(SemanticLogits(logits, (24, 28), (24, 28)), (24, 28)), exact)


def test_upsample_argmax_takes_float64_and_strided_scores() -> None:
    logits = random_logits(6, 5, 7, seed=5).double()
    expected = upsample_argmax(SemanticLogits(logits.float(), (24, 20), (24, 20)), (24, 20))
    strided = logits.transpose(1, 2).contiguous().transpose(1, 2)
    assert not strided.is_contiguous()
    assert torch.equal(upsample_argmax(SemanticLogits(strided, (24, 20), (24, 20)), (24, 20)), expected)


def test_upsample_argmax_never_chooses_a_class_with_nan() -> None:
    logits = torch.tensor([torch.nan, -3.0, -2.0, torch.nan])[:, None, None].expand(4, 2, 2)
    assert (upsample_argmax(SemanticLogits(logits, (4, 4), (4, 4)), (4, 4)) == 2).all()
    nothing = SemanticLogits(logits[:1], (4, 4), (4, 4))
    assert (upsample_argmax(nothing, (4, 4)) == 0).all()


@given(special_scores())
@settings(max_examples=150)
def test_upsample_argmax_of_infinity_and_nan_equals_the_oracle(
    case: tuple[SemanticLogits, tuple[int, int]],
) -> None:
    check_exact_classes(case)


INFINITE = torch.tensor([[[0.0, 1.0], [2.0, 3.0]], [[torch.inf, 1.0], [0.0, -torch.inf]], [[4.0, 4.0], [4.0, 4.0]]])


@given(special_scores())
@example((SemanticLogits(INFINITE, (8, 8), (8, 8)), (8, 8)))
def test_upsample_argmax_of_infinite_scores_equals_torch_where_torch_has_no_nan(
    case: tuple[SemanticLogits, tuple[int, int]],
) -> None:
    semantics, _ = case
    enlarged = F.interpolate(
        semantics.logits[None].float(), semantics.padded_size, mode="bilinear", align_corners=False
    )[0, :, : semantics.size[0], : semantics.size[1]]
    differs = upsample_argmax(semantics, semantics.size) != enlarged.argmax(0)
    assert not (differs & ~enlarged.isnan().any(0)).any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_upsample_argmax_gives_an_infinite_score_wherever_it_has_weight(dtype: torch.dtype) -> None:
    found = upsample_argmax(SemanticLogits(INFINITE.to(dtype), (4, 4), (4, 4)), (4, 4))
    # Class 1 is +inf at the top left and -inf at the bottom right; between both its score is not a number.
    assert found.tolist() == [[1, 1, 1, 2], [1, 2, 2, 2], [1, 2, 2, 2], [2, 2, 2, 2]]


def test_upsample_argmax_at_the_size_of_the_scores_ignores_neighbors_with_weight_zero() -> None:
    logits = torch.tensor([[[torch.inf, 0.0, torch.nan]], [[1.0, 1.0, 1.0]]])
    assert upsample_argmax(SemanticLogits(logits, (1, 3), (1, 3)), (1, 3)).tolist() == [[0, 1, 1]]
    assert resample(logits, (1, 3)).argmax(0).tolist() == [[0, 1, 1]]


def test_upsample_argmax_prefers_minus_infinity_to_nan() -> None:
    logits = torch.tensor([torch.nan, -torch.inf, -torch.inf])[:, None, None].expand(3, 2, 20).contiguous()
    assert (upsample_argmax(SemanticLogits(logits, (4, 40), (4, 40)), (4, 40)) == 1).all()


def test_upsample_argmax_of_scores_near_the_largest_number_does_not_overflow() -> None:
    logits = torch.tensor([[[3e38, -3e38]], [[1e38, 1e38]]])
    assert upsample_argmax(SemanticLogits(logits, (1, 8), (1, 8)), (1, 8)).tolist() == [[0, 0, 0, 1, 1, 1, 1, 1]]


@pytest.mark.parametrize("output", [(0, 5), (5, 0), (0, 0)])
def test_upsample_argmax_of_an_image_without_pixels_is_empty(output: tuple[int, int]) -> None:
    assert upsample_argmax(SemanticLogits(random_logits(3, 2, 2), (8, 8), (8, 8)), output).shape == output


@pytest.mark.parametrize("shape", [(0, 2, 2), (3, 0, 2), (3, 2, 0)], ids=str)
def test_upsample_argmax_without_scores_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="upsample_argmax: there are no scores to choose classes from"):
        upsample_argmax(SemanticLogits(torch.zeros(shape), (8, 8), (8, 8)), (8, 8))


def test_upsample_argmax_of_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="upsample_argmax: the scores must have three dimensions"):
        upsample_argmax(SemanticLogits(torch.zeros(1, 3, 2, 2), (8, 8), (8, 8)), (8, 8))


def test_upsample_argmax_operator_passes_opcheck() -> None:
    upsample_argmax(SemanticLogits(random_logits(1, 1, 1), (1, 1), (1, 1)), (1, 1))  # loads the operator
    torch.library.opcheck(torch.ops.seamseg.upsample_argmax.default, (random_logits(3, 4, 5), 0.25, 0.25, 16, 20))
