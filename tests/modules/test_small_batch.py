"""What MABN and batch renormalization have in common: refusals, torch.compile, folding and conversion."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from oracles.norm import stir
from support.tiny_network import scenes, tiny_network
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seamseg.errors import SeamsegError
from seamseg.modules.abn import ABN
from seamseg.modules.adjusted_filters import AdjustedConv2d
from seamseg.modules.batch_renorm import BatchRenorm, RenormLimits
from seamseg.modules.batchnorm import from_batchnorm, to_batchnorm
from seamseg.modules.folding import fold_norms
from seamseg.modules.mabn import MABN, MovingAverages
from seamseg.modules.norm import NormFactory, NormName

FACTORIES = {
    "mabn": NormFactory("mabn", mabn=MovingAverages(4, 0.1, 2, 3)),
    "brn": NormFactory("brn", brn=RenormLimits(3, 5, 1, 3)),
}
names = pytest.mark.parametrize("name", FACTORIES)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def chain(name: str) -> nn.Sequential:
    norm = FACTORIES[name]
    network = nn.Sequential(norm.conv(3, 4, 3), norm.make(4), norm.conv(4, 4, 3), norm.make(4))
    stir(network)
    for layer in (network[1], network[3]):
        layer.reset_running_stats()
    return network


@names
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_recomputation_in_a_checkpoint_is_refused_by_the_name_of_the_layer(name: str, use_reentrant: bool) -> None:
    network = chain(name)
    for module in network.modules():
        if isinstance(module, ABN):
            module.layer_name = "mod1.bn1"
    x = random(2, 3, 6, 6).requires_grad_()
    y: Any = checkpoint(network, x, use_reentrant=use_reentrant)
    with pytest.raises(SeamsegError, match=r"mod1\.bn1 cannot be recomputed .* norm\.name=bn"):
        y.sum().backward()


@names
def test_checkpoint_in_evaluation_gives_the_gradients_without_it(name: str) -> None:
    network = chain(name).eval()
    gradients = []
    for call in (network, lambda x: checkpoint(network, x, use_reentrant=False)):
        x = random(2, 3, 6, 6).requires_grad_()
        call(x).sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


@names
def test_torch_func_in_training_is_refused_and_in_evaluation_equals_autograd(name: str) -> None:
    network = chain(name)

    def loss(x: Tensor) -> Tensor:
        return network(x).square().sum()

    with pytest.raises(ValueError, match=r"statistics of earlier batches .* call eval\(\)"):
        torch.func.grad(loss)(random(2, 3, 6, 6))
    network.eval()
    x = random(2, 3, 6, 6).requires_grad_()
    (expected,) = torch.autograd.grad(loss(x), x)
    torch.testing.assert_close(torch.func.grad(loss)(x.detach()), expected, rtol=1e-4, atol=1e-4)


@names
def test_input_that_does_not_fit_is_refused_before_the_state_changes(name: str) -> None:
    norm = FACTORIES[name].make(4)
    before = copy.deepcopy(norm.state_dict())
    for arguments in ([torch.zeros(2, 3, 5, 5)], [torch.zeros(2, 4, 5, 5), torch.zeros(2, 4, 5, 1)]):
        with pytest.raises(ValueError, match="norm"):
            norm(*arguments)
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())


@names
def test_compiled_training_equals_eager_training(name: str) -> None:
    torch._dynamo.reset()
    network = chain(name)
    expected = copy.deepcopy(network)
    compiled: Any = torch.compile(network, backend="aot_eager")
    for step in range(6):
        x = random(2, 3, 6, 6, seed=step)
        for one in (compiled, expected):
            one.zero_grad()
            one(x.clone()).square().mean().backward()
        for parameter, wanted in zip(network.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, wanted.grad, rtol=1e-4, atol=1e-6)
        for buffer, eager in zip(network.buffers(), expected.buffers(), strict=True):
            torch.testing.assert_close(buffer, eager, rtol=1e-5, atol=1e-6)
    torch._dynamo.reset()


@names
def test_fold_norms_gives_ordinary_layers_with_equal_outputs(name: str) -> None:
    network = chain(name).double()
    for step in range(5):
        network(random(2, 3, 6, 6, seed=step).double()).sum().backward()
    network.append(FACTORIES[name].conv(4, 2, 1).double())  # no norm behind it
    network.eval()
    folded: Any = fold_norms(network)
    assert [type(layer) for layer in folded if hasattr(layer, "weight")] == [nn.Conv2d] * 3
    assert not any(isinstance(module, ABN) for module in folded.modules())
    x = random(2, 3, 6, 6).double()
    with torch.no_grad():
        torch.testing.assert_close(folded(x.clone()), network(x.clone()), rtol=1e-10, atol=1e-10)
    assert isinstance(network[0], AdjustedConv2d) == (name == "mabn")


@names
def test_folded_network_has_the_layers_of_a_folded_batch_norm(name: str) -> None:
    """The cost of inference is that of a BatchNorm: the same operators on tensors of the same shapes."""

    def layers(norm: NormName) -> list[tuple[str, str]]:
        return [(key, str(module)) for key, module in fold_norms(tiny_network(norm)).body.named_modules()]  # type: ignore[union-attr]

    assert layers(name) == layers("bn")  # type: ignore[arg-type]


@names
def test_conversion_to_batch_norm_is_refused_in_training_and_exact_if_frozen(name: str) -> None:
    network = chain(name)
    network(random(2, 3, 6, 6)).sum().backward()
    norm = network[1]
    with pytest.raises(ValueError, match=r"earlier batches.* call freeze\(\)"):
        to_batchnorm(norm)
    norm.freeze()
    x = random(2, 4, 5, 5)
    torch.testing.assert_close(to_batchnorm(norm)(x.clone()), norm(x.clone()))


def test_conversion_from_batch_norm_is_possible_to_batch_renorm_only() -> None:
    batchnorm = nn.BatchNorm2d(4)
    stir(batchnorm)
    norm = from_batchnorm(batchnorm.eval(), "identity", kind=BatchRenorm)
    x = random(2, 4, 5, 5)
    torch.testing.assert_close(norm(x.clone()), batchnorm(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="MABN"):
        from_batchnorm(batchnorm, kind=MABN)


@names
def test_panoptic_network_without_objects_trains_and_updates_the_other_norms(name: str) -> None:
    network = tiny_network(FACTORIES[name])
    images, truth = scenes(["no objects", "no objects"], [(64, 96), (48, 80)])
    before = copy.deepcopy(network.state_dict())
    losses = network(images, truth, torch.Generator().manual_seed(0))
    losses.total({key: 1.0 for key, _ in losses.items()}).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in network.parameters())
    after = network.state_dict()
    changed = {key.partition(".")[0] for key, value in after.items() if not torch.equal(value, before[key])}
    assert changed == {"body", "rpn_head", "sem_head"}
