"""CPU kernels for narrower instruction sets than the one that all other tests run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from seamseg.ops import native

CAPABILITIES = ["baseline", "avx2", "avx512", "avx512_bf16"]
CHECK = """
import torch
from seamseg.ops import native
from support import abn_cases, cross_entropy_cases, fusion_cases, roi_align_cases
torch.set_num_threads(1)
abn_cases.check_all()
cross_entropy_cases.check_all()
fusion_cases.check_all()
roi_align_cases.check_all()
print(native.cpu_capability())
"""


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_kernels_of_a_narrower_instruction_set_equal_the_oracles(capability: str) -> None:
    if capability == native.cpu_capability():
        return
    environment = os.environ | {"SEAMSEG_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    run = subprocess.run(
        [sys.executable, "-c", CHECK], env=environment, check=False, text=True, capture_output=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    used = run.stdout.strip()
    if used != capability:
        assert CAPABILITIES.index(used) < CAPABILITIES.index(capability)
        pytest.skip(f"this machine has no {capability}; its widest instruction set is {used}")
