"""PyTorch's own tools applied to the norms, as they are applied to BatchNorm."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import onnxruntime
import pytest
import torch
from oracles.norm import stir
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.modules.batchnorm import FrozenBatchNorm, from_batchnorm, to_batchnorm
from seamseg.modules.norm import AffineAct

KINDS: list[type[ABN]] = [ABN, InPlaceABN, InPlaceABNSync, AffineAct]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small_network(kind: type[ABN] = InPlaceABN) -> nn.Sequential:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), kind(4), nn.Conv2d(4, 4, 3), kind(4))
    stir(network)
    return network


# ---- state dicts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_metadata", [True, False])
def test_load_state_dict_without_a_count_of_batches_keeps_the_count(with_metadata: bool) -> None:
    network = nn.Sequential(InPlaceABN(4))
    network[0].num_batches_tracked.fill_(7)
    state = nn.Sequential(InPlaceABN(4)).state_dict()
    del state["0.num_batches_tracked"]
    stored = state if with_metadata else dict(state)
    network.load_state_dict(stored, strict=True)
    assert network[0].num_batches_tracked == 7
    del state["0.running_var"]
    with pytest.raises(RuntimeError, match=r"0\.running_var"):
        network.load_state_dict(state)


@pytest.mark.parametrize(
    "norm",
    [ABN(4), InPlaceABN(4), InPlaceABN(4, affine=False), InPlaceABNSync(4), AffineAct(4)],
    ids=["ABN", "InPlaceABN", "without affine", "InPlaceABNSync", "AffineAct"],
)
def test_state_dict_of_a_batch_norm_loads_and_comes_back(norm: ABN) -> None:
    batchnorm = nn.BatchNorm2d(4, affine=norm.weight is not None)
    stir(batchnorm)
    norm.load_state_dict(batchnorm.state_dict())
    back = nn.BatchNorm2d(4, affine=norm.weight is not None)
    back.load_state_dict(norm.state_dict())
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in batchnorm.state_dict().items())
    assert list(norm.state_dict()) == list(batchnorm.state_dict())


# ---- running statistics ----------------------------------------------------------------------------------------------


def test_update_bn_gives_the_statistics_of_a_batch_norm() -> None:
    network: Any = small_network()
    twin = nn.Sequential(network[0], to_batchnorm(network[1]), network[2], to_batchnorm(network[3]))
    for one in (network, twin):
        update_bn([random(2, 3, 9, 9, seed=step) for step in range(3)], one)
    for norm, pair in ((network[1], twin[1]), (network[3], twin[3])):
        assert norm.num_batches_tracked == 3
        assert norm.momentum == 0.1
        torch.testing.assert_close(list(norm.buffers()), list(pair.buffers()), rtol=1e-4, atol=1e-5)


def frozen_norm() -> ABN:
    norm = InPlaceABN(4)
    norm.freeze()
    return norm


@pytest.mark.parametrize("make", [frozen_norm, lambda: AffineAct(4), lambda: FrozenBatchNorm(4)])
def test_update_bn_keeps_frozen_statistics(make: Callable[[], nn.Module]) -> None:
    norm = make()
    stir(norm)
    before = copy.deepcopy(norm.state_dict())
    update_bn([random(2, 4, 9, 9)], nn.Sequential(norm))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


# ---- conversion ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_convert_sync_batchnorm_is_refused_with_the_name_of_the_layer(kind: type[ABN]) -> None:
    norm = kind(4)
    norm.layer_name = "body.bn1"
    assert norm.num_features == norm.num_channels == 4
    network = nn.Sequential(nn.BatchNorm2d(4), norm)
    with pytest.raises(ValueError, match=r"the norm body\.bn1 cannot be converted .*to_batchnorm"):
        nn.SyncBatchNorm.convert_sync_batchnorm(network)


def test_from_batchnorm_of_a_norm_with_an_activation_is_refused() -> None:
    norm: _BatchNorm = InPlaceABN(4)
    with pytest.raises(ValueError, match=r"InPlaceABN.* call to_batchnorm first"):
        from_batchnorm(norm)


# ---- graphs and transforms -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("with_gradients", [True, False])
def test_traced_network_equals_the_network(with_gradients: bool) -> None:
    network = small_network().eval()
    with torch.set_grad_enabled(with_gradients):
        traced: Any = torch.jit.trace(network, random(2, 3, 9, 9))
    for shape in ((2, 3, 9, 9), (3, 3, 7, 11)):
        torch.testing.assert_close(traced(random(*shape)), network(random(*shape)))


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_onnx_file_of_a_network_equals_the_network(dynamo: bool) -> None:
    network, x, file = small_network().eval(), random(2, 3, 9, 9), io.BytesIO()
    torch.onnx.export(network, (x,), file, dynamo=dynamo)
    session = onnxruntime.InferenceSession(file.getvalue())
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), network(x), rtol=1e-4, atol=1e-5)


def test_torch_func_transforms_equal_autograd() -> None:
    network = small_network().eval()
    x = random(2, 3, 9, 9)
    parameters = dict(network.named_parameters())

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        result: Tensor = torch.func.functional_call(network, parameters, (x,)).sin().sum()
        return result

    gradients = torch.func.grad(loss)(parameters)
    expected = torch.autograd.grad(network(x).sin().sum(), list(parameters.values()))
    torch.testing.assert_close(list(gradients.values()), list(expected))
    torch.testing.assert_close(torch.func.vmap(network)(random(3, 2, 3, 9, 9))[0], network(random(3, 2, 3, 9, 9)[0]))
    _, tangent = torch.func.jvp(network, (x,), (random(2, 3, 9, 9, seed=1),))
    assert tangent.shape == (2, 4, 5, 5)


def test_functional_call_updates_the_statistics_passed_to_it() -> None:
    network: Any = small_network()
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    torch.func.functional_call(network, (dict(network.named_parameters()), buffers), (random(2, 3, 9, 9),))
    assert buffers["1.num_batches_tracked"] == network[1].num_batches_tracked + 1


# ---- copies and inputs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [InPlaceABN, InPlaceABNSync])
def test_copied_and_pickled_norms_compute_the_same(kind: type[ABN]) -> None:
    norm = kind(4).eval()
    stir(norm)
    file = io.BytesIO()
    torch.save(norm, file)
    file.seek(0)
    for one in (copy.deepcopy(norm), pickle.loads(pickle.dumps(norm)), torch.load(file, weights_only=False)):
        assert type(one) is kind
        assert torch.equal(one(random(2, 4, 3)), norm(random(2, 4, 3)))


@pytest.mark.parametrize(("kind", "dtype"), [(ABN, torch.float16), (InPlaceABN, torch.bfloat16)])
def test_network_of_half_precision_trains(kind: type[ABN], dtype: torch.dtype) -> None:
    network = small_network(kind).to(dtype)
    network(random(2, 3, 9, 9).to(dtype)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("layout", [torch.channels_last, torch.channels_last_3d])
def test_out_of_place_norm_keeps_channels_last(layout: torch.memory_format) -> None:
    x = random(2, 4, *[3] * (2 if layout is torch.channels_last else 3)).contiguous(memory_format=layout)
    assert ABN(4)(x).is_contiguous(memory_format=layout)
