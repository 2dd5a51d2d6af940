"""Cases for the operators of in-place activated BatchNorm, and their comparison with the oracle."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from oracles import inplace_abn as oracle
from torch import Tensor

from seamseg.ops import abn_kernels

TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
ACTIVATIONS = ["identity", "leaky_relu", "elu"]
SLOPES = {"identity": 1.0, "leaky_relu": 0.125, "elu": 1.5}
EPS = 1e-5
# Around the block sizes of the kernels: vectors, tiles of 256, sums of 4096, threads of 32768 numbers.
SHAPES = [
    (2, 3),
    (70, 5),
    (9, 257),
    (20, 1100),
    (4, 16, 16, 16),
    (2, 3, 5, 7),
    (5, 33, 1, 1),
    (1, 4, 1, 9),
    (7, 1, 9, 9),
    (2, 5, 4099),
    (2, 3, 2, 3, 43),
]
# Gradients of a little more than 8 MB, by bytes per number, with rows aligned for streaming stores, and without.
LARGE_SHAPES = {8: (2, 32, 64, 257), 4: (2, 32, 128, 257), 2: (2, 32, 256, 257)}
LARGE_UNALIGNED_SHAPE = (2, 33, 180, 181)  # float32


@dataclass(frozen=True)
class Case:
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    activation: str = "leaky_relu"
    channels_last: bool = False
    has_residual: bool = False


def draw(case: Case, seed: int, mean: float = 0, spread: float = 1) -> Tensor:
    """Return random samples in the case's type and layout."""
    return laid_out((normal(case.shape, seed) * spread + mean).to(case.dtype), case.channels_last)


@functools.lru_cache(maxsize=6)
def normal(shape: tuple[int, ...], seed: int) -> Tensor:
    """Return random numbers; they are cached because drawing them takes longer than the kernels do."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def laid_out(x: Tensor, channels_last: bool) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if channels_last else x.contiguous()


def array(x: Tensor) -> oracle.Array:
    """Return N×C×S in float64."""
    return x.detach().double().reshape(x.shape[0], x.shape[1], -1).numpy()


def sums_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def saturation(dtype: torch.dtype) -> float:
    """Return the value, divided by α, that stands for ELU outputs rounded to −α."""
    half_step = torch.finfo(dtype).eps / 8
    return -1 + max(half_step, torch.finfo(sums_type(dtype)).eps)


def a_layer(case: Case) -> tuple[abn_kernels.Layer, oracle.Layer]:
    """Return a layer with γ of both signs, not near 0, and the same layer for the oracle."""
    generator = np.random.default_rng(case.shape[1])
    channels = case.shape[1]
    gamma = generator.uniform(0.5, 1.0, channels) * generator.choice([-1, 1], channels)
    constants = [torch.from_numpy(values).float() for values in (gamma, generator.normal(size=channels) * 0.3)]
    gamma_tensor, beta_tensor = (values.to(sums_type(case.dtype)) for values in constants)
    slope = SLOPES[case.activation]
    layer = abn_kernels.Layer(gamma_tensor, beta_tensor, EPS, ACTIVATIONS.index(case.activation), slope)
    arrays = [values.double().numpy() for values in constants]
    return layer, oracle.Layer(arrays[0], arrays[1], case.activation, slope, EPS, saturation(case.dtype))


def check(found: Tensor, expected: oracle.Array, dtype: torch.dtype, size: oracle.Array | float = 1) -> None:
    """Compare up to the rounding of the type, relative to ``expected`` plus ``size``."""
    found_array = array(found) if found.ndim >= 2 and expected.ndim == 3 else found.double().numpy()
    error = abs(found_array - expected)
    np.testing.assert_array_less(error, 8 * torch.finfo(dtype).eps * (abs(expected) + size))


def check_layer(case: Case) -> None:
    """Compare all operators with the oracle, each on its own inputs, so that errors don't add up."""
    (layer, slow), dtype, sums_dtype = a_layer(case), case.dtype, sums_type(case.dtype)
    x, dz = draw(case, 1, 2, 3), draw(case, 2)
    residual = draw(case, 3) if case.has_residual else None
    shortcut = array(residual) if residual is not None else None

    moments = abn_kernels.moments(x)
    expected_moments = oracle.moments(array(x))
    check(moments, expected_moments, sums_dtype, size=10)
    z, other = x.clone(), x.clone()
    check(abn_kernels.train_(z, residual, layer), expected_moments, sums_dtype, size=10)
    abn_kernels.normalize_(other, residual, moments, layer)
    rstd = 1 / np.sqrt(expected_moments[1] + EPS)
    normalized = oracle.forward(slow, array(x), expected_moments, shortcut)
    for found in (z, other):
        check(found, normalized, dtype, size=2 + 2 * rstd[:, None] * (dtype not in (torch.bfloat16, torch.float16)))

    kept, count = array(z), array(z).shape[0] * array(z).shape[2]
    expected_sums, sizes = oracle.sums(slow, kept, array(dz), shortcut)
    check(abn_kernels.sums(z, dz, residual, layer), expected_sums, sums_dtype, size=4 * sizes + 1)
    for means in (expected_sums / count, np.zeros_like(expected_sums)):
        expected = oracle.gradient(slow, kept, array(dz), means, expected_moments, shortcut)
        dx, dr = abn_kernels.gradient(z, dz, residual, torch.from_numpy(means).to(sums_dtype), moments, layer)
        check_gradients((dx, dr), expected, rstd, case)
        if means.any() or count == 0:
            *whole, sums = abn_kernels.train_gradient(z, dz, residual, moments, layer)
            check_gradients((whole[0], whole[1]), expected, rstd, case)
            check(sums, expected_sums, sums_dtype, size=4 * sizes + 1)


def check_gradients(
    found: tuple[Tensor, Tensor | None],
    expected: tuple[oracle.Array, oracle.Array],
    rstd: oracle.Array,
    case: Case,
) -> None:
    dx, dr = found
    strides = laid_out(torch.empty(case.shape, device="meta"), case.channels_last).stride()
    check(dx, expected[0], case.dtype, size=6 * rstd[:, None])  # differences of numbers of this size
    assert (dr is not None) == case.has_residual
    if dr is not None:
        check(dr, expected[1], case.dtype)
    for gradient in (dx, dr):
        assert gradient is None or gradient.stride() == strides


def check_large(case: Case) -> None:
    """Check that gradients written by streaming stores are bit-equal to those of a few rows at a time."""
    layer, _ = a_layer(case)
    z, dz, residual = draw(case, 1), draw(case, 2), draw(case, 3) if case.has_residual else None
    moments = torch.ones(2, case.shape[1], dtype=sums_type(case.dtype))
    whole = abn_kernels.gradient(z, dz, residual, moments / 8, moments, layer)
    assert z.nbytes >= 8 << 20 > z[:, :, :32].nbytes
    for rows in range(0, z.shape[2], 32):
        part = slice(rows, rows + 32)
        shortcut = residual[:, :, part] if residual is not None else None
        pieces = abn_kernels.gradient(z[:, :, part], dz[:, :, part], shortcut, moments / 8, moments, layer)
        for found, expected in zip(whole, pieces, strict=True):
            assert (found is None) == (expected is None)
            assert found is None or expected is None or torch.equal(found[:, :, part], expected)


def in_turn(shapes: list[tuple[int, ...]]) -> Iterator[Case]:
    """Return cases of every type and layout for every shape, in turn with each activation and residual."""
    for turn, shape in enumerate(shapes):
        for i, (dtype, channels_last) in enumerate(itertools.product(TYPES, (False, True))):
            yield Case(shape, dtype, ACTIVATIONS[(turn + i) % 3], channels_last, (turn + i) // 3 % 2 == 0)


def large_cases() -> Iterator[Case]:
    """Return cases of every type and layout for streaming stores, and two unaligned ones; some with a residual."""
    for channels_last in (False, True):
        yield Case(LARGE_UNALIGNED_SHAPE, torch.float32, "leaky_relu", channels_last, True)
        for dtype in TYPES:
            aligned = LARGE_SHAPES[dtype.itemsize]
            yield Case(aligned, dtype, "leaky_relu", channels_last, dtype in (torch.float32, torch.bfloat16))


def check_all() -> None:
    """Check every kernel once, and every block size."""
    for combination in itertools.product(TYPES, ACTIVATIONS, (False, True), (False, True)):
        dtype, activation, channels_last, has_residual = combination
        check_layer(Case((3, 5, 3, 100), dtype, activation, channels_last, has_residual))
    for case in in_turn(SHAPES):
        check_layer(case)
    for threads, channels_last in itertools.product((1, 2), (False, True)):
        torch.set_num_threads(threads)
        check_layer(Case((2, 1, 200, 200), torch.float32, "leaky_relu", channels_last, True))
    for case in large_cases():
        check_large(case)
