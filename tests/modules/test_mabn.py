"""MABN against slow loops over several iterations, and its state."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles.norm import activate, gamma, stir
from oracles.small_batch import MovingAverageOracle
from support.ranks import on_ranks
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import update_bn

from seamseg.modules.adjusted_filters import AdjustedConv2d
from seamseg.modules.mabn import MABN, MovingAverages
from seamseg.modules.norm import has_per_rank_stats
from seamseg.ops.inplace_abn import Activation, Scale

SHORT = MovingAverages(window=3, momentum=0.3, plain_iterations=2, warmup_iterations=5)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inputs(step: int) -> Tensor:
    """Return a batch whose size and scale depend on the step; after a jump, the correction reaches its limits."""
    scale = torch.tensor([1.0, 8.0 if step < 7 else 0.05, 0.1 if step < 7 else 40.0]).double().view(1, 3, 1, 1)
    return random(1 + step % 3, 3, 2, 4, seed=step) * scale * (1 + step % 2)


def state(norm: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in norm.state_dict().items()}


@pytest.mark.parametrize("scale", ["abs", "signed"])
def test_mabn_over_all_phases_equals_slow_loops_forward_and_backward(scale: Scale) -> None:
    norm = MABN(3, "identity", scale=scale, averages=SHORT).double()
    stir(norm)
    norm.reset_running_stats()
    oracle = MovingAverageOracle(3, window=3, momentum=0.3, plain=2, warmup=5)
    corrections = []
    for step in range(12):
        x, dy = inputs(step), random(1 + step % 3, 3, 2, 4, seed=50 + step) + 0.5
        leaf = x.clone().requires_grad_()
        norm.zero_grad()
        y = norm(leaf * 1)
        torch.testing.assert_close(y, oracle.forward(x, gamma(norm.weight, scale).detach(), norm.bias.detach()))
        y.backward(dy)
        dx, d_gamma, d_beta = oracle.backward(dy)
        torch.testing.assert_close(leaf.grad, dx)
        torch.testing.assert_close(norm.bias.grad, d_beta.double())
        sign = torch.where(norm.weight < 0, -1.0, 1.0) if scale == "abs" else 1.0
        torch.testing.assert_close(norm.weight.grad, d_gamma.double() * sign, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(norm.running_var, torch.tensor(oracle.running).double())
        corrections.append(oracle.r)
    assert corrections[4] == [1, 1, 1]
    assert any(1 / 5 < r < 5 and r != 1 for r in corrections[6])
    assert {1 / 5, 5.0} <= {r for of_step in corrections for r in of_step}
    assert norm.num_batches_tracked == norm.num_gradients_tracked == 12
    assert norm.running_mean.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("activation", "has_residual"), [("leaky_relu", True), ("elu", False), ("elu", True)])
def test_mabn_with_activation_and_residual_equals_the_plain_norm_before_them(
    activation: Activation, has_residual: bool
) -> None:
    norm = MABN(3, activation, 0.3, averages=SHORT).double()
    stir(norm)
    plain = MABN(3, "identity", averages=SHORT).double()
    plain.load_state_dict(norm.state_dict())
    for step in range(8):
        results = []
        for module in (norm, plain):
            module.zero_grad()
            leaf = inputs(step).requires_grad_()
            residual = [random(*leaf.shape, seed=90 + step).requires_grad_()] * has_residual
            y = module(leaf * 1, *residual) if module is norm else module(leaf * 1)
            if module is plain:
                y = activate(y + residual[0] if has_residual else y, activation, 0.3)
            y.square().sum().backward()
            results.append([y.detach(), leaf.grad, *(value.grad for value in [*residual, *module.parameters()])])
        for found, expected in zip(*results, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value, rtol=1e-6, atol=1e-9)


def test_mabn_in_evaluation_divides_by_the_running_second_moment_and_keeps_its_state() -> None:
    norm = MABN(3, "identity", averages=SHORT).double()
    stir(norm)
    norm.reset_running_stats()
    for step in range(3):
        norm(inputs(step))
    before = state(norm)
    x = inputs(3)
    expected = gamma(norm.weight, "abs").view(1, 3, 1, 1) * x / (norm.running_var.view(1, 3, 1, 1) + 1e-5).sqrt()
    torch.testing.assert_close(norm.eval()(x.clone()), expected + norm.bias.view(1, 3, 1, 1))
    frozen = copy.deepcopy(norm).train()
    frozen.freeze()
    torch.testing.assert_close(frozen(x.clone()), norm(x.clone()))
    frozen.reset_running_stats()
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())


def block(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    layers = (AdjustedConv2d(3, 4, 3, padding=1, bias=False), MABN(4, averages=SHORT))
    network = nn.Sequential(*layers, AdjustedConv2d(4, 4, 1, bias=False), MABN(4, averages=SHORT)).to(dtype)
    stir(network)
    for norm in (network[1], network[3]):
        norm.reset_running_stats()
    return network


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: range, accumulate: int = 2) -> None:
    """Take steps that accumulate batches of two images."""
    for step in steps:
        optimizer.zero_grad()
        for number in range(accumulate):
            x = random(2, 3, 6, 6, seed=10 * step + number, dtype=torch.float32)
            (network(x).square().mean() / accumulate).backward()
        optimizer.step()


@pytest.mark.parametrize("stop", [1, 3, 4])  # in each phase: an iteration is a batch, and a step has two
def test_mabn_resumed_run_equals_uninterrupted_run_bit_for_bit(stop: int) -> None:
    network = block()
    optimizer = torch.optim.SGD(network.parameters(), 0.05, 0.9)
    train(network, optimizer, range(stop))
    file = io.BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(network, optimizer, range(stop, 7))
    resumed = block()
    again = torch.optim.SGD(resumed.parameters(), 0.05, 0.9)
    file.seek(0)
    saved = torch.load(file)
    resumed.load_state_dict(saved["network"])
    again.load_state_dict(saved["optimizer"])
    train(resumed, again, range(stop, 7))
    assert resumed[1].num_gradients_tracked == 14
    for name, value in network.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_mabn_state_dict_of_another_window_is_refused() -> None:
    with pytest.raises(RuntimeError, match="square_history"):
        MABN(3, averages=SHORT).load_state_dict(MABN(3).state_dict())


def test_mabn_under_accumulation_counts_every_batch_as_an_iteration() -> None:
    network = block()
    train(network, torch.optim.SGD(network.parameters(), 0.1), range(2), accumulate=3)
    assert network[1].num_batches_tracked == network[1].num_gradients_tracked == 6


@pytest.mark.parametrize("training", [True, False])
def test_mabn_without_rows_gives_zero_gradients_and_keeps_its_state(training: bool) -> None:
    network = block()
    network(random(2, 3, 6, 6, dtype=torch.float32)).sum().backward()
    network.zero_grad()
    before = state(network)
    x = torch.zeros(0, 3, 6, 6, requires_grad=True)
    y = network.train(training)(x * 1)
    assert y.shape == (0, 4, 6, 6)
    y.sum().backward()
    assert x.grad is not None
    assert all(value.grad is not None and value.grad.count_nonzero() == 0 for value in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_mabn_of_a_single_sample_has_finite_values_and_gradients() -> None:
    norm = MABN(4, averages=SHORT)
    for step in range(8):
        x = random(1, 4, seed=step, dtype=torch.float32).requires_grad_()
        y = norm(x * 1)
        y.square().sum().backward()
        assert y.isfinite().all()
        assert x.grad.isfinite().all()


def test_mabn_of_bfloat16_activations_follows_float32_with_float32_state() -> None:
    results: list[list[Tensor]] = []
    for dtype in (torch.float32, torch.bfloat16):
        norm = MABN(3, averages=SHORT)
        for step in range(8):
            norm.zero_grad()
            leaf = inputs(step).bfloat16().to(dtype).requires_grad_()
            with torch.autocast("cpu", torch.bfloat16):
                y = norm(leaf * 1)
            assert y.dtype == dtype
            y.backward((random(*y.shape, seed=50 + step) + 0.5).bfloat16().to(dtype))
        results.append([y.detach(), leaf.grad, *norm.state_dict().values(), *(v.grad for v in norm.parameters())])
        assert {value.dtype for value in norm.buffers()} == {torch.float32, torch.int64}
    for found, expected in zip(*results, strict=True):
        error = (found - expected).double().norm() / expected.double().norm().clamp(min=1e-6)
        assert error < 0.02


def test_mabn_update_bn_gives_the_mean_second_moment() -> None:
    norm = MABN(3, "identity", averages=MovingAverages(window=2, plain_iterations=100)).double()
    norm(inputs(0)).sum().backward()
    update_bn([inputs(step) for step in range(1, 5)], nn.Sequential(norm))
    expected = torch.stack([inputs(step).square().mean((0, 2, 3)) for step in range(1, 5)]).mean(0)
    torch.testing.assert_close(norm.running_var, expected)
    assert norm.num_gradients_tracked == 0
    assert norm.gradient_history.count_nonzero() == 0


def test_mabn_overwrites_its_input_and_keeps_one_tensor_for_the_backward_pass() -> None:
    conv, norm = AdjustedConv2d(3, 4, 3, padding=1, bias=False), MABN(4)
    x = conv(random(2, 3, 6, 6, dtype=torch.float32))
    kept = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = norm(x)
    assert y.data_ptr() == x.data_ptr()
    assert [tensor.shape for tensor in kept if tensor.ndim > 2] == [y.shape]


def on_one_rank(rank: int) -> list[Any]:
    """Take steps with accumulation on one rank of DDP; the second step has no rows on rank 1."""
    network = block()
    per_rank = has_per_rank_stats(network)
    together = DistributedDataParallel(network, broadcast_buffers=per_rank)
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    gradients = []
    for step in range(8):
        optimizer.zero_grad()
        rows = 0 if step == 1 and rank == 1 else 2
        together(random(rows, 3, 6, 6, seed=10 * step + rank, dtype=torch.float32)).square().sum().backward()
        gradients.append([value.grad.clone() for value in network.parameters()])
        optimizer.step()
    return [per_rank, gradients, list(network.state_dict().values())]


def test_mabn_on_two_ranks_takes_equal_steps_from_the_state_of_the_first(tmp_path: Path) -> None:
    first, second = on_ranks(__file__, "on_one_rank", tmp_path)
    assert first[0]
    for one, other in zip(first[1], second[1], strict=True):
        assert all(torch.equal(*pair) and pair[0].isfinite().all() for pair in zip(one, other, strict=True))
    # A rank normalizes by its own batch: after the last step, before the next broadcast, the histories differ.
    names = list(block().state_dict())
    differing = {name.partition(".")[2] for name, a, b in zip(names, first[2], second[2], strict=True) if a.ne(b).any()}
    assert differing == {"running_var", "square_history", "gradient_history"}
