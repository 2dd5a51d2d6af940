from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.machine import describe, in_fresh_process, versions


def test_a_fresh_process_is_another_one() -> None:
    before = os.getpid()
    assert in_fresh_process(os.getpid) != before
    assert in_fresh_process(pow, 2, 5) == 32


def test_settings_of_this_process_do_not_reach_it() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert in_fresh_process(torch.get_default_dtype) == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_its_errors_arrive() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        in_fresh_process(Path.read_text, Path("/nowhere"))
    with pytest.raises(SystemExit, match="the reason"):
        in_fresh_process(sys.exit, "the reason")


def test_the_machine_is_one_line() -> None:
    text = describe(2)
    assert f"{os.cpu_count()} cores" in text
    assert text.endswith("2 threads")
    assert "\n" not in text
    assert re.search(r"\d+ GiB", text)


def test_versions_name_what_is_missing() -> None:
    found = versions("torch", "no-such-package-here")
    assert found["torch"] == torch.__version__.split("+")[0]
    assert found["no-such-package-here"] == "not installed"
    assert found["python"].startswith("3.")
