"""The CUDA kernels of fusion on the CPU, called like their operators."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from native.harness import TYPES, Operators
from torch import Tensor

_NUM_PLACES = 257  # all classes, and void


class _ClassMap(ctypes.Structure):
    """Arguments of a kernel, as in cuda_host/fusion.cpp, like the classes below."""

    _fields_ = [
        ("type", ctypes.c_int64),
        ("values", ctypes.c_void_p),
        *[(name, ctypes.c_int64) for name in ("classes", "height", "width")],
        *[(name, ctypes.c_double) for name in ("row_step", "column_step")],
        *[(name, ctypes.c_int64) for name in ("out_height", "out_width")],
        ("out", ctypes.c_void_p),
    ]


class _Paste(ctypes.Structure):
    _fields_ = [
        ("cells", ctypes.c_void_p),
        ("num", ctypes.c_int64),
        ("box", ctypes.c_double * 4),
        ("window", ctypes.c_int64 * 4),
        ("out", ctypes.c_void_p),
    ]


class _Fusion(ctypes.Structure):
    _fields_ = [
        ("cells", ctypes.c_void_p),
        *[(name, ctypes.c_int64) for name in ("objects", "size")],
        *[(name, ctypes.c_void_p) for name in ("boxes", "windows")],
        *[(name, ctypes.c_int64) for name in ("height", "width")],
        ("semantics", ctypes.c_void_p),
        *[(name, ctypes.c_double) for name in ("threshold", "min_area")],
        *[(name, ctypes.c_void_p) for name in ("owners", "object_areas", "free_areas", "object_ids", "class_ids")],
        *[(name, ctypes.c_void_p) for name in ("ids", "kept", "areas")],
    ]


class FusionKernels(Operators):
    """Class maps, pasted masks and their fusion."""

    def upsample_argmax(self, logits: Tensor, row_step: float, column_step: float, height: int, width: int) -> Tensor:
        logits, out = logits.contiguous(), torch.full((height, width), -7)
        sizes, steps = logits.shape, (row_step, column_step)
        call = _ClassMap(TYPES.index(logits.dtype), logits.data_ptr(), *sizes, *steps, height, width, out.data_ptr())
        self.kernels.call("fusion_upsample_argmax", ctypes.byref(call))
        return out

    def paste_mask(self, probabilities: Tensor, *place: Any) -> Tensor:
        probabilities, box, window = probabilities.contiguous(), place[:4], place[4:]
        out = torch.empty(window[2:], dtype=torch.bool)
        arrays = (ctypes.c_double * 4)(*box), (ctypes.c_int64 * 4)(*window)
        call = _Paste(probabilities.data_ptr(), len(probabilities), *arrays, out.data_ptr())
        self.kernels.call("fusion_paste", ctypes.byref(call))
        return out

    def panoptic_fusion(
        self, masks: Tensor, boxes: Tensor, windows: Tensor, semantics: Tensor, threshold: float, min_area: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        num, masks, semantics = len(masks), masks.contiguous(), semantics.contiguous()
        zeros = [
            torch.zeros(semantics.shape, dtype=torch.int32),
            torch.zeros(num, 2, dtype=torch.int64),
            torch.zeros(_NUM_PLACES, dtype=torch.int64),
        ]
        scratch = [torch.full((num,), -7), torch.full((_NUM_PLACES,), -7)]
        results = torch.full(semantics.shape, -7), torch.empty(num, dtype=torch.bool), torch.full((_NUM_PLACES,), -7)
        inputs = masks.data_ptr(), num, masks.shape[-1], boxes.data_ptr(), windows.data_ptr(), *semantics.shape
        memory = (tensor.data_ptr() for tensor in (*zeros, *scratch, *results))
        call = _Fusion(*inputs, semantics.data_ptr(), threshold, min_area, *memory)
        self.kernels.call("fusion_fuse", ctypes.byref(call))
        return results
