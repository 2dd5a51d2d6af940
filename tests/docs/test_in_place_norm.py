"""The examples of docs/in-place-norm.md run, one after the other, as a reader would type them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seamseg.modules.abn import ABN, InPlaceABN
from seamseg.runtime.allocator import SWITCH

PAGE = Path(__file__).resolve().parents[2] / "docs" / "in-place-norm.md"


def examples() -> list[tuple[int, str]]:
    """Line and code of every block."""
    text = PAGE.read_text()
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: match.start(1)].count("\n"), match[1]) for match in found]


@pytest.fixture(scope="module")
def ran() -> dict[str, Any]:
    """What the examples define."""
    names: dict[str, Any] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for line, code in examples():
            exec(compile("\n" * line + code, PAGE, "exec"), names)  # the empty lines make errors name the page's own
    return names


def test_every_example_runs(ran: dict[str, Any]) -> None:
    assert len(examples()) == 8
    assert ran["z"].shape == (2, 64, 32, 32)
    assert ran["convolution"].bias is not None


def test_the_chain_keeps_half(ran: dict[str, Any]) -> None:
    assert 0.49 < ran["ours"] / ran["batchnorm"] < 0.52


def test_the_loop_converts_a_network(ran: dict[str, Any]) -> None:
    network = ran["network"]
    assert [type(layer) for layer in network] == 2 * [nn.Conv2d, InPlaceABN, nn.Identity]
    assert network[1].scale == "signed"
    assert not any(isinstance(layer, ABN) for layer in ran["folded"].modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_the_table_of_bounds_is_that_of_the_code(dtype: torch.dtype) -> None:
    name = str(dtype).removeprefix("torch.")
    (row,) = re.findall(rf"^\| {name} \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    numbers = [float(number) for number in re.findall(r"\d[\d.]*(?:e-\d+)?", row)]
    alone, beside_ten, with_residual, last = numbers
    norm, residual = InPlaceABN(1), torch.full((1, 1, 2), 10.0)
    if dtype == torch.float32:
        norm.eps = 1e-12
        assert (with_residual, last) == (alone, pytest.approx(1000 * alone))
        with_residual *= 10
    for bound, beta, other in ((alone, 1.0, None), (beside_ten, 10.0, None), (with_residual, 1.0, residual)):
        for gamma, accurate in ((0.9 * bound, False), (1.1 * bound, True)):
            with torch.no_grad():
                norm.weight.fill_(gamma - norm.eps)
                norm.bias.fill_(beta)
            assert norm.inversion.is_accurate(norm, dtype, other) is accurate


def test_the_variables_are_those_of_the_code() -> None:
    root = PAGE.parents[1]
    sources = [*root.glob("csrc/**/*.cpp"), root / "setup.py", root / "seamseg/runtime/allocator.py"]
    code = "".join(path.read_text() for path in sources)
    variables = set(re.findall(r"SEAMSEG_\w+", PAGE.read_text()))
    assert SWITCH in variables
    assert [name for name in variables if f'"{name}"' not in code] == []
