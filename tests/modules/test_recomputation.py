"""Checkpointed parts of bodies: values, gradients and statistics of the plain form, and the bytes that they keep."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from oracles.norm import stir
from support.ranks import on_ranks
from torch import Tensor, nn
from torch.utils import checkpoint as torch_checkpoint
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.memory import saved_bytes
from seamseg.modules import resnet
from seamseg.modules.abn import ABN, InPlaceABN
from seamseg.modules.batch_renorm import RenormLimits
from seamseg.modules.batchnorm import to_batchnorm
from seamseg.modules.body import Body
from seamseg.modules.densenet import DenseGroup, DenseNet
from seamseg.modules.mabn import MovingAverages
from seamseg.modules.norm import NormFactory
from seamseg.modules.pre_activation import BlockGroup, PreActivationBlock, PreActivationBody, Stem
from seamseg.modules.recomputation import checkpoint
from seamseg.modules.torchvision_body import TorchvisionBody

NORMS = {
    "bn": NormFactory("bn", momentum=None),
    "elu": NormFactory("bn", "elu"),
    "syncbn": NormFactory("syncbn"),
    "plain": NormFactory("plain", "relu"),
    "gn": NormFactory("gn", groups=2),
    "mabn": NormFactory("mabn", mabn=MovingAverages(3, 0.1, 1, 2)),
    "brn": NormFactory("brn", brn=RenormLimits(3, 5, 1, 2)),
}


def stem(stride: int, norm: NormFactory) -> Stem:
    return Stem(OrderedDict(conv1=norm.conv(3, 8, 3, stride), bn1=norm.make(8), conv2=norm.conv(8, 8, 3)), 8, stride)


def small_resnet(norm: NormFactory) -> Body:
    with mock.patch.object(resnet, "STEM_CHANNELS", 4):
        return resnet.ResNet("resnet18", norm)


def bottlenecks(norm: NormFactory) -> Body:
    groups = [BlockGroup(2, (4, 4, 12 + 4 * level), stride=2 if level else 1, groups=2) for level in range(2)]
    return PreActivationBody(stem(4, norm), groups, norm)


def pooled(norm: NormFactory) -> Body:
    groups = [BlockGroup(2, (8, 12), pool=True), BlockGroup(2, (8, 16), stride=2, dropout=0.5)]
    return PreActivationBody(stem(2, norm), groups, norm)


def dense(norm: NormFactory) -> Body:
    return DenseNet(stem(4, norm), growth=4, num_layers=(4, 3), norm=norm)


def wide(norm: NormFactory) -> Body:
    first = Stem(OrderedDict(conv1=norm.conv(3, 16, 3, 4)), 16, 4)
    return PreActivationBody(first, [BlockGroup(2, (16, 32)), BlockGroup(2, (32, 64), stride=2)], norm)


BODIES = {"resnet": small_resnet, "bottlenecks": bottlenecks, "pooled": pooled, "dense": dense}


def pair(build: Callable[[NormFactory], Body], norm: NormFactory) -> tuple[Body, Body]:
    """Return a plain body and an equal one that recomputes."""
    torch.manual_seed(0)
    plain = build(norm).double()
    stir(plain)
    for module in plain.modules():
        if isinstance(module, ABN):
            module.reset_running_stats()  # arbitrary values of MABN's history are no second moments
    recomputed = copy.deepcopy(plain)
    recomputed.recompute = "all"
    return plain, recomputed


def images(seed: int = 0) -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def train(body: Body, num_steps: int = 4, accumulate: int = 2) -> list[Tensor]:
    """Return levels and gradients of some batches, some of which share a backward pass, and the state afterwards."""
    torch.manual_seed(1)
    results: list[Tensor] = []
    for step in range(num_steps):
        body.zero_grad()
        # All forward passes come first, so that statistics change between a forward pass and its recomputation.
        batches = [body(images(10 * step + batch)) for batch in range(accumulate)]
        torch.stack([(level * level.detach().cos()).sum() for levels in batches for level in levels]).sum().backward()
        results += [level.detach() for levels in batches for level in levels]
        results += [parameter.grad for parameter in body.parameters() if parameter.grad is not None]
    return [*results, *body.buffers()]


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("build", BODIES.values(), ids=BODIES)
@pytest.mark.filterwarnings("ignore:synchronized norms without a process group")
def test_training_equals_the_plain_form_bit_for_bit(build: Callable[[NormFactory], Body], norm: str) -> None:
    plain, recomputed = pair(build, NORMS[norm])
    assert_equal(train(recomputed, 3), train(plain, 3))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.filterwarnings("ignore:synchronized norms without a process group")
def test_training_that_recomputes_the_largest_maps_equals_the_plain_form_bit_for_bit(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resnet, "_LARGE", 2 * 16 * 16)  # the maps of the stem and the first group
    plain, recomputed = pair(small_resnet, NORMS[norm])
    recomputed.recompute = "largest"
    assert_equal(train(recomputed, 3), train(plain, 3))


def test_only_the_stem_and_blocks_on_large_maps_are_recomputed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resnet, "_LARGE", 2 * 16 * 16)
    body = pair(small_resnet, NORMS["bn"])[1]
    body.recompute = "largest"
    calls: list[str] = []
    for name, module in body.named_modules():
        if name == "mod1" or isinstance(module, resnet.ResidualBlock):
            module.register_forward_pre_hook(lambda module, inputs, name=name: calls.append(name))
    levels = body(images())
    in_forward = len(calls)
    torch.stack([level.sum() for level in levels]).sum().backward()
    assert {name.partition(".")[0] for name in calls[in_forward:]} == {"mod1", "mod2"}
    assert len(calls) == in_forward + sum(name.startswith(("mod1", "mod2")) for name in calls[:in_forward])
    calls.clear()
    torch.stack([level.sum() for level in body(images()[:1])]).sum().backward()
    assert len(calls) == in_forward, "one image has fewer positions"


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("norm", ["bn", "plain"])
def test_training_in_channels_last_with_autocast_equals_the_plain_form(
    norm: str, precision: torch.dtype | None
) -> None:
    results = []
    for body in pair(wide, NORMS[norm]):
        body.float().to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision is not None):
            levels = body(images().float())
        torch.stack([level.float().square().sum() for level in levels]).sum().backward()
        results.append([*levels, *(parameter.grad for parameter in body.parameters()), *body.buffers()])
    assert_equal(*results)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "regnet_y_400mf"])
@pytest.mark.slow
def test_torchvision_body_equals_the_plain_form_bit_for_bit(name: str) -> None:
    plain, recomputed = pair(lambda _: TorchvisionBody(name), NORMS["bn"])
    recomputed(images())  # an earlier call must not tie a copy to the original
    plain(images())
    assert_equal(train(copy.deepcopy(recomputed), 1), train(plain, 1))


def test_torchvision_segments_keep_one_map_per_residual_block() -> None:
    body = TorchvisionBody("resnet18")
    body.recompute = "all"
    x = torch.randn(1, 3, 64, 64)
    body(x)
    kept = [64 * 16 * 16] * 3 + [128 * 8 * 8] * 2 + [256 * 4 * 4] * 2 + [512 * 2 * 2]
    assert len(body._segments) == 1 + 8
    assert saved_bytes(body, x) == 4 * sum(kept)


def test_kept_bytes_of_residual_bodies_are_one_map_per_block() -> None:
    x = torch.randn(2, 3, 64, 64)
    body = small_resnet(NORMS["bn"])
    body.recompute = "all"
    inputs = [4 * 16 * 16] * 3 + [8 * 8 * 8] * 2 + [16 * 4 * 4] * 2 + [32 * 2 * 2]
    assert saved_bytes(body, x) == 4 * 2 * sum(inputs)
    body = bottlenecks(NORMS["bn"])
    body.recompute = "all"
    norms = [8 * 16 * 16, 12 * 16 * 16, 16 * 8 * 8]  # outputs of the norms outside of checkpoints
    inputs = [12 * 16 * 16, 16 * 8 * 8]  # of the blocks without a projection
    statistics = 2 * (8 + 12 + 16)  # mean and variance of the norms outside
    assert saved_bytes(body, x) == 4 * (2 * sum(norms + inputs) + statistics)


def test_kept_bytes_of_dense_group_are_linear_in_its_depth() -> None:
    norm, growth, x = NormFactory("bn"), 4, torch.randn(2, 8, 6, 6)

    def kept(num_layers: int) -> int:
        group = DenseGroup(8, growth, num_layers, norm)
        return saved_bytes(Recomputed(group), x)

    per_layer = 4 * (2 * 6 * 6 * (growth + 4 * growth) + 2 * 4 * growth)  # map, second norm, and its moments
    assert kept(8) - kept(4) == 4 * per_layer
    assert kept(16) - kept(8) == 8 * per_layer


class Recomputed(nn.Module):
    """A dense group in its recomputed form."""

    def __init__(self, group: DenseGroup) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.group(x, recompute=True)
        return output


def test_kept_bytes_of_densenet_are_at_most_the_published_share_of_batchnorm() -> None:
    """DenseNet-BC-100 (Pleiss et al., 2017): 1.605 GB of 2.863 GB, 0.56."""
    norm = NormFactory("bn")
    body = DenseNet(Stem(OrderedDict(conv1=norm.conv(3, 24, 3)), 24, 1), 12, (16, 16, 16), norm)
    reference = copy.deepcopy(body)
    for parent in list(reference.modules()):
        for name, child in parent.named_children():
            if isinstance(child, ABN):
                setattr(parent, name, to_batchnorm(child))
    body.recompute = "all"
    x = torch.randn(1, 3, 32, 32)
    assert saved_bytes(body, x) <= 0.56 * saved_bytes(reference, x)


def test_identity_block_leaves_its_input_as_it_is() -> None:
    x = images()[:, :, ::8, ::8].repeat(1, 3, 1, 1)[:, :8]
    before = x.clone()
    PreActivationBlock(8, (8, 8), NORMS["bn"]).double()(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("kind", ["bn", "plain", "reference"])
def test_running_statistics_are_updated_once_in_checkpoints_of_torch(kind: str, reentrant: bool) -> None:
    norm = ABN(4) if kind == "reference" else NORMS[kind].make(4)
    block = nn.Sequential(nn.Conv2d(3, 4, 3), norm)
    expected = copy.deepcopy(block)
    x = torch.randn(2, 3, 6, 6, requires_grad=True)
    expected(x)
    z: Any = torch_checkpoint.checkpoint(block, x, use_reentrant=reentrant)
    z.sum().backward()
    assert_equal(list(block.buffers()), list(expected.buffers()))


def test_backward_pass_twice_recomputes_with_the_statistics_of_the_forward_pass() -> None:
    plain, recomputed = pair(bottlenecks, NORMS["brn"])
    for body in (plain, recomputed):
        for step in range(2):
            body(images(step))
    gradients = []
    for body in (plain, recomputed):
        loss = body(images(5))[-1].square().sum()
        body(images(6))
        for _ in range(2):
            gradients.append(
                torch.autograd.grad(loss, [*body.bn_out.parameters(), *body.mod2.parameters()], retain_graph=True)
            )
    for gradient in gradients[1:]:
        assert_equal(list(gradient), list(gradients[0]))


def test_call_without_gradients_is_plain() -> None:
    calls: list[Tensor] = []

    def part(x: Tensor) -> Tensor:
        calls.append(x)
        return x * 2

    x = torch.ones(2)
    with torch.no_grad():
        assert checkpoint(part, x).tolist() == [2, 2]
    assert calls[0] is x


class Collectives(TorchDispatchMode):
    """Counter of the collectives."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.namespace == "c10d"
        return func(*args, **(kwargs or {}))


def synchronized_steps(rank: int) -> dict[str, Any]:
    """Train both forms on two ranks with DDP; return what the test compares."""
    results: dict[str, Any] = {}
    for name, body in zip(("plain", "recomputed"), pair(bottlenecks, NORMS["syncbn"]), strict=True):
        parallel = nn.parallel.DistributedDataParallel(body)
        for step in range(3):
            body.zero_grad()
            with Collectives() as collectives:
                levels = parallel(images(10 * step + rank)[: 1 + rank])
                torch.stack([level.square().sum() for level in levels]).sum().backward()
        gradients = [parameter.grad for parameter in body.parameters()]
        results[name] = [*(level.detach() for level in levels), *gradients, *body.buffers()]
        results[f"{name} collectives"] = collectives.count
    return results


def test_synchronized_norms_on_two_ranks_equal_the_plain_form_with_as_many_collectives(tmp_path: Path) -> None:
    for result in on_ranks(__file__, "synchronized_steps", tmp_path):
        assert_equal(result["recomputed"], result["plain"])
        assert result["recomputed collectives"] == result["plain collectives"] > 0


def test_overwritten_input_of_a_part_is_refused_in_the_backward_pass() -> None:
    x = torch.randn(2, 3, 4, requires_grad=True)
    z = checkpoint(InPlaceABN(3), x * 1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.square().sum().backward()


@pytest.mark.parametrize("overwritten", ["output", "residual", None])
def test_values_overwritten_after_the_norm_fail_in_the_backward_pass_of_a_checkpoint(overwritten: str | None) -> None:
    norm = InPlaceABN(3)

    def call(x: Tensor) -> Tensor:
        residual = x * 2
        z: Tensor = norm(x * 1, residual)
        if overwritten is not None:
            {"output": z, "residual": residual}[overwritten].add_(1)
        return (z * z).exp().log1p()

    from_torch: Any = partial(torch_checkpoint.checkpoint, call, use_reentrant=False)
    x = torch.randn(4, 3, 5, requires_grad=True)
    if overwritten is None:
        (expected,) = torch.autograd.grad(call(x).sum(), x)
        from_torch(x).sum().backward()
        torch.testing.assert_close(x.grad, expected)
        return
    for start in (call, partial(checkpoint, call), from_torch):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            start(x).sum().backward()
