"""The CUDA kernels of in-place activated BatchNorm on the CPU, as functions of float64 arrays, N×C×S."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import torch
from native.harness import Kernels
from numpy.typing import NDArray
from oracles.inplace_abn import Array, Layer

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
ACTIVATIONS = ["identity", "leaky_relu", "elu"]


POINTERS = ["x", "residual", "z", "dz", "dx", "dr", "gamma", "beta", "moments", "means", "workspace", "result"]


class Call(ctypes.Structure):
    """Arguments of a kernel, as in cuda_host/abn.cpp."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("type", "rows", "channels", "inner", "interleaved")],
        *[(name, ctypes.c_int64) for name in ("multiprocessors", "wide", "activation")],
        *[(name, ctypes.c_double) for name in ("slope", "eps", "means_scale")],
        *[(name, ctypes.c_void_p) for name in POINTERS],
        *[(name, ctypes.c_int64) for name in ("workspace_size", "splits", "packed")],
    ]


def accumulate_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def rounded(array: Array, dtype: torch.dtype) -> Array:
    return torch.from_numpy(array).to(dtype).double().numpy()


def place(values: torch.Tensor, lead: int) -> torch.Tensor:
    """Return a flat copy that starts ``lead`` numbers after a 16-byte boundary."""
    memory = torch.full((values.numel() + lead + 32,), torch.nan, dtype=values.dtype)
    start = (-memory.data_ptr() % 16) // values.element_size() + lead
    return memory[start : start + values.numel()].copy_(values.ravel())


@dataclass
class Geometry:
    """Storage of the samples and launch settings of the kernels."""

    dtype: torch.dtype = torch.float32
    interleaved: bool = False
    leads: tuple[int, ...] = (0,)  # numbers between a 16-byte boundary and the start of each large tensor, in turn
    wide: bool = False  # 64-bit positions
    multiprocessors: int = 4


class Layered:
    """Kernels of one layer; ``call`` holds the plan of the last call."""

    def __init__(self, kernels: Kernels, geometry: Geometry, shape: tuple[int, int, int]) -> None:
        self.kernels, self.geometry, self.shape = kernels, geometry, shape
        n, c, s = shape
        self.call = Call(type=TYPES.index(geometry.dtype), channels=c, interleaved=geometry.interleaved)
        self.call.rows, self.call.inner = (n * s, 1) if geometry.interleaved else (n, s)
        self.call.multiprocessors, self.call.wide = geometry.multiprocessors, geometry.wide
        self.tensors: dict[str, torch.Tensor] = {}

    def moments(self, x: Array) -> Array:
        self._samples(x=x)
        return self._reduce("abn_moments")

    def normalize(self, layer: Layer, x: Array, moments: Array, residual: Array | None) -> Array:
        self._samples(x=x, residual=residual)
        self._layer(layer, moments=moments)
        self._run("abn_normalize")
        return self._read("x")

    def sums(self, layer: Layer, z: Array, dz: Array, residual: Array | None) -> Array:
        self._samples(z=z, dz=dz, residual=residual)
        self._layer(layer)
        return self._reduce("abn_sums")

    def gradient(
        self, layer: Layer, z: Array, dz: Array, means: Array, moments: Array, residual: Array | None, scale: float
    ) -> tuple[Array, Array | None]:
        """Run the gradient; the kernel gets ``means`` divided by ``scale``, and the scale."""
        missing = np.full(z.shape, np.nan)
        self._samples(z=z, dz=dz, residual=residual, dx=missing, dr=missing if residual is not None else None)
        self._layer(layer, moments=moments, means=means / scale)
        self.call.means_scale = scale
        self._run("abn_gradient")
        return self._read("dx"), self._read("dr") if residual is not None else None

    def _samples(self, **arrays: Array | None) -> None:
        self.tensors = {}
        for name in POINTERS:
            setattr(self.call, name, None)
        for i, (name, array) in enumerate(arrays.items()):
            if array is not None:
                lead = self.geometry.leads[i % len(self.geometry.leads)]
                stored = array.transpose(0, 2, 1) if self.geometry.interleaved else array
                values = torch.from_numpy(np.ascontiguousarray(stored)).to(self.geometry.dtype)
                self._store(name, values, lead)

    def _layer(self, layer: Layer, **per_channel: Array) -> None:
        self.call.activation, self.call.slope = ACTIVATIONS.index(layer.activation), layer.slope
        self.call.eps = layer.eps
        for name, values in (per_channel | {"gamma": layer.gamma, "beta": layer.beta}).items():
            self._constant(name, torch.from_numpy(values))

    def _constant(self, name: str, values: torch.Tensor) -> None:
        self._store(name, values.to(accumulate_type(self.geometry.dtype)), 0)

    def _store(self, name: str, values: torch.Tensor, lead: int) -> None:
        self.tensors[name] = place(values, lead)
        setattr(self.call, name, self.tensors[name].data_ptr())

    def _run(self, function: str) -> None:
        self.kernels.call("abn_plan", ctypes.byref(self.call))
        self.kernels.call(function, ctypes.byref(self.call))

    def _reduce(self, function: str) -> Array:
        self.kernels.call("abn_plan", ctypes.byref(self.call))
        self._constant("workspace", torch.full((self.call.workspace_size,), torch.nan))
        self._constant("result", torch.full((2, self.call.channels), torch.nan))
        self.kernels.call(function, ctypes.byref(self.call))
        return self.tensors["result"].double().numpy().reshape(2, -1)

    def _read(self, name: str) -> NDArray[np.float64]:
        n, c, s = self.shape
        flat = self.tensors[name].double().numpy()
        return flat.reshape(n, s, c).transpose(0, 2, 1) if self.geometry.interleaved else flat.reshape(self.shape)
