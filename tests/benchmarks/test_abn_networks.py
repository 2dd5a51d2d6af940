"""Peers of the in-place norm compute the same as our network."""

from __future__ import annotations

import copy
from collections.abc import Callable

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
    ("ours", "shape", "transform"),
    [
        (chain(3, 8), (2, 8, 6, 5), plain),
        (bottlenecks(2, 16), (2, 16, 6, 5), plain),
        (bottlenecks(2, 16), (2, 16, 6, 5), checkpointed),
        (Classifier(resnet50(), 5), IMAGES, plain),
    ],
    ids=["chain", "bottlenecks", "checkpointed bottlenecks", "resnet50"],
)
def test_peer_has_the_output_and_gradients_of_our_network(
    ours: nn.Module, shape: tuple[int, ...], transform: Callable[[nn.Module], nn.Module]
) -> None:
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


def test_checkpointed_peer_has_only_batch_norms_and_checkpointed_blocks() -> None:
    ours = resnet50()
    norms = sum(isinstance(module, ABN) for module in ours.modules())
    peer = checkpointed(ours)
    assert not any(isinstance(module, ABN) for module in peer.modules())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in peer.modules()) == norms == 53
    # All but the last norm of a block and the projection's are followed by their activation.
    assert sum(isinstance(module, nn.LeakyReLU) for module in peer.modules()) == 1 + 16 * 2
    assert sum(isinstance(module, Checkpointed) for module in peer.modules()) == 16
