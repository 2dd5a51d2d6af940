"""The operators of in-place activated BatchNorm: strides, registration with torch, refusals and memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.abn_cases import ACTIVATIONS, EPS, TYPES, Case, a_layer, check_layer, draw, laid_out, sums_type
from support.pairwise import pairwise
from torch import Tensor

from benchmarks.memory import peak_bytes
from seamseg.modules.abn import ABN
from seamseg.modules.inversion import gammas
from seamseg.ops import abn_kernels, native
from seamseg.ops.inplace_abn import Activation, RunningStatistics, Scale, gamma_of, num_samples

BOTH = [False, True]

# ---- any strides ----------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.contiguous(),
    "channels last": lambda x: laid_out(x, True),
    "every second row": lambda x: torch.stack([x, x + 100], dim=3).flatten(2, 3)[:, :, ::2],
    "some channels": lambda x: torch.cat([x + 100, x, x - 100], dim=1)[:, x.shape[1] : 2 * x.shape[1]],
    "some samples": lambda x: torch.cat([x + 100, x])[len(x) :],
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "samples last": lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "channels first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "off by one": lambda x: torch.cat([torch.full((1,), 100, dtype=x.dtype), x.flatten()])[1:].view(x.shape),
}


def around(x: Tensor) -> Tensor:
    """Return all numbers in the memory that ``x`` is a part of."""
    return torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())  # type: ignore[call-overload]


@pytest.mark.parametrize(("layout", "dtype"), pairwise(list(LAYOUTS), [torch.float64, torch.bfloat16]))
def test_operators_on_a_view_of_any_strides_overwrite_only_the_view(layout: str, dtype: torch.dtype) -> None:
    case = Case((3, 4, 5, 6), dtype)
    layer, _ = a_layer(case)
    expected, view, other = draw(case, 1, 2, 3), LAYOUTS[layout](draw(case, 1, 2, 3)), draw(case, 1, 2, 3)
    torch.testing.assert_close(view, expected, rtol=0, atol=0)
    strides, mark = view.stride(), around(view).clone()
    expected_moments = abn_kernels.train_(expected, None, layer)
    moments = abn_kernels.train_(view, None, layer)
    torch.testing.assert_close(moments, expected_moments)
    assert view.stride() == strides
    torch.testing.assert_close(view, expected)
    outside = around(view) == mark
    assert outside.sum() == mark.numel() - view.numel(), "memory around the view was overwritten"
    view = LAYOUTS[layout](draw(case, 1, 2, 3))
    abn_kernels.normalize_(view, None, expected_moments, layer)
    abn_kernels.normalize_(other, None, expected_moments, layer)
    torch.testing.assert_close(view, other)


@pytest.mark.parametrize("shift", [0, 1, 4])
@pytest.mark.parametrize("of_z", LAYOUTS)
def test_gradient_and_residual_of_other_strides_give_equal_results(of_z: str, shift: int) -> None:
    names = list(LAYOUTS)
    of_dz, of_residual = (names[(names.index(of_z) + step) % len(names)] for step in (shift, 2 * shift + 1))
    case = Case((3, 4, 5, 6), torch.float64)
    layer, _ = a_layer(case)
    z, dz, residual = (draw(case, seed) for seed in (1, 2, 3))
    moments = abn_kernels.moments(draw(case, 4))
    expected = abn_kernels.train_gradient(z, dz, residual, moments, layer)
    forward = z.clone()
    abn_kernels.normalize_(forward, residual, moments, layer)
    z, dz, residual = LAYOUTS[of_z](z), LAYOUTS[of_dz](dz), LAYOUTS[of_residual](residual)
    torch.testing.assert_close(abn_kernels.train_gradient(z, dz, residual, moments, layer), expected)
    torch.testing.assert_close(abn_kernels.sums(z, dz, residual, layer), expected[2])
    found = abn_kernels.gradient(z, dz, residual, expected[2] / 90, moments, layer)
    torch.testing.assert_close(found, expected[:2])
    abn_kernels.normalize_(z, residual, moments, layer)
    torch.testing.assert_close(z, forward)


def test_expanded_gradient_equals_a_full_one() -> None:
    case = Case((3, 4, 5, 6))
    layer, _ = a_layer(case)
    z, moments = draw(case, 1), abn_kernels.moments(draw(case, 2))
    expected = abn_kernels.train_gradient(z, torch.full(case.shape, 0.7), None, moments, layer)
    for gradient in (torch.tensor(0.7).expand(case.shape), torch.full((4, 1, 1), 0.7).expand(case.shape)):
        torch.testing.assert_close(abn_kernels.train_gradient(z, gradient, None, moments, layer), expected)


@pytest.mark.parametrize(
    ("shape", "dtype", "channels_last"),
    pairwise(
        [(0, 3), (0, 3, 4, 5), (2, 3, 0, 5), (2, 0), (2, 0, 4, 5), (0, 0, 2)], [torch.float64, torch.bfloat16], BOTH
    ),
)
def test_operators_on_empty_tensors_give_zero_sums(
    shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool
) -> None:
    case = Case(shape, dtype, "elu", channels_last, True)
    layer, _ = a_layer(case)
    x, dz, residual = (draw(case, seed) for seed in (1, 2, 3))
    zeros = torch.zeros(2, shape[1], dtype=sums_type(dtype))
    assert torch.equal(abn_kernels.moments(x), zeros)
    assert torch.equal(abn_kernels.train_(x, residual, layer), zeros)
    abn_kernels.normalize_(x, residual, zeros, layer)
    assert torch.equal(abn_kernels.sums(x, dz, residual, layer), zeros)
    dx, dr, sums = abn_kernels.train_gradient(x, dz, residual, zeros, layer)
    assert dr is not None
    assert (dx.shape, dr.shape, dx.dtype) == (shape, shape, dtype)
    assert torch.equal(sums, zeros)
    dx, dr = abn_kernels.gradient(x, dz, None, zeros, zeros, layer)
    assert (dx.shape, dr) == (shape, None)


@st.composite
def cases(draw_from: st.DrawFn) -> tuple[Case, str]:
    shape = draw_from(st.lists(st.integers(1, 7), min_size=4, max_size=4).filter(lambda sizes: sizes[0] > 1))
    if draw_from(st.booleans()):
        shape[draw_from(st.sampled_from([0, 3]))] = draw_from(st.integers(8, 700))
    dtype, activation = draw_from(st.sampled_from(TYPES)), draw_from(st.sampled_from(ACTIVATIONS))
    return Case(tuple(shape), dtype, activation, draw_from(st.booleans()), draw_from(st.booleans())), draw_from(
        st.sampled_from(sorted(LAYOUTS))
    )


@given(cases())
@settings(max_examples=100)
def test_operators_on_random_shapes_equal_the_oracle(drawn: tuple[Case, str]) -> None:
    case, layout = drawn
    check_layer(case)
    x, dense = LAYOUTS[layout](draw(case, 1)), draw(case, 1)
    layer, _ = a_layer(case)
    torch.testing.assert_close(abn_kernels.train_(x, None, layer), abn_kernels.train_(dense, None, layer))
    torch.testing.assert_close(x, dense)


# ---- registration with torch ----------------------------------------------------------------------------------------


def arguments(operator: str, case: Case) -> tuple[Any, ...]:
    """Return the arguments of an operator for a case."""
    (gamma, beta, eps, activation, slope), _ = a_layer(case)
    x, dz, moments = draw(case, 1), draw(case, 2), abn_kernels.moments(draw(case, 1))
    residual = draw(case, 3) if case.has_residual else None
    running = torch.zeros_like(gamma), torch.ones_like(gamma), torch.tensor(0)
    return {
        "abn_moments": (x,),
        "abn_normalize_": (x, residual, moments, gamma, beta, eps, activation, slope),
        "abn_train_": (x, residual, gamma, beta, eps, activation, slope),
        "abn_sums": (x, dz, residual, gamma, beta, activation, slope),
        "abn_gradient": (x, dz, residual, moments, moments, gamma, beta, eps, activation, slope),
        "abn_train_gradient": (x, dz, residual, moments, gamma, beta, eps, activation, slope),
        "abn_layer_train_": (x, residual, gamma, beta, *running, 0.1, 1, eps, activation, slope),
        "abn_layer_gradient": (x, dz, residual, gamma, beta, moments, 1, eps, activation, slope),
    }[operator]


OPERATORS = ["abn_moments", "abn_normalize_", "abn_train_", "abn_sums", "abn_gradient", "abn_train_gradient"]
SHAPE_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abn_moments": abn_kernels._moments_shape,
    "abn_normalize_": abn_kernels._no_output,
    "abn_train_": abn_kernels._train_shape,
    "abn_sums": abn_kernels._sums_shape,
    "abn_gradient": abn_kernels._gradient_shape,
    "abn_train_gradient": abn_kernels._train_gradient_shape,
    "abn_layer_train_": abn_kernels._train_shape,
    "abn_layer_gradient": abn_kernels._layer_gradient_shape,
}
OF_LAYERS = ["abn_layer_train_", "abn_layer_gradient"]  # not for float64
operators = pytest.mark.parametrize("operator", [*OPERATORS, *OF_LAYERS])


@operators
@pytest.mark.parametrize(("channels_last", "has_residual"), [(False, True), (True, False)])
def test_operator_passes_opcheck(operator: str, channels_last: bool, has_residual: bool) -> None:
    native.require(operator, SHAPE_FUNCTIONS[operator])
    case = Case((2, 3, 4, 5), torch.float32, "elu", channels_last, has_residual)
    torch.library.opcheck(getattr(torch.ops.seamseg, operator).default, arguments(operator, case))


def described(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result.shape, result.stride(), result.dtype
    return [described(part) for part in result] if result is not None else None


@operators
def test_operator_on_meta_tensors_gives_the_shapes_strides_and_types_of_the_kernel(operator: str) -> None:
    native.require(operator, SHAPE_FUNCTIONS[operator])
    call = getattr(torch.ops.seamseg, operator)
    shapes = [(2, 3, 4, 5), (3, 4), (0, 3, 2, 2), (2, 3, 1, 5), (2, 1, 3, 3), (2, 3, 2, 3, 2)]
    types = [dtype for dtype in TYPES if operator in OPERATORS or dtype != torch.float64]
    for shape, dtype, channels_last, has_residual in pairwise(shapes, types, BOTH, BOTH):
        given_arguments = arguments(operator, Case(shape, dtype, "elu", channels_last, has_residual))
        on_meta = [value.to("meta") if isinstance(value, Tensor) else value for value in given_arguments]
        assert described(call(*on_meta)) == described(call(*given_arguments))


REFUSALS: list[tuple[str, int, Callable[[Tensor], Tensor], str]] = [
    ("abn_moments", 0, lambda x: x[:, :, ::2], "contiguous or channels last"),
    ("abn_moments", 0, lambda x: x.int(), "must be float32, float64, bfloat16 or float16"),
    ("abn_moments", 0, lambda x: x[0, 0, 0], "at least two dimensions"),
    ("abn_train_", 1, lambda r: r.double(), "residual must have the input's type"),
    ("abn_train_", 1, lambda r: r[:1], "residual must have the input's type, device, shape"),
    ("abn_train_", 1, lambda r: laid_out(r, True), "memory layout"),
    ("abn_train_", 2, lambda gamma: gamma[:2], "one number per channel"),
    ("abn_train_", 2, lambda gamma: gamma.double(), "in float32"),
    ("abn_train_", 3, lambda beta: beta.bfloat16(), "in float32"),
    ("abn_train_", 3, lambda beta: torch.stack([beta, beta], 1)[:, 0], "contiguous"),
    ("abn_normalize_", 2, lambda moments: moments[0], "two numbers per channel"),
    ("abn_normalize_", 2, lambda moments: moments.T.contiguous().T, "two numbers per channel"),
    ("abn_sums", 1, lambda dz: dz.bfloat16(), "gradient must have the output's type"),
    ("abn_sums", 1, lambda dz: dz[:, :, :2], "gradient must have the output's type, device, shape"),
    ("abn_gradient", 3, lambda means: means.double(), "two numbers per channel"),
    ("abn_gradient", 4, lambda moments: moments[:, :2], "two numbers per channel"),
    ("abn_train_gradient", 1, lambda dz: laid_out(dz, True), "memory layout"),
    ("abn_train_gradient", 3, lambda moments: moments[:1], "two numbers per channel"),
    ("abn_layer_train_", 0, lambda x: x.double(), "must be float32, bfloat16 or float16"),
    ("abn_layer_train_", 2, lambda weight: weight[:2], "one number per channel"),
    ("abn_layer_train_", 4, lambda running: running.double(), "in float32"),
    ("abn_layer_train_", 6, lambda count: count.int(), "the count must be int64"),
    ("abn_layer_gradient", 5, lambda moments: moments[:1], "two numbers per channel"),
]


@pytest.mark.parametrize(("operator", "position", "spoil", "message"), REFUSALS)
def test_argument_that_does_not_fit_is_refused_with_the_name_of_the_operator(
    operator: str, position: int, spoil: Callable[[Tensor], Tensor], message: str
) -> None:
    native.require(operator, SHAPE_FUNCTIONS[operator])
    given_arguments = list(arguments(operator, Case((2, 3, 4, 5), has_residual=True)))
    given_arguments[position] = spoil(given_arguments[position])
    with pytest.raises((ValueError, RuntimeError), match=rf"{operator}: .*{message}"):
        getattr(torch.ops.seamseg, operator)(*given_arguments)


@pytest.mark.parametrize("code", [-1, 3])
def test_unknown_activation_code_is_refused(code: int) -> None:
    layer = abn_kernels.Layer(torch.ones(3), torch.zeros(3), EPS, code, 1.0)
    with pytest.raises(ValueError, match="abn_train_: unknown activation"):
        abn_kernels.train_(torch.zeros(2, 3), None, layer)


# ---- whole layers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "dtype", "channels_last", "has_residual"),
    pairwise(["abs", "signed", None], [torch.float32, torch.bfloat16], BOTH, BOTH),
)
def test_layer_operators_equal_the_separate_steps(
    scale: Scale | None, dtype: torch.dtype, channels_last: bool, has_residual: bool
) -> None:
    case = Case((3, 4, 5, 6), dtype, "leaky_relu", channels_last, has_residual)
    weight, bias = torch.tensor([-0.7, 0.0 if scale else 0.3, -0.0 if scale else 0.4, 2.0]), torch.randn(4)
    layer = abn_kernels.Layer(gamma_of(weight, scale, EPS), bias, EPS, 1, 0.1)
    x, z, dz, residual = draw(case, 1), draw(case, 1), draw(case, 2), draw(case, 3) if has_residual else None
    found, expected = (RunningStatistics(torch.randn(4), torch.ones(4), torch.tensor(3), 0.1) for _ in range(2))
    expected.mean.copy_(found.mean)
    moments = abn_kernels.train_(x, residual, layer)
    expected.update(moments, num_samples(x))
    constants = {None: 0, "abs": 1, "signed": 2}[scale], EPS, 1, 0.1
    running = found.mean, found.var, found.num_batches, 0.1
    assert torch.equal(abn_kernels.layer_train_(z, residual, weight, bias, running, *constants), moments)
    assert torch.equal(z, x)
    assert int(found.num_batches) == 4
    torch.testing.assert_close((found.mean, found.var), (expected.mean, expected.var))
    dx, dr, sums = abn_kernels.train_gradient(z, dz, residual, moments, layer)
    sign = torch.where(weight >= 0, 1, -1) if scale == "abs" else 1
    result = abn_kernels.layer_gradient(z, dz, residual, weight, bias, moments, *constants)
    torch.testing.assert_close(result, (dx, dr, sums[1] * sign, sums[0]), rtol=0, atol=0)


def test_layer_operator_without_samples_keeps_the_running_statistics() -> None:
    running = torch.ones(3), torch.ones(3), torch.tensor(7), 0.1
    abn_kernels.layer_train_(torch.zeros(0, 3, 4), None, torch.ones(3), torch.zeros(3), running, 0, EPS, 0, 1.0)
    assert [values.tolist() for values in running[:3]] == [[1] * 3, [1] * 3, 7]


@pytest.mark.parametrize("activation", ["leaky_relu", "elu"])
def test_smallest_gammas_equal_those_of_numpy(activation: Activation) -> None:
    norm = ABN(50, activation)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    for spoiled in (1.0, math.nan):
        norm.bias.data[20] *= spoiled
        found = abn_kernels.smallest_gammas(norm.weight, norm.bias, norm.eps, activation == "elu")
        expected = gammas(norm, norm.weight, norm.bias).min(axis=1)
        assert found == pytest.approx(tuple(expected.tolist()), rel=1e-6, nan_ok=True)


# ---- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "has_residual", "channels_last"), pairwise([torch.float32, torch.bfloat16], BOTH, BOTH)
)
def test_operators_allocate_only_their_gradients(dtype: torch.dtype, has_residual: bool, channels_last: bool) -> None:
    case = Case((4, 8, 64, 64), dtype, "elu", channels_last, has_residual)
    layer, _ = a_layer(case)
    x, dz, moments = draw(case, 1), draw(case, 2), abn_kernels.moments(draw(case, 1))
    residual = draw(case, 3) if has_residual else None
    full = x.numel() * x.element_size()
    assert peak_bytes(lambda: abn_kernels.train_(x, residual, layer)) < 0.02 * full
    assert peak_bytes(lambda: abn_kernels.normalize_(x, residual, moments, layer)) < 0.02 * full
    assert peak_bytes(lambda: abn_kernels.sums(x, dz, residual, layer)) < 0.02 * full
    gradients = (1 + has_residual) * full
    work = [
        lambda: abn_kernels.gradient(x, dz, residual, moments, moments, layer),
        lambda: abn_kernels.train_gradient(x, dz, residual, moments, layer),
    ]
    for call in work:
        assert gradients <= peak_bytes(call) < gradients + 0.02 * full
