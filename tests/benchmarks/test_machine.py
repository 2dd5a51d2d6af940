"""New processes of benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from benchmarks.machine import in_forked_process, in_fresh_process


def test_new_processes_do_not_inherit_settings() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert in_fresh_process(torch.get_default_dtype) == torch.float32
        assert [in_forked_process(torch.get_default_dtype) for _ in range(2)] == 2 * [torch.float32]
    finally:
        torch.set_default_dtype(torch.float32)


def test_in_fresh_process_raises_the_errors_of_the_process() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        in_fresh_process(Path.read_text, Path("/nowhere"))
    with pytest.raises(SystemExit, match="the reason"):
        in_fresh_process(sys.exit, "the reason")
