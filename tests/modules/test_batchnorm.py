"""Conversion to and from PyTorch's BatchNorm."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from oracles.norm import stir
from support.pairwise import pairwise
from torch import Tensor, nn

from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.modules.batchnorm import FrozenBatchNorm, from_batchnorm, inverse_gamma, to_batchnorm
from seamseg.modules.norm import AffineAct, PlainABN
from seamseg.ops.inplace_abn import Activation, Scale

KINDS: list[type[ABN]] = [ABN, InPlaceABN, InPlaceABNSync]
ACTIVATIONS: list[Activation] = ["leaky_relu", "elu", "identity"]
LAYERS: dict[str, Any] = {"leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "identity": lambda slope: nn.Identity()}

# Momentum, and whether there are a weight and a bias.
OPTIONS = [(0.3, True), (None, True), (0.3, False)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 + 1


def assert_twins(ours: nn.Module, theirs: nn.Module, shape: tuple[int, ...]) -> None:
    """Compare outputs, gradients and state in float64, in two training steps and one of evaluation."""
    for step in range(3):
        if step == 2:
            ours.eval()
            theirs.eval()
        found = [outcome(network, shape, step) for network in (ours, theirs)]
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def outcome(network: nn.Module, shape: tuple[int, ...], seed: int) -> list[Tensor]:
    leaf = random(*shape, seed=seed).requires_grad_()
    z = network(leaf * 1)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [z, *torch.autograd.grad(z, [leaf, *trained], random(*shape, seed=9)), *network.buffers()]


def momentum_norm(
    kind: type[ABN], activation: Activation, scale: Scale = "abs", momentum: float | None = 0.3, affine: bool = True
) -> ABN:
    norm = kind(4, activation, 0.2, eps=1e-3, momentum=momentum, scale=scale, affine=affine).double()
    stir(norm)
    with torch.no_grad():
        norm.num_batches_tracked.fill_(7)
    return norm


@pytest.mark.parametrize(
    ("kind", "activation", "scale", "options"), pairwise(KINDS, ACTIVATIONS, ["abs", "signed"], OPTIONS)
)
def test_to_batchnorm_gives_an_equal_batch_norm_and_activation(
    kind: type[ABN], activation: Activation, scale: Scale, options: tuple[float | None, bool]
) -> None:
    momentum, affine = options
    norm = momentum_norm(kind, activation, scale, momentum, affine)
    if scale == "abs" and affine:  # so that the gradients of the weight and of γ have the same sign
        norm.weight.data.abs_()
    assert_twins(norm, to_batchnorm(norm), (3, 4, 2, 3))


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(nn.BatchNorm1d, (5, 4)), (nn.BatchNorm1d, (3, 4, 5)), (nn.BatchNorm3d, (2, 4, 2, 3, 2))],
    ids=str,
)
def test_to_batchnorm_with_a_class_makes_a_norm_of_that_class(kind: Any, shape: tuple[int, ...]) -> None:
    norm = momentum_norm(InPlaceABN, "leaky_relu")
    norm.weight.data.abs_()
    pair = to_batchnorm(norm, kind)
    assert type(pair[0]) is kind
    assert_twins(norm, pair, shape)


def test_to_batchnorm_shares_no_tensor_with_the_norm() -> None:
    norm = momentum_norm(InPlaceABN, "elu")
    before = copy.deepcopy(norm.state_dict())
    pair = to_batchnorm(norm)
    pair(random(3, 4, 2, 2)).sum().backward()
    with torch.no_grad():
        for value in pair.parameters():
            value.zero_()
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert all(parameter.grad is None for parameter in norm.parameters())


@pytest.mark.parametrize(("kind", "expected"), [(ABN, nn.BatchNorm2d), (InPlaceABNSync, nn.SyncBatchNorm)])
def test_to_batchnorm_of_a_synchronized_norm_keeps_its_process_group(kind: type[ABN], expected: type) -> None:
    group = object()  # in place of a process group
    norm = kind(3)
    norm.group = group  # type: ignore[assignment]
    pair = to_batchnorm(norm)
    assert type(pair.bn) is expected
    if kind is InPlaceABNSync:
        assert pair.bn.process_group is group
        assert from_batchnorm(pair.bn, kind=InPlaceABNSync).group is group


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("thaw", [False, True], ids=["frozen", "frozen statistics"])
def test_conversion_of_a_frozen_norm_stays_frozen(kind: type[ABN], thaw: bool) -> None:
    norm = momentum_norm(kind, "leaky_relu", "signed")
    norm.freeze()
    norm.requires_grad_(thaw)
    pair = to_batchnorm(norm).train()
    assert [parameter.requires_grad for parameter in pair.parameters()] == [thaw, thaw]
    assert_twins(norm, pair, (3, 4, 2))
    assert norm.num_batches_tracked == pair.bn.num_batches_tracked == 7
    back = from_batchnorm(pair.bn, "leaky_relu", 0.2, kind).train()
    assert back.statistics_frozen
    assert [parameter.requires_grad for parameter in back.parameters()] == [thaw, thaw]
    assert_twins(norm, back, (3, 4, 2))


def test_frozen_batch_norm_refuses_input_without_channels() -> None:
    with pytest.raises(ValueError, match=r"batch norm must be N×C×….* \(3,\)"):
        FrozenBatchNorm(3)(torch.zeros(3))


def test_affine_norm_becomes_a_frozen_batch_norm_and_comes_back() -> None:
    norm = AffineAct(4, "elu", 0.2).double()
    stir(norm)
    with torch.no_grad():
        norm.weight[0] = 0  # possible only for an affine norm
    pair = to_batchnorm(norm)
    assert_twins(norm, pair, (3, 4, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = from_batchnorm(pair.bn, "elu", 0.2, AffineAct)
    assert torch.equal(back.weight, norm.weight)
    assert_twins(norm, back, (3, 4, 2))


@pytest.mark.parametrize(("training", "dtype"), [(True, torch.float32), (False, torch.float64)])
def test_conversion_keeps_mode_and_type(training: bool, dtype: torch.dtype) -> None:
    pair = to_batchnorm(InPlaceABN(3).to(dtype).train(training))
    back: Any = from_batchnorm(pair.bn)
    module: Any
    for module in (*pair.modules(), back):
        assert module.training == training
    for module in (pair.bn, back):
        assert {value.dtype for value in module.state_dict().values()} == {dtype, torch.int64}


@pytest.mark.parametrize(("kind", "activation", "options"), pairwise(KINDS, ACTIVATIONS, OPTIONS))
def test_from_batchnorm_gives_an_equal_norm(
    kind: type[ABN], activation: Activation, options: tuple[float | None, bool]
) -> None:
    momentum, affine = options
    batchnorm = nn.BatchNorm2d(4, eps=1e-3, momentum=momentum, affine=affine, dtype=torch.float64)
    stir(batchnorm)
    norm = from_batchnorm(batchnorm, activation, 0.2, kind)
    assert type(norm) is kind
    assert_twins(norm, nn.Sequential(batchnorm, LAYERS[activation](0.2)), (3, 4, 2, 3))


STORED = [0.5, -0.5, 0.0, -0.0, 3e-6, -3e-6, 1e-5, -1e-5, 2e-5, -2e-5]


def test_from_batchnorm_raises_weights_near_zero_and_warns_of_their_number() -> None:
    batchnorm = nn.BatchNorm2d(10, dtype=torch.float64)
    with torch.no_grad():
        batchnorm.weight.copy_(torch.tensor(STORED, dtype=torch.float64))
    with pytest.warns(UserWarning, match=r"^4 of the 10 weights of a batch norm .* 1e-05") as caught:
        gamma = from_batchnorm(batchnorm, kind=InPlaceABN).gamma()
    assert [warning.filename for warning in caught] == [__file__]
    assert gamma.tolist() == pytest.approx(
        [0.5, -0.5, 1e-5, 1e-5, 1e-5, -1e-5, 1e-5, -1e-5, 2e-5, -2e-5], rel=1e-12, abs=0
    )


def test_from_batchnorm_of_larger_weights_does_not_warn() -> None:
    batchnorm = nn.BatchNorm2d(4)
    with torch.no_grad():
        batchnorm.weight.copy_(torch.tensor([1e-5, -1e-5, 2.0, -3.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        norm: ABN = from_batchnorm(batchnorm)
    gamma = norm.gamma()
    torch.testing.assert_close(gamma, batchnorm.weight.detach(), rtol=2e-7, atol=0, check_device=False)


def test_to_batchnorm_and_back_gives_the_same_norm() -> None:
    for kind, scale, affine in pairwise(KINDS, ["abs", "signed"], [True, False]):
        norm = momentum_norm(kind, "elu", scale, affine=affine)  # type: ignore[arg-type]
        back = from_batchnorm(to_batchnorm(norm).bn, "elu", 0.2, kind)
        assert (back.eps, back.momentum, back.scale) == (norm.eps, norm.momentum, "signed")
        torch.testing.assert_close(back.gamma(), norm.gamma(), rtol=1e-14, atol=0)
        for name, value in norm.named_buffers():
            assert torch.equal(back.get_buffer(name), value), name


def test_from_batchnorm_without_running_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match=r"track_running_stats=False .* evaluation.* keep it"):
        from_batchnorm(nn.BatchNorm2d(3, track_running_stats=False))


def test_from_batchnorm_without_epsilon_is_refused() -> None:
    with pytest.raises(ValueError, match=r"eps of a batch norm must be greater than 0 .* not 0"):
        from_batchnorm(nn.BatchNorm2d(3, eps=0.0))


def test_from_batchnorm_with_relu_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot use relu"):
        from_batchnorm(nn.BatchNorm2d(3), "relu")  # type: ignore[arg-type]


def test_inverse_gamma_gives_the_nearest_possible_weight() -> None:
    gamma = torch.tensor([0.5, -0.5, 0.0, -3e-6])
    for scale, expected in (("abs", [0.49999, 0, 0, 0]), ("signed", [0.49999, -0.49999, 0, 0])):
        norm = ABN(4, scale=scale)  # type: ignore[arg-type]
        assert inverse_gamma(norm, gamma).tolist() == pytest.approx(expected, rel=1e-6, abs=1e-30)


def test_to_batchnorm_of_a_plain_norm_with_relu_computes_the_same() -> None:
    norm = PlainABN(4, "relu")
    stir(norm)
    pair = to_batchnorm(norm)
    assert isinstance(pair.activation, nn.ReLU)
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pair(x.clone()), norm(x.clone()))
    back = from_batchnorm(pair.bn, "relu", kind=PlainABN)
    torch.testing.assert_close(back.state_dict(), norm.state_dict())
