"""The CUDA kernels of in-place activated BatchNorm, run thread by thread on the CPU, compared with the oracle."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from native.abn_kernels import ACTIVATIONS, TYPES, Geometry, Layered, accumulate_type, rounded
from native.harness import Kernels, build
from oracles import inplace_abn as oracle
from oracles.inplace_abn import Array, Layer
from support.pairwise import pairwise

Shape = tuple[int, int, int]

CHANNELS = [1, 3, 32, 33, 64, 257]
INNER = [1, 7, 49, 1000]
BOTH = [False, True]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return build("abn.cpp", tmp_path_factory.mktemp("abn"))


def a_layer(channels: int, activation: str, dtype: torch.dtype) -> Layer:
    """Return a layer with γ of both signs, not near 0."""
    generator = np.random.default_rng(channels)
    gamma = rounded(generator.uniform(0.5, 1.0, channels) * generator.choice([-1, 1], channels), torch.float32)
    beta = rounded(generator.normal(size=channels) * 0.3, torch.float32)
    slope = float(np.float32(0.2 if activation == "leaky_relu" else 1.5))
    # The middle of the values that round to -1, or the next value above -1 in the type of the computation.
    lowest = -1 + max(torch.finfo(dtype).eps / 8, torch.finfo(accumulate_type(dtype)).eps)
    return Layer(gamma, beta, activation, slope, lowest=lowest)


def samples(shape: Shape, dtype: torch.dtype, seed: int, mean: float = 0, std: float = 1) -> Array:
    return rounded(np.random.default_rng(seed).normal(mean, std, shape), dtype)


def assert_close(actual: Array, expected: Array, dtype: torch.dtype, size: Array | float = 1.0) -> None:
    """Compare up to the rounding of the stored type, or of sums over terms of ``size``."""
    tolerance = 6 * torch.finfo(dtype).eps
    np.testing.assert_array_less(abs(actual - expected), tolerance * (abs(expected) + size))


def check_layer(
    kernels: Kernels, geometry: Geometry, shape: Shape, activation: str, with_residual: bool, constant: bool = False
) -> Layered:
    """Compare all four operations on exact inputs; ``constant`` selects the gradient for fixed statistics."""
    dtype = geometry.dtype
    sums_type = accumulate_type(dtype)
    layer = a_layer(shape[1], activation, dtype)
    run = Layered(kernels, geometry, shape)
    x, dz = samples(shape, dtype, 1, 2, 3), samples(shape, dtype, 2)
    residual = samples(shape, dtype, 3) if with_residual else None

    moments = run.moments(x)
    expected = oracle.moments(x)
    assert_close(moments, expected, sums_type, size=10)
    forward = oracle.forward(layer, x, rounded(expected, sums_type), residual)
    assert_close(run.normalize(layer, x, expected, residual), forward, dtype)

    z = rounded(forward, dtype)
    sums, sizes = oracle.sums(layer, z, dz, residual)
    assert_close(run.sums(layer, z, dz, residual), sums, sums_type, size=4 * sizes + 1)

    count = shape[0] * shape[2]
    means = np.zeros_like(sums) if constant else rounded(sums / count, sums_type)
    dx, dr = oracle.gradient(layer, z, dz, means, expected, residual)
    actual, actual_dr = run.gradient(layer, z, dz, means, expected, residual, scale=0.25)
    rstd = 1 / np.sqrt(expected[1] + layer.eps)
    assert_close(actual, dx, dtype, size=4 * rstd[:, None])  # differences of numbers of this size
    if actual_dr is not None:
        assert_close(actual_dr, dr, dtype)
    return run


@pytest.mark.parametrize(
    ("channels", "inner", "interleaved", "dtype", "activation", "with_residual"),
    pairwise(CHANNELS, INNER, BOTH, TYPES, ACTIVATIONS, BOTH),
)
def test_kernels_on_shapes_around_warps_and_vectors_equal_the_oracle(
    kernels: Kernels,
    channels: int,
    inner: int,
    interleaved: bool,
    dtype: torch.dtype,
    activation: str,
    with_residual: bool,
) -> None:
    shape = (2 if channels * inner < 20_000 else 1, channels, inner)
    check_layer(kernels, Geometry(dtype, interleaved), shape, activation, with_residual)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_kernels_of_every_type_and_activation_equal_the_oracle(
    kernels: Kernels, dtype: torch.dtype, activation: str
) -> None:
    for interleaved, with_residual in itertools.product(BOTH, BOTH):
        geometry = Geometry(dtype, interleaved)
        assert check_layer(kernels, geometry, (2, 16, 24), activation, with_residual).call.packed


@pytest.mark.parametrize(
    ("dtype", "activation", "interleaved", "with_residual"), pairwise(TYPES, ACTIVATIONS, BOTH, BOTH)
)
def test_kernels_with_64_bit_positions_and_fixed_statistics_equal_the_oracle(
    kernels: Kernels, dtype: torch.dtype, activation: str, interleaved: bool, with_residual: bool
) -> None:
    geometry = Geometry(dtype, interleaved, wide=True)
    check_layer(kernels, geometry, (2, 9, 35), activation, with_residual, constant=True)


@pytest.mark.parametrize(("dtype", "leads", "interleaved"), pairwise(TYPES, [(1,), (3,), (0, 1), (1, 0, 0)], BOTH))
def test_kernels_on_unaligned_tensors_equal_the_oracle(
    kernels: Kernels, dtype: torch.dtype, leads: tuple[int, ...], interleaved: bool
) -> None:
    geometry = Geometry(dtype, interleaved, leads)
    assert not check_layer(kernels, geometry, (2, 8, 131), "leaky_relu", True).call.packed


@pytest.mark.parametrize("interleaved", [False, True], ids=["planar", "interleaved"])
@pytest.mark.parametrize(
    ("shape", "multiprocessors"), [((1, 1, 9000), 2), ((3, 2, 5001), 1), ((40, 4, 300), 8)], ids=str
)
def test_kernels_that_split_a_channel_over_blocks_equal_the_oracle(
    kernels: Kernels, shape: Shape, multiprocessors: int, interleaved: bool
) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        geometry = Geometry(dtype, interleaved, multiprocessors=multiprocessors)
        assert check_layer(kernels, geometry, shape, "leaky_relu", False).call.splits > 1


@pytest.mark.parametrize("interleaved", [False, True], ids=["planar", "interleaved"])
@pytest.mark.parametrize("wide", [False, True], ids=["32 bits", "64 bits"])
def test_moments_at_a_large_mean_are_accurate(kernels: Kernels, wide: bool, interleaved: bool) -> None:
    shape = (4, 3, 3000)
    geometry = Geometry(torch.float32, interleaved, wide=wide)
    x = samples(shape, torch.float32, 4, 1e4, 1e-2)
    x[:, 2] = samples((4, 1, 3000), torch.float32, 5, -1e4, 1e-2)[:, 0]
    moments, expected = Layered(kernels, geometry, shape).moments(x), oracle.moments(x)
    np.testing.assert_allclose(moments[0], expected[0], atol=5e-4)  # half a step of float32
    np.testing.assert_allclose(moments[1], expected[1], rtol=1e-4)


@pytest.mark.parametrize("interleaved", [False, True], ids=["planar", "interleaved"])
def test_moments_with_a_first_sample_far_from_the_mean_are_accurate(kernels: Kernels, interleaved: bool) -> None:
    shape = (2, 2, 4000)
    x = samples(shape, torch.float32, 6, 3, 0.1)
    x[0, :, 0] = 100
    moments = Layered(kernels, Geometry(torch.float32, interleaved), shape).moments(x)
    np.testing.assert_allclose(moments, oracle.moments(x), rtol=1e-5)


@pytest.mark.parametrize("interleaved", [False, True], ids=["planar", "interleaved"])
def test_moments_of_one_sample_are_the_sample_and_zero(kernels: Kernels, interleaved: bool) -> None:
    for dtype, shape in itertools.product(TYPES, [(1, 5, 1), (1, 8, 1)]):
        x = samples(shape, dtype, 7)
        moments = Layered(kernels, Geometry(dtype, interleaved), shape).moments(x)
        np.testing.assert_array_equal(moments, np.stack([x[0, :, 0], np.zeros(shape[1])]))


def test_moments_are_equal_in_every_run(kernels: Kernels) -> None:
    shape = (2, 3, 6000)
    x = samples(shape, torch.float32, 8)
    first, second = (Layered(kernels, Geometry(), shape).moments(x) for _ in range(2))
    np.testing.assert_array_equal(first, second)
