"""The CUDA kernels compiled by nvcc and, where there is a GPU, compared with the CPU kernels."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from native.harness import CSRC
from torch import Tensor

from seamseg.ops.native import load_library

EPS = 1e-5
TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = [
    (2, 3, 5, 7),
    (8, 64, 32, 32),
    (2, 257, 9),
    (4096, 33),
    (1, 1, 700, 700),
    (3, 6, 4, 4, 4),
    (0, 4, 3),
    (2, 0, 3),
]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")


@pytest.mark.slow
def test_nvcc_compiles_the_kernels_without_a_warning(tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not on the PATH")
    torch_headers = Path(torch.__file__).parent / "include"
    flags = ["-std=c++20", "-arch=compute_80", "--expt-relaxed-constexpr", "-Werror=all-warnings", "-ptx"]
    command = [nvcc, *flags, "-DTORCH_TARGET_VERSION=0x020a000000000000", f"-isystem={torch_headers}"]
    for source in CSRC.rglob("*.cu"):
        result = tmp_path / f"{source.stem}.ptx"
        done = subprocess.run([*command, str(source), "-o", str(result)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        ptx = result.read_text()
        if source.parent.name != "inplace_abn":
            continue
        assert "ld.global.v4" in ptx  # 16 bytes at once
        assert "st.global.v4" in ptx


def samples(shape: tuple[int, ...], dtype: torch.dtype, seed: int, *, channels_last: bool = False) -> Tensor:
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
    return numbers.movedim(1, -1).contiguous().movedim(-1, 1) if channels_last else numbers


def constants(channels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    gamma = torch.linspace(0.5, 1.0, channels, dtype=kind)
    return gamma * torch.where(torch.arange(channels) % 2 == 0, 1, -1), torch.linspace(-0.5, 0.5, channels, dtype=kind)


def assert_same(on_gpu: Tensor, on_cpu: Tensor, dtype: torch.dtype, scale: float = 1) -> None:
    tolerance = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=tolerance, atol=tolerance * scale)
    assert on_gpu.stride() == on_cpu.stride()


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_norm_on_a_gpu_equals_the_cpu(shape: tuple[int, ...], channels_last: bool) -> None:
    load_library()
    for dtype, activation, with_residual in itertools.product(TYPES, range(3), (False, True)):
        compare(shape, dtype, activation, with_residual, channels_last)


def compare(shape: tuple[int, ...], dtype: torch.dtype, activation: int, with_residual: bool, last: bool) -> None:
    ops = torch.ops.seamseg
    gamma, beta = constants(shape[1], dtype)
    x, dz, residual = (samples(shape, dtype, seed, channels_last=last) for seed in range(3))
    r, rest = residual if with_residual else None, (EPS, activation, 0.3)
    moved = [None if tensor is None else tensor.cuda() for tensor in (x, dz, r, gamma, beta)]
    gpu_x, gpu_dz, gpu_r, gpu_gamma, gpu_beta = moved

    assert_same(ops.abn_moments(gpu_x), moments := ops.abn_moments(x), gamma.dtype)
    gpu_moments = ops.abn_train_(gpu_x, gpu_r, gpu_gamma, gpu_beta, *rest)
    assert_same(gpu_moments, ops.abn_train_(x, r, gamma, beta, *rest), gamma.dtype)
    assert_same(gpu_x, x, dtype, scale=4)

    z = x.cuda()  # equal on both devices
    arguments = (moments.cuda(), gpu_gamma, gpu_beta, *rest)
    dx, dr, sums = ops.abn_train_gradient(z, gpu_dz, gpu_r, *arguments)
    cpu_dx, cpu_dr, cpu_sums = ops.abn_train_gradient(x, dz, r, moments, gamma, beta, *rest)
    count = max(x.numel() // max(shape[1], 1), 1)
    assert_same(sums, cpu_sums, gamma.dtype, scale=count)
    assert_same(dx, cpu_dx, dtype, scale=4)
    assert_same(dr, cpu_dr, dtype)
    assert_same(ops.abn_sums(z, gpu_dz, gpu_r, gpu_gamma, gpu_beta, *rest[1:]), sums.cpu(), gamma.dtype)
    assert_same(ops.abn_gradient(z, gpu_dz, gpu_r, sums / count, *arguments)[0], dx.cpu(), dtype)


@pytest.mark.cuda
@needs_gpu
def test_kernels_use_the_current_stream_and_the_device_of_the_input() -> None:
    load_library()
    x = samples((4, 64, 200, 200), torch.float32, 1)
    last = torch.cuda.device_count() - 1
    with torch.cuda.stream(torch.cuda.Stream(last)):
        shifted = x.to(f"cuda:{last}") + 3  # on the same stream, so the kernels must wait for it
        moments = torch.ops.seamseg.abn_moments(shifted)
    torch.cuda.synchronize(last)
    assert_same(moments, torch.ops.seamseg.abn_moments(x + 3), torch.float32, scale=4)


@pytest.mark.cuda
@needs_gpu
def test_tensors_beyond_32_bit_positions_are_normalized() -> None:
    load_library()
    shape = (2, 3, 2**30 // 3 + 100)
    if torch.cuda.mem_get_info()[0] < 3 * 2**31:
        pytest.skip("the GPU has less than 6 GB of free memory")
    x = torch.ones(shape, dtype=torch.bfloat16, device="cuda")
    x[1, 2] = 3
    moments = torch.ops.seamseg.abn_moments(x)
    expected = torch.tensor([[1.0, 1, 2], [0, 0, 1]])
    torch.testing.assert_close(moments.cpu(), expected, rtol=1e-5, atol=1e-5)
    one = torch.ones(3, device="cuda")
    torch.ops.seamseg.abn_normalize_(x, None, moments, one, 0 * one, 0.0 + EPS, 0, 1.0)
    assert x[1, 2, -1].item() == pytest.approx(1, abs=1e-2)
    assert x[0, 2, 0].item() == pytest.approx(-1, abs=1e-2)
