"""One norm with its activation, forward and backward: time against its peers, and memory of the backward pass."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.memory import peak_bytes
from benchmarks.table import Row
from benchmarks.timing import medians, timed
from seamseg.modules.abn import InPlaceABN

Layout = Literal["nchw", "channels_last"]
Shape = tuple[int, int, int, int]

SHAPES: tuple[Shape, ...] = ((2, 256, 128, 128), (4, 64, 256, 256), (8, 512, 32, 32))
SLOPE = 0.01
_WARM_UP = 3
_WRONG = "the two sides of a row compute different things"


def time_rows(suffix: str, rounds: int, shapes: Sequence[Shape] = SHAPES) -> list[Row]:
    """Time forward and backward of one layer in training, with one row per shape, layout, type and peer.

    Args:
        suffix: Suffix of the slugs.
        rounds: Number of rounds that count.
        shapes: Input sizes, N×C×H×W each.
    """
    rows = []
    for shape in shapes:
        channels, name = shape[1], "x".join(map(str, shape))
        for layout in ("nchw", "channels_last"):
            times = _race(_ours(channels), _batch_norm(channels), _values(shape, layout), rounds)
            measure = f"norm + act, forward + backward, float32 {layout}; BatchNorm2d + LeakyReLU"
            rows.append(Row(f"time-bn-{name}-{layout}{suffix}", measure, *times, "ms", must=0.6, aim=0.4))
        rows.append(_row_beside_inplace_abn(f"time-iabn-{name}{suffix}", shape, rounds))
        half = _values(shape, "nchw").bfloat16()
        times = _race(_ours(channels), _batch_norm(channels), half, rounds)
        measure = "the same, bfloat16 nchw, float32 parameters; BatchNorm2d + LeakyReLU"
        rows.append(Row(f"time-bf16-{name}{suffix}", measure, *times, "ms", must=0.6))
    return rows


def peak_row(shape: Shape = SHAPES[0]) -> Row:
    """Count what the backward pass of our layer allocates, relative to the size of its input."""
    x = _values(shape, "nchw").requires_grad_()
    dz = _values(shape, "nchw", seed=1)
    layer = _ours(shape[1])
    for _ in range(2):  # the first pass may allocate what stays
        x.grad = None
        layer.zero_grad()
        z = layer(x.clone())
        extra = peak_bytes(lambda z=z: z.backward(dz))  # type: ignore[misc]
    size = "x".join(map(str, shape))
    measure = f"most memory the backward of one layer takes on top, {size}; size of its input"
    return Row("peak-backward", measure, extra / 1e6, x.nbytes / 1e6, "MB", must=1.05)


def _row_beside_inplace_abn(slug: str, shape: Shape, rounds: int) -> Row:
    limits = 0.25, 0.12  # must, aim
    try:
        peer = _published(shape[1])
    except ImportError as error:
        return Row(slug, f"not measured: {_one_line(error)}", None, None, "ms", *limits)
    times = _race(_ours(shape[1]), peer, _values(shape, "nchw"), rounds)
    return Row(slug, "norm + act, forward + backward, float32 nchw; inplace-abn 1.1.0", *times, "ms", *limits)


def _race(ours: nn.Module, peer: nn.Module, values: Tensor, rounds: int) -> tuple[float, float]:
    """Return the milliseconds of both sides."""
    dz = torch.empty_like(values).copy_(_values(values.shape, "nchw", seed=1))  # in the type and layout of the input
    check_equal(ours, peer, values, dz)
    sides = {name: timed(*training_pass(layer, values, dz)) for name, layer in (("ours", ours), ("peer", peer))}
    found = medians(sides, rounds, _WARM_UP)
    return found["ours"], found["peer"]


def training_pass(
    layer: nn.Module, values: Tensor, dz: Tensor
) -> tuple[Callable[[], Tensor], Callable[[Tensor], Tensor]]:
    """Return a forward and backward pass on a new tensor that, like the output of a convolution, has one owner.

    Returns:
        prepare: Function that returns the new tensor, whose backward pass only forwards the gradient.
        work: Function to time, which runs both passes on that tensor and returns the output.
    """
    source = values.detach().requires_grad_()

    def prepare() -> Tensor:
        source.grad = None
        layer.zero_grad()
        return source.clone()

    def work(x: Tensor) -> Tensor:
        z: Tensor = layer(x)
        z.backward(dz)  # type: ignore[no-untyped-call]
        return z

    return prepare, work


def check_equal(ours: nn.Module, peer: nn.Module, values: Tensor, dz: Tensor) -> None:
    """Check that both sides give the same output and gradient, up to rounding."""
    tolerance = 0.1 if values.dtype == torch.bfloat16 else 1e-3
    found = []
    for layer in (ours, peer):
        source = values.detach().requires_grad_()
        z = layer(source.clone())
        z.backward(dz)
        assert source.grad is not None
        found.append((z.detach().float(), source.grad.float()))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=tolerance, atol=tolerance), _WRONG


def _values(shape: Sequence[int], layout: Layout, seed: int = 0) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.to(memory_format=torch.channels_last) if layout == "channels_last" else x


def _ours(channels: int) -> nn.Module:
    return InPlaceABN(channels, "leaky_relu", SLOPE)


def _batch_norm(channels: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.LeakyReLU(SLOPE, inplace=True))


def _published(channels: int) -> nn.Module:
    package = importlib.import_module("inplace_abn")  # imported late: it is not on every machine
    layer: nn.Module = package.InPlaceABN(channels, activation="leaky_relu", activation_param=SLOPE)
    return layer


def _one_line(error: ImportError) -> str:
    return f"inplace-abn 1.1.0 cannot be used here ({str(error).splitlines()[0]})"
