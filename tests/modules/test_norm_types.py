"""Norms in half precision, with and without autocast."""

from __future__ import annotations

import copy

import pytest
import torch
from oracles.norm import stir
from support.pairwise import pairwise
from torch import Tensor, nn

from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.ops.inplace_abn import Activation

KINDS: list[type[ABN]] = [InPlaceABN, InPlaceABNSync]
HALF = [torch.bfloat16, torch.float16]
ACTIVATIONS: list[Activation] = ["leaky_relu", "elu", "identity"]
BOTH = [False, True]

pytestmark = pytest.mark.filterwarnings("ignore:synchronized norms without a process group")


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def laid_out(x: Tensor, channels_last: bool) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if channels_last else x.contiguous()


@pytest.mark.parametrize(
    ("kind", "dtype", "activation", "has_residual", "channels_last", "training"),
    pairwise([ABN, *KINDS], HALF, ACTIVATIONS, BOTH, BOTH, BOTH),
)
def test_gradients_in_half_precision_are_near_those_in_float64(
    kind: type[ABN],
    dtype: torch.dtype,
    activation: Activation,
    has_residual: bool,
    channels_last: bool,
    training: bool,
) -> None:
    """Compare with float64 on the same numbers: the output is rounded once, gradients differ by a few roundings."""
    norm = kind(4, activation, 0.2).train(training)
    stir(norm)
    exact = copy.deepcopy(norm).double()
    inputs = [laid_out(random(3, 4, 8, 8, seed=seed).to(dtype), channels_last) for seed in range(1 + has_residual)]
    upstream = random(3, 4, 8, 8, seed=9).to(dtype)
    results = []
    for module, compute in ((norm, dtype), (exact, torch.float64)):
        leaves = [x.to(compute).requires_grad_() for x in inputs]
        z = module(leaves[0] * 1, *leaves[1:])
        results.append([z, *torch.autograd.grad(z, [*leaves, *module.parameters()], upstream.to(compute))])
    found, expected = results
    assert [tensor.dtype for tensor in found] == [dtype] * (2 + has_residual) + [torch.float32] * 2
    assert {buffer.dtype for buffer in norm.buffers()} == {torch.float32, torch.int64}
    u = torch.finfo(dtype).eps / 2
    # A residual in front of an ELU is added to the kept values, which are rounded.
    rounds_twice = has_residual and activation == "elu"
    torch.testing.assert_close(found[0].double(), expected[0], rtol=1.1 * u, atol=6 * u if rounds_twice else 1e-6)
    for half, double in zip(found[1:], expected[1:], strict=True):
        assert (half.double() - double).norm() < 6 * u * double.norm()
    torch.testing.assert_close(norm.running_var, exact.running_var.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "dtype", "activation", "has_residual"), pairwise(KINDS, HALF, ACTIVATIONS, BOTH))
def test_norm_under_autocast_keeps_the_type_of_activations(
    kind: type[ABN], dtype: torch.dtype, activation: Activation, has_residual: bool
) -> None:
    """Compare a norm between convolutions with the out-of-place norm under the same autocast."""
    results = []
    for norm_kind in (kind, ABN):
        torch.manual_seed(0)
        first, norm, last = nn.Conv2d(2, 4, 3, bias=False), norm_kind(4, activation, 0.2), nn.Conv2d(4, 2, 3)
        stir(norm)
        x = random(3, 2, 12, 12)
        with torch.autocast("cpu", dtype):
            y = first(x)
            shortcut = [(y * 0.5).detach().requires_grad_()] * has_residual
            z = norm(y, *shortcut)
            out = last(z)
        assert y.dtype == z.dtype == out.dtype == dtype
        parameters = [*first.parameters(), *norm.parameters(), *last.parameters()]
        gradients = torch.autograd.grad(out.float().square().sum(), [*parameters, *shortcut])
        assert [g.dtype for g in gradients] == [torch.float32] * 5 + [dtype] * has_residual
        assert {buffer.dtype for buffer in norm.buffers()} == {torch.float32, torch.int64}
        results.append([out.float(), *gradients, norm.running_mean, norm.running_var])
    for found, expected in zip(*results, strict=True):
        assert (found.float() - expected.float()).norm() < 8 * torch.finfo(dtype).eps * expected.float().norm()


def test_float32_input_stays_float32_under_autocast() -> None:
    norm = InPlaceABN(3)
    x = random(4, 3, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        z = norm(x.clone(), x)
    assert z.dtype == torch.float32
    torch.testing.assert_close(z, ABN(3)(x, x))


@pytest.mark.parametrize("of_module", [torch.float64, torch.bfloat16], ids=str)
def test_parameters_of_another_type_than_the_input_get_gradients_of_their_type(of_module: torch.dtype) -> None:
    norm, expected = InPlaceABN(3).to(of_module), ABN(3)
    x = random(4, 3, 5)
    z = norm(x.clone())
    torch.testing.assert_close(z, expected(x), rtol=1e-4, atol=1e-4)
    z.square().sum().backward()
    assert [(p.grad is not None and p.grad.dtype, p.dtype) for p in norm.parameters()] == [(of_module,) * 2] * 2
