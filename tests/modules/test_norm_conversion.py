"""Conversion of whole networks: converted networks compute the same, and hazards keep their BatchNorm."""

from __future__ import annotations

import copy
import io
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles.norm import stir
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from benchmarks.memory import saved_bytes
from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.modules.norm_conversion import NormConversion, convert_norms


def prepared(network: nn.Module) -> nn.Module:
    """Give the network float64 values and norms with statistics, biases and scales of both signs."""
    network.double()
    stir(network)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight is not None:
            module.weight.data[::3].neg_()
    return network


def with_leaky_relus(network: nn.Module, slope: float) -> nn.Module:
    """Replace all ReLU layers."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.LeakyReLU(slope, child.inplace))
    return network


def step(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, gradients and buffers after a training step."""
    network.zero_grad()
    x = x.clone().requires_grad_()
    torch.manual_seed(1)  # dropout
    y = network(x)
    y = y["out"] if isinstance(y, dict) else y
    (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
    gradients = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
    return {"y": y.detach(), "x": x.grad, **gradients, **dict(network.named_buffers())}


def assert_equal_after_conversion(network: nn.Module, x: Tensor, **options: Any) -> NormConversion:
    """Convert the network and compare it with a copy, or with a copy of the same network with leaky ReLUs."""
    prepared(network)
    reference = copy.deepcopy(network)
    if options:
        with_leaky_relus(reference, options["slope"])
    names = list(network.state_dict())
    modes = {name: module.training for name, module in network.named_modules()}
    report = convert_norms(network, **options)
    assert list(network.state_dict()) == names
    assert all(module.training == modes.get(name, True) for name, module in network.named_modules())
    norms = {name for name, module in network.named_modules() if isinstance(module, ABN)}
    assert set(report.converted) <= norms
    found, expected = step(network, x), step(reference, x)
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-10 * max(1, float(value.abs().max())))
    with torch.no_grad():
        found, expected = network.eval()(x.clone()), reference.eval()(x.clone())
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    return report


def double_conv(before: int, after: int, activation: Callable[[], nn.Module] = nn.LeakyReLU) -> nn.Sequential:
    layers = [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), activation()]
    return nn.Sequential(*layers, nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), activation())


class UNet(nn.Module):
    """A U-Net as users write it, with one skip connection."""

    def __init__(self, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.down, self.middle = double_conv(3, 4, activation), double_conv(4, 8, activation)
        self.up, self.last = nn.ConvTranspose2d(8, 4, 2, 2), double_conv(8, 4, activation)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        x = self.up(self.middle(functional.max_pool2d(skip, 2)))
        x = functional.pad(x, [0, skip.size()[3] - x.size()[3], 0, skip.size()[2] - x.size()[2]])
        return self.head(self.last(torch.cat([skip, x], dim=1)))


IMAGES = torch.randn(2, 3, 10, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("activation", [nn.LeakyReLU, lambda inplace: nn.ELU(0.7, inplace)])
def test_every_norm_of_unet_is_converted(activation: Callable[..., nn.Module], inplace: bool) -> None:
    network = UNet(lambda: activation(inplace=inplace))
    report = assert_equal_after_conversion(network, IMAGES)
    assert (len(report.converted), report.left, report.changed, report.rewritten) == (6, {}, (), ())


def test_converted_unet_keeps_one_tensor_less_per_norm() -> None:
    network, images = UNet(lambda: nn.LeakyReLU(inplace=True)), torch.randn(2, 3, 32, 32)
    before = saved_bytes(network, images)
    convert_norms(network)
    norm_outputs = 2 * (4 * (4 + 4) * 32 * 32 + 4 * (8 + 8) * 16 * 16 + 4 * (4 + 4) * 32 * 32)
    assert before - saved_bytes(network, images) == pytest.approx(norm_outputs, rel=0.01)


def test_relu_stays_without_permission() -> None:
    report = assert_equal_after_conversion(UNet(nn.ReLU), IMAGES)
    assert report.converted == report.changed == ()
    assert len(report.left) == 6
    assert all("ReLU" in reason for reason in report.left.values())


def test_relu_is_replaced_with_permission_and_reported() -> None:
    report = assert_equal_after_conversion(UNet(nn.ReLU), IMAGES, activation="leaky_relu", slope=0.2)
    assert len(report.converted) == 6
    assert report.changed == report.converted
    assert "outputs change after 6 of them" in str(report)


@pytest.mark.parametrize(
    ("activation", "slope"), [("relu", 0.01), ("identity", 0.01), ("leaky_relu", 0.0), ("elu", -1.0)]
)
def test_activation_that_cannot_replace_relu_is_refused(activation: Any, slope: float) -> None:
    with pytest.raises(ValueError, match=activation):
        convert_norms(UNet(nn.ReLU), activation, slope)


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), *layers, nn.Conv2d(4, 2, 1))


def shared_norm() -> nn.Module:
    norm, activation = nn.BatchNorm2d(4), nn.LeakyReLU(0.1)
    return chain(norm, activation, nn.Conv2d(4, 4, 1), norm, activation)


def frozen_norm() -> nn.Module:
    norm = nn.BatchNorm2d(4).eval().requires_grad_(False)
    network = chain(norm, nn.LeakyReLU())
    norm.weight.requires_grad_(True)
    return network


class OneDimensional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn1 = nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)
        self.linear, self.bn2 = nn.Linear(4, 5), nn.BatchNorm1d(5)
        self.act1, self.act2 = nn.ELU(), nn.LeakyReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.conv(x.flatten(2))))
        return self.act2(self.bn2(self.linear(x.mean(2))))


class Volumes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.LeakyReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.unsqueeze(2))


class SumsAndConcatenations(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.bn1, self.bn2 = (
            nn.Conv2d(3, 4, 1),
            nn.Conv2d(3, 4, 1),
            *map(nn.BatchNorm2d, (4, 8)),
        )
        self.act = nn.LeakyReLU()

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.conv1(x), self.conv2(x)
        return self.act(self.bn1(a + b)).mean() + self.act(self.bn2(torch.cat([a, b], 1)))


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (lambda: chain(nn.BatchNorm2d(4, momentum=None), nn.LeakyReLU()), 1),
        (lambda: chain(nn.BatchNorm2d(4, affine=False, eps=1e-3), nn.LeakyReLU()), 1),
        (lambda: chain(nn.Identity(), nn.BatchNorm2d(4), nn.Identity(), nn.LeakyReLU()), 1),
        (lambda: chain(nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.LeakyReLU()), 1),
        (shared_norm, 1),
        (frozen_norm, 1),
        (OneDimensional, 2),
        (Volumes, 1),
        (SumsAndConcatenations, 2),
    ],
)
def test_safe_pairs_are_converted(build: Callable[[], nn.Module], count: int) -> None:
    report = assert_equal_after_conversion(build(), IMAGES)
    assert (len(report.converted), report.left) == (count, {})


def test_synchronized_norm_keeps_its_group() -> None:
    network = chain(nn.SyncBatchNorm(4, process_group="group"), nn.LeakyReLU())
    convert_norms(network)
    assert type(network[1]) is InPlaceABNSync
    assert network[1].group == "group"
    assert network[1].layer_name == "1"


class Function(nn.Module):
    """A network that runs a function of its layers and an input."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.last, self.bn = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), norm or nn.BatchNorm2d(4)
        self.act, self.relu, self.prelu, self.flat = nn.LeakyReLU(0.1), nn.ReLU(), nn.PReLU(), nn.LeakyReLU(0.0)
        self.function, self.features = (function,), [torch.zeros(1)]

    def forward(self, x: Tensor) -> Tensor:
        return self.function[0](self, x)


def overwrite(x: Tensor, y: Tensor | float) -> Tensor:
    x += y
    return x


def overwrite_view(x: Tensor) -> Tensor:
    x.flatten(1).mul_(2)
    return x


def read_before(n: Any, x: Tensor) -> Tensor:
    y = n.conv(x)
    return y * 2 + n.act(n.bn(y))


def read_after(n: Any, x: Tensor) -> Tensor:
    y = n.conv(x)
    return n.act(n.bn(y)) + n.last(y).mean()


def aliased_sum(n: Any, x: Tensor) -> Tensor:
    y = n.conv(x)
    total = overwrite(y, 1.0)
    return n.act(n.bn(total)) + y


def stored(n: Any, x: Tensor) -> Tensor:
    n.stored = y = n.conv(x)
    return n.act(n.bn(y))


def appended(n: Any, x: Tensor) -> Tensor:
    n.features.append(n.conv(x))
    return n.act(n.bn(n.features[-1]))


def only_in_training(n: Any, x: Tensor) -> Tensor:
    y = n.conv(x)
    z = n.act(n.bn(y))
    return z + y.mean() if n.training else z


def norm_by_function(n: Any, x: Tensor) -> Tensor:
    statistics = n.bn.running_mean, n.bn.running_var
    return n.act(functional.batch_norm(n.conv(x), *statistics, n.bn.weight, n.bn.bias, n.training))


class OtherNorm(nn.BatchNorm2d):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


HAZARDS: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "input read before": (read_before, "conv.*also read"),
    "input read after": (read_after, "conv.*also read"),
    "input read in training": (only_in_training, "conv.*also read"),
    "input stored": (stored, "cannot be traced.*stored"),
    "input appended": (appended, "cannot be traced.*features"),
    "input is a sum in place": (aliased_sum, "also read|iadd"),
    "input needed for gradient": (lambda n, x: n.act(n.bn(n.conv(x).sigmoid())), "sigmoid"),
    "input is a product": (lambda n, x: n.act(n.bn(n.conv(x) * 2)), "mul"),
    "input is a view": (lambda n, x: n.act(n.bn(n.conv(x)[:, :, 1:])), "getitem"),
    "input of an activation": (lambda n, x: n.act(n.bn(n.relu(n.conv(x)))), "relu"),
    "output read twice": (lambda n, x: (lambda y: n.act(y) + y)(n.bn(n.conv(x))), "read by several"),
    "output of the network": (lambda n, x: n.bn(n.conv(x)), "result"),
    "output is a summand": (lambda n, x: n.act(n.bn(n.conv(x)) + 1), "add"),
    "other activation": (lambda n, x: n.prelu(n.bn(n.conv(x))), "PReLU"),
    "activation without inverse": (lambda n, x: n.flat(n.bn(n.conv(x))), "slope 0"),
    "activation overwritten": (lambda n, x: overwrite(n.act(n.bn(n.conv(x))), 1.0), "iadd"),
    "view of activation overwritten": (lambda n, x: overwrite_view(n.act(n.bn(n.conv(x)))), "mul_"),
    "different activations": (lambda n, x: n.relu(n.bn(n.conv(n.act(n.bn(n.conv(x)))[:, :3]))), "ReLU|different"),
    "keyword": (lambda n, x: n.act(n.bn(input=n.conv(x))), "keyword"),
    "function in the network": (lambda n, x: functional.leaky_relu(n.bn(n.conv(x))), "nn.LeakyReLU"),
    "not a layer": (norm_by_function, "not called"),
    "branch on values": (lambda n, x: n.act(n.bn(n.conv(x))) if x.sum() > -1e9 else x, "cannot be traced"),
}


@pytest.mark.parametrize("hazard", HAZARDS)
def test_norm_of_unsafe_call_stays_with_reason(hazard: str) -> None:
    function, reason = HAZARDS[hazard]
    report = assert_equal_after_conversion(Function(function), IMAGES)
    assert report.converted == ()
    assert list(report.left) == ["bn"]
    assert report.left["bn"].endswith(".")
    assert "\n" not in report.left["bn"]
    assert re.search(reason, report.left["bn"]), report.left["bn"]


def test_norm_at_the_start_of_the_network_stays() -> None:
    report = assert_equal_after_conversion(nn.Sequential(nn.BatchNorm2d(3), nn.LeakyReLU()), IMAGES)
    assert "argument" in report.left["0"]


@pytest.mark.parametrize(
    ("norm", "reason"),
    [
        (OtherNorm(4), "OtherNorm"),
        (nn.BatchNorm2d(4, track_running_stats=False), "running statistics"),
    ],
)
def test_norm_without_equal_in_place_norm_stays(norm: nn.Module, reason: str) -> None:
    report = assert_equal_after_conversion(chain(norm, nn.LeakyReLU()), IMAGES)
    assert reason in report.left["1"]


def test_norm_with_epsilon_zero_stays() -> None:
    assert "greater than 0" in convert_norms(chain(nn.BatchNorm2d(4, eps=0.0), nn.LeakyReLU())).left["1"]


def test_norm_with_weights_near_zero_stays() -> None:
    network = chain(nn.BatchNorm2d(4), nn.LeakyReLU())
    network[1].weight.data[:2] = torch.tensor([0.0, -1e-6])
    assert convert_norms(network).left["1"].startswith("2 of its weights")


@pytest.mark.parametrize("place", ["conv", "bn", "act", "inner", "outer"])
def test_norm_whose_tensors_a_hook_may_read_stays(place: str) -> None:
    inner = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 1), bn=nn.BatchNorm2d(4)))
    network = nn.Sequential(OrderedDict(inner=inner, act=nn.LeakyReLU(), outer=nn.Conv2d(4, 2, 1)))
    layer = getattr(inner, place, None) or getattr(network, place)
    layer.register_forward_hook(lambda *_: None)
    report = assert_equal_after_conversion(network, IMAGES)
    assert list(report.left) == ([] if place == "outer" else ["inner.bn"])
    assert all("hooks" in reason for reason in report.left.values())


class ResidualBlock(nn.Module):
    """A block whose one activation layer is called after two norms and after the sum, as in torchvision."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv3, self.bn3 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu, self.stride = activation, 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = functional.leaky_relu(self.bn2(self.conv2(y)), 0.3)
        y = self.bn3(self.conv3(y))
        y += x
        return self.relu(y)


def residual_network() -> nn.Sequential:
    return chain(*(ResidualBlock(nn.LeakyReLU(0.2, inplace=True)) for _ in range(2)))


def test_blocks_that_share_an_activation_are_rewritten() -> None:
    network = residual_network()
    report = assert_equal_after_conversion(network, IMAGES)
    assert report.converted == ("1.bn1", "1.bn2", "2.bn1", "2.bn2")
    assert list(report.left) == ["1.bn3", "2.bn3"]
    assert report.rewritten == ("1", "2")
    assert network[1].stride == 1
    assert type(network[1]).__name__ == "ResidualBlock"


def test_rewritten_network_can_be_copied_and_saved() -> None:
    network = residual_network().eval()
    convert_norms(network)
    buffer = io.BytesIO()
    torch.save(network, buffer)
    buffer.seek(0)
    x = IMAGES.float()
    for other in (copy.deepcopy(network), torch.load(buffer, weights_only=False)):
        assert torch.equal(other(x.clone()), network(x.clone()))


def test_block_that_differs_between_modes_is_not_rewritten() -> None:
    class Block(ResidualBlock):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            return functional.dropout(y, 0.5, training=self.training)

    report = assert_equal_after_conversion(chain(Block(nn.LeakyReLU())), IMAGES)
    assert report.converted == ()
    assert "training and evaluation" in report.left["1.bn1"]


def test_second_conversion_changes_nothing() -> None:
    network = UNet(nn.LeakyReLU)
    convert_norms(network)
    before = [id(module) for module in network.modules()]
    assert convert_norms(network) == NormConversion((), {}, (), ())
    assert [id(module) for module in network.modules()] == before


class Branching(nn.Module):
    """A network that cannot be traced, with a part that can."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part, self.parts = part, nn.ModuleList([UNet(nn.LeakyReLU)])

    def forward(self, x: Tensor) -> Tensor:
        if x.mean() < -1e9:
            raise ValueError
        return self.part(x).mean() + self.parts[0](x)


class Reaching(Branching):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + super().forward(x)

    def inner(self, x: Tensor) -> Tensor:
        return self.part.conv2(x).mean()


def test_parts_of_network_that_cannot_be_traced_are_converted() -> None:
    report = assert_equal_after_conversion(Branching(UNet(nn.LeakyReLU)), IMAGES)
    assert len(report.converted) == 12


def test_part_that_code_which_cannot_be_traced_reaches_into_stays() -> None:
    report = assert_equal_after_conversion(Reaching(SumsAndConcatenations()), IMAGES)
    assert len(report.converted) == 6
    assert list(report.left) == ["part.bn1", "part.bn2"]
    assert all("Reaching cannot be traced" in reason for reason in report.left.values())


def test_sequence_that_code_which_cannot_be_traced_may_iterate_over_stays() -> None:
    report = assert_equal_after_conversion(Branching(chain(nn.BatchNorm2d(4), nn.LeakyReLU())), IMAGES)
    assert list(report.left) == ["part.1"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("fcn_resnet50", 34), ("deeplabv3_resnet50", 40)])
def test_segmentation_network_of_torchvision_is_converted(name: str, count: int) -> None:
    network = models.get_model(name, weights=None, weights_backbone=None, num_classes=2)
    images = torch.randn(2, 3, 32, 48, dtype=torch.float64)
    report = assert_equal_after_conversion(with_leaky_relus(network, 0.01), images)
    assert len(report.converted) == count
    # The last norm of each block and those of the shortcuts are followed by a sum.
    assert {name.rpartition(".")[2] for name in report.left} == {"bn3", "1"}
    assert len(report.left) == 16 + 4
    assert all("iadd" in reason for reason in report.left.values())


def test_unet_of_segmentation_models_is_converted() -> None:
    library = pytest.importorskip("segmentation_models_pytorch", reason="tests/peers.sh installs it")
    network = library.Unet("resnet18", encoder_weights=None, classes=2)
    images = torch.randn(2, 3, 32, 64, dtype=torch.float64)
    report = assert_equal_after_conversion(with_leaky_relus(network, 0.01), images)
    assert len([name for name in report.converted if name.startswith("decoder.")]) == 10
    assert len(report.converted) == 19
    assert all("iadd" in reason for reason in report.left.values())


def test_report_lists_numbers_and_reasons() -> None:
    network = chain(nn.BatchNorm2d(4), nn.LeakyReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    report = convert_norms(network)
    assert type(network[1]) is InPlaceABN
    first, second = str(report).splitlines()
    assert first == "1 norms converted, outputs stay equal; 1 left"
    assert second.startswith("4: A ReLU follows")
