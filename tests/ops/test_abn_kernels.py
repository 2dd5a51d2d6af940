"""The CPU kernels of in-place activated BatchNorm, in every type and dense layout."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from oracles import inplace_abn as oracle
from support.abn_cases import (
    ACTIVATIONS,
    SHAPES,
    TYPES,
    Case,
    a_layer,
    array,
    check_large,
    check_layer,
    draw,
    in_turn,
    laid_out,
    large_cases,
    sums_type,
)

from seamseg.ops import abn_kernels, native

types = pytest.mark.parametrize("dtype", TYPES, ids=str)
activations = pytest.mark.parametrize("activation", ACTIVATIONS)
layouts = pytest.mark.parametrize("channels_last", [False, True], ids=["planar", "channels last"])


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@types
@activations
@layouts
@pytest.mark.parametrize("has_residual", [False, True], ids=["alone", "residual"])
def test_kernels_of_every_type_and_layout_equal_the_oracle(
    dtype: torch.dtype, activation: str, channels_last: bool, has_residual: bool
) -> None:
    check_layer(Case((3, 5, 3, 100), dtype, activation, channels_last, has_residual))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernels_on_shapes_around_their_block_sizes_equal_the_oracle(shape: tuple[int, ...]) -> None:
    for case in in_turn(SHAPES):
        if case.shape == shape:
            check_layer(case)


@layouts
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("shape", [(1, 1, 150001), (3, 1, 40000), (2, 2, 200, 240), (40, 33, 60)], ids=str)
def test_kernels_with_fewer_channels_than_threads_equal_the_oracle(shape: tuple[int, ...], channels_last: bool) -> None:
    check_layer(Case(shape, torch.float32, "leaky_relu", channels_last, True))
    check_layer(Case(shape, torch.float16, "identity", channels_last, False))


@pytest.mark.usefixtures("two_threads")
def test_large_gradients_written_by_streaming_stores_equal_small_ones() -> None:
    for case in large_cases():
        check_large(case)


# ---- moments --------------------------------------------------------------------------------------------------------


@layouts
@pytest.mark.parametrize(
    ("shape", "mean", "spread"),
    [((4, 3, 3000), 1e4, 1e-2), ((2, 3, 90, 100), -1e4, 1e-2), ((5000, 3), 1e6, 1.0), ((1, 3, 8192), 1e4, 0.0)],
)
def test_moments_at_a_large_mean_are_accurate(
    shape: tuple[int, ...], channels_last: bool, mean: float, spread: float
) -> None:
    """The mean is exact to half a step of float32, the variance of the rounded numbers to 1e-5."""
    case = Case(shape, channels_last=channels_last)
    x = draw(case, 4, mean, spread)
    expected = oracle.moments(array(x))
    for moments in (abn_kernels.moments(x), abn_kernels.train_(x.clone(), None, a_layer(case)[0])):
        assert torch.equal(moments[0], torch.from_numpy(expected[0]).float())
        np.testing.assert_allclose(moments[1].double(), expected[1], rtol=1e-5, atol=0)


@layouts
@pytest.mark.parametrize("first", [1, 4, 256, 300, 4096])
def test_moments_are_accurate_when_the_first_samples_differ_from_the_rest(first: int, channels_last: bool) -> None:
    """Moments are taken about a number near the first samples, which may be far from the others."""
    case = Case((1, 2, 10000), channels_last=channels_last)
    x = draw(case, 5, 3, 0.1)
    x[:, :, :first] -= 100
    found, (mean, var) = abn_kernels.moments(x).double().numpy(), oracle.moments(array(x))
    np.testing.assert_array_less(abs(found[0] - mean), 2e-6 * np.sqrt(var))
    np.testing.assert_allclose(found[1], var, rtol=5e-5)


@types
@layouts
def test_infinity_and_nan_spoil_only_their_channel(dtype: torch.dtype, channels_last: bool) -> None:
    case = Case((2, 4, 5, 60), dtype, channels_last=channels_last)
    x = draw(case, 6)
    x[0, 1, 2, 30], x[1, 2, 3, 17] = torch.nan, torch.inf
    clean = abn_kernels.moments(draw(case, 6))
    for moments in (abn_kernels.moments(x), abn_kernels.train_(x, None, a_layer(case)[0])):
        assert not moments[:, 1].isfinite().any()
        assert not moments[:, 2].isfinite().any()
        assert torch.equal(moments[:, [0, 3]], clean[:, [0, 3]])
    assert x[:, [0, 3]].isfinite().all()
    assert x[:, 1].isnan().all(), "a channel with one NaN has no other values"


@types
def test_moments_of_one_sample_are_the_sample_and_zero(dtype: torch.dtype) -> None:
    x = draw(Case((1, 300), dtype), 7)
    moments = abn_kernels.moments(x)
    assert torch.equal(moments[0], x[0].to(sums_type(dtype)))
    assert not moments[1].any()


# ---- half types -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@layouts
def test_half_precision_results_are_rounded_to_nearest_even(dtype: torch.dtype, channels_last: bool) -> None:
    """Multiply every number of the type by 1.5 and compare with torch."""
    numbers = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    x = laid_out(numbers.reshape(2, 4, -1).clone(), channels_last)
    layer = abn_kernels.Layer(torch.full((4,), 1.5), torch.zeros(4), 0.0, 0, 1.0)
    exact = x.float() * 1.5
    if dtype == torch.bfloat16 and native.cpu_capability() == "avx512_bf16":
        # The processor's own conversion takes subnormal numbers for zero.
        exact = torch.where(exact.abs() < torch.finfo(dtype).tiny, 0, exact)
    expected = exact.to(dtype)
    abn_kernels.normalize_(x, None, torch.stack([torch.zeros(4), torch.ones(4)]), layer)
    torch.testing.assert_close(x, expected, rtol=0, atol=0, equal_nan=True)
