"""The examples of docs/in-place-norm.md run in order, and its tables match the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.memory import saved_bytes
from seamseg.builders.body import build_body
from seamseg.config.network import BodySettings
from seamseg.modules.abn import ABN, InPlaceABN
from seamseg.modules.norm import NormFactory
from seamseg.runtime.allocator import SWITCH

PAGE = Path(__file__).resolve().parents[2] / "docs" / "in-place-norm.md"


def examples() -> list[tuple[int, str]]:
    """Line number and code of every Python block."""
    text = PAGE.read_text()
    matches = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: match.start(1)].count("\n"), match[1]) for match in matches]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Variables that the examples define."""
    defined: dict[str, Any] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for line, code in examples():
            exec(compile("\n" * line + code, PAGE, "exec"), defined)  # empty lines keep the page's line numbers
    return defined


def test_examples_of_the_page_run(names: dict[str, Any]) -> None:
    assert len(examples()) == 10
    assert names["z"].shape == (2, 64, 32, 32)
    assert names["convolution"].bias is not None


def test_chain_of_in_place_norms_keeps_half_the_bytes(names: dict[str, Any]) -> None:
    assert 0.49 < names["ours"] / names["batchnorm"] < 0.52


def test_unet_of_the_page_is_converted_and_learns(names: dict[str, Any]) -> None:
    assert not any(isinstance(layer, (nn.BatchNorm2d, nn.ReLU)) for layer in names["unet"].modules())
    assert all(name.split(".")[1] in ("1", "4") for name in names["report"].converted)
    assert names["losses_after"][-1] < 0.5 * names["losses"][0]
    assert not any(isinstance(layer, ABN) for layer in names["folded"].modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_table_of_bounds_matches_the_code(dtype: torch.dtype) -> None:
    name = str(dtype).removeprefix("torch.")
    (row,) = re.findall(rf"^\| {name} \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    numbers = [float(number) for number in re.findall(r"\d[\d.]*(?:e-\d+)?", row)]
    small_beta, beta_ten, with_residual, last = numbers
    norm, residual = InPlaceABN(1), torch.full((1, 1, 2), 10.0)
    if dtype == torch.float32:
        norm.eps = 1e-12
        assert (with_residual, last) == (small_beta, pytest.approx(1000 * small_beta))
        with_residual *= 10
    for bound, beta, addend in ((small_beta, 1.0, None), (beta_ten, 10.0, None), (with_residual, 1.0, residual)):
        for gamma, accurate in ((0.9 * bound, False), (1.1 * bound, True)):
            with torch.no_grad():
                norm.weight.fill_(gamma - norm.eps)
                norm.bias.fill_(beta)
            assert norm.inversion.is_accurate(norm, dtype, addend) is accurate


def test_environment_variables_of_the_page_are_read_by_the_code() -> None:
    root = PAGE.parents[1]
    sources = [*root.glob("csrc/**/*.cpp"), root / "setup.py", root / "seamseg/runtime/allocator.py"]
    code = "".join(path.read_text() for path in sources)
    variables = set(re.findall(r"SEAMSEG_\w+", PAGE.read_text()))
    assert SWITCH in variables
    assert [name for name in variables if f'"{name}"' not in code] == []


BODY_NAMES = {
    "DenseNet-BC-100": "densenet_bc100",
    "DenseNet-121": "densenet121",
    "DenseNet-264": "densenet264",
    "ResNet-50": "resnet50",
    "ResNeXt-50": "resnext50",
    "WideResNet-38": "wide_resnet38",
}
ROW = re.compile(r"\| (\S+?)(?:, (\d+)×\d+ images|, which is not in place)? \| (0\.\d\d) \| (0\.\d\d) \|")


@pytest.mark.slow
def test_bytes_kept_with_recomputation_equal_those_of_the_page() -> None:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert len(rows) == 7
    for name, side, of_none, of_batchnorm in rows:
        settings = BodySettings(name=BODY_NAMES.get(name, name))
        x = torch.randn(2, 3, int(side or 128), int(side or 128))
        forms = (("bn", "checkpoint"), ("bn", "none"), ("plain", "none"))
        recomputed, none, batchnorm = (
            saved_bytes(build_body(settings, NormFactory(norm), memory), x) for norm, memory in forms
        )
        assert (f"{recomputed / none:.2f}", f"{recomputed / batchnorm:.2f}") == (of_none, of_batchnorm), name
