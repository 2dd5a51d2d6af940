"""Program for an environment in which only the wheel of seamseg is installed: run the norm, train and predict.

python installed_wheel.py FOLDER
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import seamseg
from seamseg import cli

COMPILERS = ("c++", "g++", "gcc", "cc", "clang", "clang++", "nvcc")
TRAINING = (
    "data.shortest_side=64",
    "data.longest_side=128",
    "norm={name: bn}",
    "training.epochs=2",
    "training.log_every=1",
    "rpn.training.after_nms=20",
    "rpn.inference.after_nms=20",
)


def main(folder: Path) -> None:
    """Run everything in a folder, and print the versions."""
    assert [name for name in COMPILERS if shutil.which(name)] == []
    assert shutil.which("seamseg") == str(Path(sys.executable).with_name("seamseg"))
    check_norm()
    os.chdir(folder)
    seamseg_command("make-scenes", "scenes", "--train", "4", "--val", "2", "--size", "64x128")
    seamseg_command("train", "scenes_r18", "data.root=scenes", "--run-dir", "run", *TRAINING)
    seamseg_command("predict", "run", "scenes/images/val", "out")
    assert len(list(Path("out", "overlay").iterdir())) == 2
    seamseg_command("env")


def check_norm() -> None:
    """Compare output and gradients of the in-place norm with those of ordinary operators."""
    generator = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(2, 8, 5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    norm = seamseg.InPlaceABN(8, slope=0.1).double()
    expected, found = (evaluate(layer, x, gradient) for layer in (ordinary_norm, norm))
    torch.testing.assert_close(found, expected)


def ordinary_norm(x: Tensor) -> Tensor:
    """Normalize with batch statistics, γ = 1 + ε and β = 0, and apply the leaky ReLU."""
    weight = torch.full((x.shape[1],), 1 + 1e-5, dtype=x.dtype)
    return F.leaky_relu(F.batch_norm(x, None, None, weight, training=True), 0.1)


def evaluate(layer: object, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the output of a layer and the gradient of its input."""
    leaf = x.clone().requires_grad_()
    output = layer(leaf.clone())  # type: ignore[operator]
    output.backward(gradient)
    return output.detach(), leaf.grad


def seamseg_command(*arguments: str) -> None:
    """Run a subcommand in this process, which saves the import of torch."""
    print("seamseg", *arguments, flush=True)
    assert cli.main(list(arguments)) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
