"""The CUDA kernels of the cross-entropy of upsampled logits, run thread by thread on the CPU, against the oracle."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from native.cross_entropy_kernels import CrossEntropyKernels
from native.harness import TYPES, Fault, build, in_place_of_operators
from oracles.bootstrapped_cross_entropy import bootstrapped_cross_entropy as oracle
from support import cross_entropy_cases as cases
from support.cross_entropy_cases import CASES, EMPHASES, VOID, random_case, values_and_gradient

from seamseg.ops import bootstrapped_cross_entropy as module
from seamseg.ops.bootstrapped_cross_entropy import bootstrapped_cross_entropy

SHAPES = {
    "upsampled_cross_entropy": module._loss_shapes,
    "upsampled_cross_entropy_gradient": module._gradient_shape,
}


@pytest.fixture(scope="module", autouse=True)
def on_gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Replace the operators by the CUDA kernels in this file."""
    library = build("cross_entropy.cpp", tmp_path_factory.mktemp("cross_entropy"))
    with in_place_of_operators(CrossEntropyKernels(library), SHAPES):
        yield


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_losses_and_gradients_equal_the_complete_upsampled_logits(case: cases.Case, dtype: torch.dtype) -> None:
    cases.check_case(case, 0.5, dtype)


@pytest.mark.parametrize("emphasis", EMPHASES.values(), ids=list(EMPHASES))
@pytest.mark.parametrize("name", ["scale 8", "odd sizes", "smaller than the logits"])
def test_weighted_and_focal_losses_equal_the_complete_upsampled_logits(name: str, emphasis: cases.Emphasis) -> None:
    cases.check_case(CASES[name], 0.5, torch.float32, emphasis)


def test_weights_of_one_equal_no_weights_bit_for_bit() -> None:
    logits, targets = random_case(5, (4, 6), [(15, 21), (16, 24)])
    plain, weighted = (
        values_and_gradient(bootstrapped_cross_entropy, logits, targets, (16, 24), 0.25, weights)
        for weights in (None, torch.ones(5))
    )
    assert all(torch.equal(one, other) for one, other in zip(plain, weighted, strict=True))


@pytest.mark.parametrize("spread", [30, 1e3, 1e5, 1e20])
def test_large_logits_equal_the_complete_upsampled_logits(spread: float) -> None:
    cases.check_large_logits(spread)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_make_only_losses_and_gradients_near_them_not_finite(value: float) -> None:
    logits, targets = random_case(3, (8, 9), [(32, 36)])
    logits[0, 1, 2, 3] = value
    loss, gradient = values_and_gradient(bootstrapped_cross_entropy, logits, targets, (32, 36), 1.0)
    expected, _ = values_and_gradient(oracle, logits, targets, (32, 36), 1.0)
    torch.testing.assert_close(loss, expected, equal_nan=True)
    far = torch.ones(8, 9, dtype=torch.bool)
    far[1:4, 2:5] = False
    assert gradient[0, :, far].isfinite().all()
    targets[0].fill_(VOID)
    loss, gradient = values_and_gradient(bootstrapped_cross_entropy, logits, targets, (32, 36), 0.25)
    assert loss[0] == 0
    assert not gradient.any()


def test_gradient_with_a_weight_that_is_not_finite_is_zero_without_chosen_pixels() -> None:
    logits, chosen = torch.zeros(2, 4, 4), torch.full((8, 8), VOID, dtype=torch.uint8)
    chosen[0, 0] = 1
    log_sums, weight = torch.full((8, 8), math.log(2)), torch.tensor(math.inf)
    gradient = torch.ops.seamseg.upsampled_cross_entropy_gradient(logits, chosen, log_sums, weight, None, 0.5, 0.5)
    assert gradient[:, 0, 0].isinf().all()
    assert not gradient[:, 1:, 1:].any()


def test_channels_last_logits_equal_contiguous_ones() -> None:
    logits, targets = random_case(5, (4, 6), [(15, 21), (16, 24)])
    contiguous, channels_last = (
        values_and_gradient(bootstrapped_cross_entropy, logits.to(memory_format=layout), targets, (16, 24), 0.25)
        for layout in (torch.contiguous_format, torch.channels_last)
    )
    assert all(torch.equal(one, other) for one, other in zip(contiguous, channels_last, strict=True))


@pytest.mark.parametrize("wrong", [5, 254, 256, -1, 2**32])
def test_class_without_logits_fails_an_assertion(wrong: int) -> None:
    logits, targets = random_case(5, (3, 4), [(9, 37)])
    targets[0][4, 29] = wrong
    with pytest.raises(Fault, match="a class without logits"):
        bootstrapped_cross_entropy(logits, targets, (9, 37), 0.25)
