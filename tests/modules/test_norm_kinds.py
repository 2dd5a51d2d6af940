"""Affine and group norms, the norm factory, and the context that uses running statistics."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from oracles.norm import activate, stir
from torch import Tensor, nn
from torch.nn import functional

from seamseg.errors import SeamsegError
from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.modules.batch_renorm import BatchRenorm
from seamseg.modules.mabn import MABN
from seamseg.modules.norm import (
    AffineAct,
    GroupNormAct,
    NormFactory,
    NormName,
    PlainABN,
    running_statistics,
    uses_batch_statistics,
)
from seamseg.ops.inplace_abn import Activation

activations = pytest.mark.parametrize("activation", ["leaky_relu", "elu", "identity"])


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@activations
def test_affine_norm_scales_by_its_plain_weight_and_running_statistics(activation: Activation) -> None:
    norm = AffineAct(3, activation, 0.2)
    stir(norm)
    with torch.no_grad():
        norm.weight[1] = 0  # nothing is inverted
    before = [buffer.clone() for buffer in norm.buffers()]
    x = random(1, 3, 1, 4)
    leaf = x.clone().requires_grad_()
    z = norm.train()(leaf)
    shape = (1, 3, 1, 1)
    normalized = (x - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + 1e-5).sqrt()
    torch.testing.assert_close(
        z, activate(norm.weight.view(shape) * normalized + norm.bias.view(shape), activation, 0.2)
    )
    z.sum().backward()
    assert all(torch.equal(*pair) for pair in zip(before, norm.buffers(), strict=True))
    for parameter in norm.parameters():
        assert parameter.grad is not None
        assert parameter.grad.count_nonzero() == 3
    assert norm(torch.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("activation", "shape"), [("leaky_relu", (3, 6)), ("elu", (2, 6, 5)), ("identity", (2, 6, 3, 4))]
)
def test_group_norm_normalizes_groups_of_neighboring_channels(activation: Activation, shape: tuple[int, ...]) -> None:
    norm = GroupNormAct(6, 2, activation, 0.2)
    stir(norm)
    x = random(*shape)
    z = norm(x.clone())
    for image in range(shape[0]):
        for group in range(2):
            channels = slice(3 * group, 3 * group + 3)
            part = x[image, channels]
            normalized = (part - part.mean()) / (part.var(correction=0) + 1e-5).sqrt()
            y = normalized.reshape(3, -1) * norm.weight[channels, None] + norm.bias[channels, None]
            torch.testing.assert_close(z[image, channels].reshape(3, -1), activate(y, activation, 0.2))


@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 3, 3)], ids=str)
def test_group_norm_of_an_empty_batch_gives_zero_gradients(shape: tuple[int, ...]) -> None:
    norm = GroupNormAct(4, 2)
    z = norm(torch.zeros(shape, requires_grad=True) * 1)
    assert z.shape == shape
    z.sum().backward()
    assert [p.grad.tolist() for p in norm.parameters() if p.grad is not None] == [[0] * 4] * 2


def test_group_norm_with_groups_that_do_not_divide_the_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"20 channels .* 16 groups; set norm\.groups"):
        GroupNormAct(20, 16)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bn", InPlaceABN),
        ("syncbn", InPlaceABNSync),
        ("plain", PlainABN),
        ("gn", GroupNormAct),
        ("affine", AffineAct),
        ("brn", BatchRenorm),
        ("mabn", MABN),
    ],
)
def test_norm_factory_makes_the_named_norm_with_its_settings(name: NormName, kind: type[nn.Module]) -> None:
    made = NormFactory(name, "elu", 0.5, "signed", 4, None)
    norm, plain = made.make(8), made.make(8, activate=False)
    assert type(norm) is type(plain) is kind
    assert (norm.activation, norm.slope, plain.activation) == ("elu", 0.5, "identity")
    if isinstance(norm, InPlaceABN):
        assert (norm.scale, norm.momentum) == ("signed", 0.02 if kind is MABN else None)
    if isinstance(norm, GroupNormAct):
        assert norm.num_groups == 4
        assert set(norm.state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize("momentum", [0.3, None])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "identity"])
def test_plain_norm_equals_batch_norm_and_activation(activation: Activation, momentum: float | None) -> None:
    norm, peer = PlainABN(3, activation, 0.2, momentum), nn.BatchNorm2d(3, momentum=momentum)
    stir(norm)
    peer.load_state_dict(norm.state_dict())
    act: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": functional.relu,
        "leaky_relu": lambda y: functional.leaky_relu(y, 0.2),
        "elu": lambda y: functional.elu(y, 0.2),
        "identity": lambda y: y,
    }
    for training in (True, True, False):
        x, residual = random(4, 3, 5, 5), random(4, 3, 5, 5) / 2
        inputs = [value.clone().requires_grad_() for value in (x, residual, x, residual)]
        z = norm.train(training)(inputs[0] * 1, inputs[1])
        expected = act[activation](peer.train(training)(inputs[2]) + inputs[3])
        torch.testing.assert_close(z, expected)
        z.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(inputs[0].grad, inputs[2].grad)
        torch.testing.assert_close(inputs[1].grad, inputs[3].grad)
        torch.testing.assert_close(norm.weight.grad, peer.weight.grad)
        torch.testing.assert_close(dict(norm.named_buffers()), dict(peer.named_buffers()))


def test_plain_norm_of_an_empty_batch_keeps_its_statistics() -> None:
    norm = PlainABN(3, "relu")
    before = copy.deepcopy(norm.state_dict())
    z = norm(torch.zeros(0, 3, 2, 2, requires_grad=True) * 1)
    assert z.shape == (0, 3, 2, 2)
    z.sum().backward()
    torch.testing.assert_close(norm.state_dict(), before)


def test_plain_norm_of_one_sample_per_channel_is_refused_in_training() -> None:
    with pytest.raises(SeamsegError, match="one sample per channel"):
        PlainABN(3)(torch.zeros(1, 3, 1, 1))


def test_norm_factory_allows_relu_unless_the_norm_works_in_place() -> None:
    for name in ("plain", "gn", "affine"):
        norm = NormFactory(name, "relu", groups=1).make(3)
        assert norm(random(2, 3, 4, 4)).min() == 0
    for name in ("bn", "syncbn"):
        with pytest.raises(ValueError, match="relu"):
            NormFactory(name, "relu").make(3)


def test_running_statistics_context_uses_and_keeps_running_statistics() -> None:
    network = nn.Sequential(InPlaceABN(3), nn.Sequential(ABN(3), AffineAct(3)), InPlaceABN(3), GroupNormAct(3, 1))
    network[2].freeze()
    for norm in network.modules():
        stir(norm)
    x = random(1, 3)
    before = copy.deepcopy(network.state_dict())
    assert uses_batch_statistics(network)
    with torch.no_grad(), running_statistics(network):
        assert not uses_batch_statistics(network)
        inside = network(x.clone())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert uses_batch_statistics(network)
    frozen = [norm.statistics_frozen for norm in network.modules() if isinstance(norm, ABN)]
    assert frozen == [False, False, True, True]
    with torch.no_grad():
        torch.testing.assert_close(inside, network.eval()(x.clone()))


def test_running_statistics_context_ends_after_an_error() -> None:
    norm = InPlaceABN(3)
    with pytest.raises(RuntimeError, match="inside"), running_statistics(norm):
        raise RuntimeError("inside")
    assert not norm.statistics_frozen


def test_uses_batch_statistics_is_false_for_frozen_and_affine_norms_and_in_eval() -> None:
    norm = InPlaceABN(3)
    assert uses_batch_statistics(nn.Sequential(norm))
    assert not uses_batch_statistics(norm.eval())
    assert not uses_batch_statistics(nn.Sequential(AffineAct(3), GroupNormAct(4, 2)))
    norm.train()
    norm.freeze()
    assert not uses_batch_statistics(norm)
