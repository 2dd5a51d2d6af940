"""The peers of the in-place norm compute what our network computes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from benchmarks.abn_networks import Checkpointed, Classifier, bottlenecks, chain, checkpointed, plain, resnet50
from seamseg.builders.network import initialize
from seamseg.modules.abn import ABN

IMAGES = (2, 3, 64, 64)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def started(network: nn.Module) -> nn.Module:
    initialize(network, "leaky_relu", 0.01, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, ABN):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
    return network.double()


def gradients(network: nn.Module) -> list[Tensor]:
    return [p.grad for p in network.parameters() if p.ndim == 4]


@pytest.mark.parametrize(
    ("ours", "shape"),
    [(chain(3, 8), (2, 8, 6, 5)), (bottlenecks(2, 16), (2, 16, 6, 5)), (Classifier(resnet50(), 5), IMAGES)],
    ids=["chain", "bottlenecks", "resnet50"],
)
@pytest.mark.parametrize("transform", [plain, checkpointed])
def test_output_and_gradients_are_ours(ours: nn.Module, shape: tuple[int, ...], transform: type) -> None:
    ours = started(copy.deepcopy(ours))
    peer = transform(copy.deepcopy(ours))
    x = random(*shape).double()
    found, expected = peer(x), ours(x)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    assert gradients(ours)
    for one, other in zip(gradients(peer), gradients(ours), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6 * float(other.abs().max()))


@pytest.mark.parametrize("transform", [plain, checkpointed])
def test_no_norm_of_ours_stays(transform: type) -> None:
    ours = resnet50()
    norms = sum(isinstance(module, ABN) for module in ours.modules())
    peer = transform(ours)
    assert not any(isinstance(module, ABN) for module in peer.modules())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in peer.modules()) == norms == 53
    # All but the last of a block and the projection's have their activation right behind them.
    assert sum(isinstance(module, nn.LeakyReLU) for module in peer.modules()) == 1 + 16 * 2


def test_every_block_is_checkpointed() -> None:
    peer = checkpointed(resnet50())
    assert sum(isinstance(module, Checkpointed) for module in peer.modules()) == 16
