"""The CUDA kernels of the cross-entropy of upsampled logits, run thread by thread on the CPU, against the oracle."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from native.cross_entropy_kernels import TYPES, CrossEntropyKernels
from native.harness import Fault, build
from oracles.bootstrapped_cross_entropy import bootstrapped_cross_entropy as oracle
from support.cross_entropy_cases import (
    CASES,
    VOID,
    Case,
    check_case,
    check_large_logits,
    random_case,
    values_and_gradient,
)

from seamseg.ops import bootstrapped_cross_entropy as module
from seamseg.ops.bootstrapped_cross_entropy import bootstrapped_cross_entropy
from seamseg.ops.native import require

SHAPES = {
    "upsampled_cross_entropy": module._loss_shapes,
    "upsampled_cross_entropy_gradient": module._gradient_shape,
}


@pytest.fixture(scope="module", autouse=True)
def on_gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Replace the operators by the CUDA kernels in this file."""
    kernels = CrossEntropyKernels(build("cross_entropy.cpp", tmp_path_factory.mktemp("cross_entropy")))
    with pytest.MonkeyPatch.context() as patch:
        for name, shapes in SHAPES.items():
            require(name, shapes)
            patch.setattr(torch.ops.seamseg, name, getattr(kernels, name))
        yield


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_losses_and_gradients_equal_the_complete_upsampled_logits(case: Case, dtype: torch.dtype) -> None:
    check_case(case, 0.5, dtype)


@pytest.mark.parametrize("spread", [30, 1e3, 1e5, 1e20])
def test_large_logits_equal_the_complete_upsampled_logits(spread: float) -> None:
    check_large_logits(spread)


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
    gradient = torch.ops.seamseg.upsampled_cross_entropy_gradient(logits, chosen, log_sums, weight, 0.5, 0.5)
    assert gradient[:, 0, 0].isinf().all()
    assert not gradient[:, 1:, 1:].any()


def test_channels_last_logits_equal_contiguous_ones() -> None:
    logits, targets = random_case(5, (4, 6), [(15, 21), (16, 24)])
    expected = values_and_gradient(bootstrapped_cross_entropy, logits, targets, (16, 24), 0.25)
    strided = logits.to(memory_format=torch.channels_last)
    found = values_and_gradient(bootstrapped_cross_entropy, strided, targets, (16, 24), 0.25)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("wrong", [5, 254, 256, -1, 2**32])
def test_class_without_logits_fails_an_assertion(wrong: int) -> None:
    logits, targets = random_case(5, (3, 4), [(9, 37)])
    targets[0][4, 29] = wrong
    with pytest.raises(Fault, match="a class without logits"):
        bootstrapped_cross_entropy(logits, targets, (9, 37), 0.25)
