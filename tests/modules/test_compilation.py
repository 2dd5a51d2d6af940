"""Networks whose parts run compiled: one graph per part for images of all sizes, with the results of the network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles.norm import stir
from support.ranks import on_ranks
from support.tiny_network import NUM_THINGS, WIDTH, scenes, tiny_network
from torch import Tensor, nn
from torch._dynamo.utils import counters

from seamseg.engine.train import parallel, prebuild_ddp_buckets
from seamseg.errors import SettingsError
from seamseg.modules import compilation, eval_norms, fold_norms
from seamseg.modules.body import Body
from seamseg.modules.compilation import check_compiler, compile_network
from seamseg.modules.deeplab_head import DeepLabHead
from seamseg.modules.fpn import FPN, PyramidBody
from seamseg.modules.norm import NormFactory, cache_min_gammas
from seamseg.modules.resnet import ResidualBlock
from seamseg.networks import PyramidNet

CPU = torch.device("cpu")
NORMS = {
    "bn": NormFactory("bn"),
    "plain": NormFactory("plain"),
    "affine": NormFactory("affine"),
    "gn": NormFactory("gn", groups=4, standardize_weights=True),
}
SIZES = (((64, 96), (48, 80)), ((96, 64), (96, 56)), ((128, 160), (64, 64)), ((50, 66), (33, 65)))
"""Sizes of the two images of each batch."""


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    compilation._compiled.cache_clear()
    yield
    torch._dynamo.reset()
    compilation._compiled.cache_clear()


@cache
def run_operators(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make one graph as for kernels, but run its operators, because compiling kernels takes minutes."""
    return torch.compile(method, fullgraph=True, dynamic=True, backend="aot_eager")


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    run_operators.cache_clear()
    monkeypatch.setattr(compilation, "_compiled", run_operators)


class Steps(Body):
    """Stem and a residual block, and a convolution for each further level."""

    channels, strides = (WIDTH,) * 4, (4, 8, 16, 32)

    def __init__(self, norm: NormFactory) -> None:
        super().__init__()
        self.stem = nn.Sequential(norm.conv(3, WIDTH, 7, stride=4), norm.make(WIDTH))
        self.block = ResidualBlock(WIDTH, WIDTH, WIDTH, norm, 1, bottleneck=False)
        steps = ([norm.conv(WIDTH, WIDTH, 3, stride=2), norm.make(WIDTH)] for _ in range(3))
        self.steps = nn.ModuleList(nn.Sequential(*step) for step in steps)

    def levels(self, images: Tensor) -> list[Tensor]:
        levels = [self.block(self.stem(images))]
        for step in self.steps:
            levels.append(step(levels[-1]))
        return levels


def network_of(norm: NormFactory) -> PyramidNet:
    torch.manual_seed(0)
    network = tiny_network(norm)
    network.body = PyramidBody(Steps(norm), FPN((WIDTH,) * 4, WIDTH, 0, norm))
    stir(network)
    return network.to(memory_format=torch.channels_last)


def step(network: Callable[..., Any], images: Any, truth: Any, half: bool = False) -> Tensor:
    """Add the gradients of a training step to those of the parameters, and return the loss."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        losses = network(images, truth, torch.Generator().manual_seed(0))
    total = losses.total(dict.fromkeys(dict(losses.items()), 1.0))
    total.backward()
    return total.detach()


def gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.grad for name, value in network.named_parameters() if value.grad is not None}


def assert_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float) -> None:
    """Compare tensors relative to the norm of each."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        error = (found[name].double() - tensor.double()).norm() / (tensor.double().norm() + 1e-3)
        assert error < tolerance, f"{name}: {error}"


@pytest.mark.slow
def test_compiled_network_is_one_graph_per_part_for_all_sizes_with_equal_results(without_kernels: None) -> None:
    expected = network_of(NORMS["bn"]).train()
    network = copy.deepcopy(expected)
    names = list(network.state_dict())
    compile_network(network, CPU)
    for number, sizes in enumerate(SIZES):
        images, truth = scenes(["objects", "objects"], sizes, seed=number)
        with torch.compiler.set_stance("fail_on_recompile" if number else "default"):
            loss = step(network, images, truth)
        torch.testing.assert_close(loss, step(expected, images, truth), rtol=1e-4, atol=0)
        assert_close(gradients(network), gradients(expected), 2e-3)
        assert_close(dict(network.named_buffers()), dict(expected.named_buffers()), 1e-4)
        with torch.no_grad():
            for one in (network, expected):
                for parameter in one.parameters():
                    parameter.grad = None
            for ours, theirs in zip(network.parameters(), expected.parameters(), strict=True):
                ours.mul_(0.99)  # changes the smallest γ
                theirs.mul_(0.99)
    # Body with pyramid, head for proposals, semantic head, both branches of the RoI head.
    assert counters["stats"]["unique_graphs"] == 5
    assert list(network.state_dict()) == names
    network.eval(), expected.eval()
    for number, sizes in enumerate(SIZES):
        images, _ = scenes(["objects"], sizes[:1], seed=number)
        with torch.compiler.set_stance("fail_on_recompile" if number else "default"):
            found = network.predict(images)
        wanted = expected.predict(images)
        torch.testing.assert_close(found.semantics(0).logits, wanted.semantics(0).logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.detections(0).masks, wanted.detections(0).masks, rtol=1e-3, atol=1e-4)
    assert counters["stats"]["unique_graphs"] == 10


def compare_body(body: nn.Module, half: bool = False, tolerance: float = 1e-4) -> None:
    """Compare levels, gradients and statistics of a body with those of its compiled copy, for two sizes."""
    body = body.to(memory_format=torch.channels_last).train()
    compiled = copy.deepcopy(body)
    compile_network(compiled, CPU)
    for number, size in enumerate(((64, 96), (96, 64))):
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(number))
        levels = []
        for one in (compiled, body):
            cache_min_gammas(one)
            one.zero_grad()
            stance = "fail_on_recompile" if number and one is compiled else "default"
            with torch.compiler.set_stance(stance), torch.autocast("cpu", torch.bfloat16, enabled=half):
                levels.append(one(images))
            torch.stack([level.float().square().mean() for level in levels[-1]]).sum().backward()
        found, wanted = (dict(enumerate(one)) for one in levels)
        assert_close(found, wanted, tolerance)
        assert_close(gradients(compiled), gradients(body), 10 * tolerance)
        assert_close(dict(compiled.named_buffers()), dict(body.named_buffers()), tolerance)
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("name", ["plain", "affine", "gn"])
def test_compiled_body_with_other_norms_equals_the_body(name: str, without_kernels: None) -> None:
    body = Steps(NORMS[name])
    stir(body)
    compare_body(body)


@pytest.mark.parametrize("smallest", [0.5, 1e-4])
def test_compiled_body_in_half_precision_equals_the_body_for_weights_of_any_size(
    smallest: float, without_kernels: None
) -> None:
    body = Steps(NORMS["bn"])
    stir(body)
    with torch.no_grad():
        for norm in (body.stem[1], body.block.convs.bn2):
            norm.weight[0] = smallest
    compare_body(body, half=True, tolerance=0.02)


def test_change_of_a_gamma_does_not_compile_the_body_again(without_kernels: None) -> None:
    body = Steps(NORMS["bn"]).train()
    compile_network(body, CPU)
    images = torch.randn(2, 3, 64, 64)
    for weight in (1.0, 0.5, 0.01, 1.0):
        with torch.no_grad():
            body.stem[1].weight[0] = weight
        cache_min_gammas(body)
        for half in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                body(images)
    assert counters["stats"]["unique_graphs"] == 2


@pytest.mark.parametrize("kind", ["running", "folded", "eval_norm", "brn", "mabn", "syncbn"])
def test_compiled_prediction_of_every_kind_of_norm_is_one_graph(kind: str, without_kernels: None) -> None:
    norm = NormFactory(kind if kind in ("brn", "mabn", "syncbn") else "bn")
    head = DeepLabHead(WIDTH, norm, channels=WIDTH, out_channels=WIDTH)
    stir(head)
    expected = eval_norms(head, 0.5) if kind == "eval_norm" else fold_norms(head) if kind == "folded" else head.eval()
    compiled = copy.deepcopy(expected)
    compile_network(compiled, CPU)
    with torch.no_grad():
        for size in ((12, 20), (100, 90)):  # smaller and larger than the window of the mean
            maps = torch.randn(2, WIDTH, *size)
            torch.testing.assert_close(compiled(maps), expected(maps), rtol=1e-4, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("num_regions", [0, 1])
def test_compiled_roi_head_runs_no_and_single_regions_uncompiled(num_regions: int, without_kernels: None) -> None:
    expected = tiny_network().roi_head.eval()
    head = copy.deepcopy(expected)
    compile_network(head, CPU)
    regions = torch.randn(num_regions, WIDTH, 14, 14)
    for found, wanted in zip(head.classify(regions), expected.classify(regions), strict=True):
        torch.testing.assert_close(found, wanted)
    assert head.masks(regions).shape == (num_regions, NUM_THINGS, 28, 28)
    assert counters["stats"]["unique_graphs"] == 0


def test_copy_of_a_compiled_body_uses_its_own_weights(without_kernels: None) -> None:
    body = Steps(NORMS["bn"]).eval()
    compile_network(body, CPU)
    other = copy.deepcopy(body)
    with torch.no_grad():
        other.stem[0].weight.mul_(2)
        images = torch.randn(1, 3, 64, 64)
        torch.testing.assert_close(body(images)[0], body.levels(images)[0])
        torch.testing.assert_close(other(images)[0], other.levels(images)[0])
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.slow
def test_kernels_of_body_and_pyramid_equal_its_operators_for_all_sizes() -> None:
    class Two(Body):
        def __init__(self, norm: NormFactory) -> None:
            super().__init__()
            self.stem = nn.Sequential(norm.conv(3, WIDTH, 3, stride=2), norm.make(WIDTH))
            self.step = nn.Sequential(norm.conv(WIDTH, WIDTH, 3, stride=2), norm.make(WIDTH))

        def levels(self, images: Tensor) -> list[Tensor]:
            first = self.stem(images)
            return [first, self.step(first)]

    norm = NORMS["bn"]
    body = PyramidBody(Two(norm), FPN((WIDTH, WIDTH), WIDTH, 0, norm))
    stir(body)
    compare_body(body)


def on_rank(rank: int) -> Any:
    """Return the gradients of a compiled body, and of the same body uncompiled, on this rank's images."""
    compilation._compiled = run_operators
    results = []
    for compiles in (True, False):
        body = Steps(NORMS["bn"]).train()
        stir(body)
        if compiles:
            compile_network(body, CPU)
        together = parallel(body)
        prebuild_ddp_buckets(together)
        cache_min_gammas(body)
        levels = together(torch.randn(2, 3, 64, 64 + 32 * rank, generator=torch.Generator().manual_seed(rank)))
        torch.stack([level.square().mean() for level in levels]).sum().backward()
        results.append(gradients(body))
    return results


@pytest.mark.slow
def test_compiled_ranks_have_the_gradients_of_uncompiled_ranks(tmp_path: Path) -> None:
    first, second = on_ranks(__file__, "on_rank", tmp_path, seconds=300)
    assert_close(first[0], first[1], 2e-3)
    assert_close(first[0], second[0], 1e-12)


def test_check_compiler_without_compiler_or_headers_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check_compiler(CPU)
    with monkeypatch.context() as patch:
        patch.setenv("CXX", "no-such-compiler")
        with pytest.raises(SettingsError, match=r"no-such-compiler.*apt-get install g\+\+"):
            compile_network(network_of(NORMS["bn"]), CPU)
    with monkeypatch.context() as patch:
        patch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
        with pytest.raises(SettingsError, match=r"Python\.h.*python3-dev"):
            check_compiler(CPU)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        check_compiler(CPU)
        with pytest.raises(SettingsError, match="triton"):
            check_compiler(torch.device("cuda"))
