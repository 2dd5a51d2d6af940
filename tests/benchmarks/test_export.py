"""Rows of the benchmark of exported networks."""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

import numpy as np
import pytest

from benchmarks import export
from benchmarks.export import measured_rows


def test_rows_compare_all_runtimes_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*given: Any) -> Any:
        return lambda images: {"semantics": np.zeros(images.shape[:3], np.uint8)}

    monkeypatch.setattr(export, "with_onnxruntime", run)
    monkeypatch.setattr(export, "with_openvino", run)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else found(name))
    rows = {row.slug: row for row in measured_rows(1, argparse.Namespace(quick=True, model=None))}
    assert list(rows) == [
        *("export-onnxruntime-float32", "export-onnxruntime-float32-pixels", "export-openvino-float32"),
        *("export-onnxruntime-int8", "export-onnxruntime-int8-pixels", "export-openvino-int8"),
        "export-size",
    ]
    assert rows["export-onnxruntime-int8"].ratio > 0
    assert 0 <= rows["export-onnxruntime-int8-pixels"].ours <= 100
    assert "not installed" in rows["export-openvino-int8"].measure
    assert rows["export-openvino-int8"].ours is None
    assert rows["export-size"].ratio < 0.6
