"""Batch renormalization against its formula with constants r and d."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from oracles.norm import gamma, stir
from oracles.small_batch import renormalize
from torch import Tensor, nn

from seamseg.errors import SeamsegError
from seamseg.modules.abn import InPlaceABN
from seamseg.modules.batch_renorm import BatchRenorm, RenormLimits
from seamseg.ops.inplace_abn import Scale

SHORT = RenormLimits(max_scale=2.0, max_shift=1.0, plain_iterations=2, warmup_iterations=6)
LIMITS = [(1.0, 0.0), (1.0, 0.0), (1.25, 0.25), (1.5, 0.5), (1.75, 0.75), (2.0, 1.0), (2.0, 1.0), (2.0, 1.0)]
"""Limits of r and d in the first iterations."""


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs(step: int) -> Tensor:
    """Return a batch of two samples per channel, whose statistics are often beyond the limits."""
    return random(2, 5, 3, 1, seed=step) * (0.2 + step % 3) + (step % 2)


@pytest.mark.parametrize("scale", ["abs", "signed"])
def test_batch_renorm_equals_its_formula_with_detached_corrections(scale: Scale) -> None:
    norm = BatchRenorm(5, "identity", momentum=0.2, scale=scale, limits=SHORT).double()
    stir(norm)
    norm.reset_running_stats()
    reached = set()
    for step, (max_scale, max_shift) in enumerate(LIMITS):
        mean, var = norm.running_mean.clone(), norm.running_var.clone()
        leaves = [inputs(step).requires_grad_() for _ in range(2)]
        found = norm(leaves[0] * 1)
        expected = renormalize(leaves[1], gamma(norm.weight, scale), norm.bias, mean, var, max_scale, max_shift)
        torch.testing.assert_close(found, expected)
        upstream = random(*found.shape, seed=40 + step) + 0.3
        gradients = [
            torch.autograd.grad(y, [leaf, *norm.parameters()], upstream)
            for y, leaf in zip((found, expected), leaves, strict=True)
        ]
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)
        x = inputs(step)
        torch.testing.assert_close(norm.running_mean, mean.lerp(x.mean((0, 2, 3)), 0.2))
        torch.testing.assert_close(norm.running_var, var.lerp(x.var((0, 2, 3)), 0.2))
        ratio = ((x.var((0, 2, 3), correction=0) + 1e-5) / (var + 1e-5)).sqrt()
        reached |= {"above" if r > max_scale else "below" if r < 1 / max_scale else "inside" for r in ratio.tolist()}
    assert reached == {"above", "below", "inside"}


def test_batch_renorm_without_clipping_computes_what_evaluation_does() -> None:
    norm = BatchRenorm(5, "identity", momentum=0.1, limits=RenormLimits(1e6, 1e6, 0, 0)).double()
    stir(norm)
    expected = copy.deepcopy(norm).eval()(inputs(1))
    torch.testing.assert_close(norm(inputs(1)), expected)


def test_batch_renorm_before_its_warmup_equals_batch_norm() -> None:
    networks = [nn.Sequential(nn.Conv2d(5, 4, 1), norm).double() for norm in (BatchRenorm(4), InPlaceABN(4))]
    for network in networks:
        stir(network)
        network[1].num_batches_tracked.zero_()
    outputs = [network(inputs(0)) for network in networks]
    torch.testing.assert_close(*outputs)
    pairs = zip(outputs, networks, strict=True)
    gradients = [torch.autograd.grad(y.square().sum(), list(network.parameters())) for y, network in pairs]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_batch_renorm_has_the_state_dict_of_batch_norm_and_resumes_exactly() -> None:
    assert BatchRenorm(5).state_dict().keys() == InPlaceABN(5).state_dict().keys()
    norm = BatchRenorm(5, limits=SHORT)
    for step in range(4):
        norm(inputs(step).float())
    file = io.BytesIO()
    torch.save(norm.state_dict(), file)
    file.seek(0)
    resumed = BatchRenorm(5, limits=SHORT)
    resumed.load_state_dict(torch.load(file))
    for step in range(4, 7):
        assert torch.equal(norm(inputs(step).float()), resumed(inputs(step).float()))


def test_batch_renorm_without_rows_keeps_its_state_and_gives_zero_gradients() -> None:
    norm = BatchRenorm(5, limits=SHORT).double()
    norm(inputs(0))
    before = copy.deepcopy(norm.state_dict())
    x = torch.zeros(0, 5, 3, 1, dtype=torch.float64, requires_grad=True)
    norm(x * 1).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert [value.grad.count_nonzero() for value in norm.parameters()] == [0, 0]


def test_batch_renorm_of_one_sample_per_channel_is_refused() -> None:
    with pytest.raises(SeamsegError, match="one sample per channel"):
        BatchRenorm(5)(torch.zeros(1, 5))
