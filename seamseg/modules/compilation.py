"""Parts of a network that ``torch.compile`` compiles once for images of all sizes.

A compiled part is one graph: body and feature pyramid, each head, and each branch of the RoI head. Between the parts,
the network runs as usual, because the number of proposals, for example, depends on values.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from seamseg.errors import SettingsError
from seamseg.modules.abn import InPlaceABN

Method = TypeVar("Method", bound=Callable[..., Any])

MAX_FORMS = 64
"""Maximum number of compiled forms of a part in a process: training, evaluation, single images, other networks."""


class Compilable(nn.Module):
    """Layer with methods that can run compiled.

    Attributes:
        is_compiled: Whether methods marked with :func:`compilable` run compiled. Copies of the layer keep this
            attribute, and use their own weights.
    """

    is_compiled: bool = False


def compilable(method: Method) -> Method:
    """Let a method of a :class:`Compilable` run compiled, as one graph, if the attribute ``is_compiled`` is True."""

    @wraps(method)
    def run(layer: Compilable, *inputs: Any) -> Any:
        if not layer.is_compiled or torch.compiler.is_compiling():
            return method(layer, *inputs)
        return _run_compiled(method, layer, *map(_channels_last, inputs))

    return cast(Method, run)


def compile_network(network: nn.Module, device: torch.device) -> None:
    """Let all parts of a network run compiled; the first call of each takes many seconds.

    State dict and results stay the same, the latter up to rounding.

    Args:
        network: Network to change in place.
        device: Device of the network.

    Raises:
        SeamsegError: The machine lacks what the compiler needs.
    """
    check_compiler(device)
    for module in network.modules():
        if isinstance(module, Compilable):
            module.is_compiled = True
        if isinstance(module, InPlaceABN):
            module.keeps_half_input = True


def check_compiler(device: torch.device) -> None:
    """Check that the machine has what ``torch.compile`` needs for a device.

    Raises:
        SeamsegError: It does not; the message says what to install.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise SettingsError(
            f"torch.compile needs a C++ compiler, and {compiler!r} is not on the PATH: install one (on Debian or "
            "Ubuntu: apt-get install g++), name yours in the variable CXX, or do not compile"
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise SettingsError(
            f"torch.compile needs the headers of Python, and {header} is missing: install them (on Debian or Ubuntu: "
            "apt-get install python3-dev), or do not compile"
        )
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise SettingsError(
            "torch.compile needs the package triton for a GPU, and it is not installed: pip install triton, or do not "
            "compile"
        )


def _run_compiled(method: Callable[..., Any], *arguments: Any) -> Any:
    from torch._dynamo import config  # imported late, because it takes seconds
    from torch.fx.experimental import _config as shapes

    # Dynamic floats would make inputs of the constants of each norm, such as ε. DDP's optimizer cannot divide graphs
    # with in-place norms. "Duck shapes" would take a height that equals a width, or a number of channels, for the same.
    fixed = config.patch(specialize_float=True, optimize_ddp=False, recompile_limit=MAX_FORMS)
    with fixed, shapes.patch(use_duck_shape=False):  # type: ignore[attr-defined]
        return _compiled(method)(*arguments)


def _channels_last(value: Any) -> Any:
    """Return maps in the memory format of compiled convolutions; anything else stays as it is."""
    if isinstance(value, (list, tuple)):
        return [_channels_last(one) for one in value]
    is_map = isinstance(value, Tensor) and value.ndim == 4
    return value.contiguous(memory_format=torch.channels_last) if is_map else value


@cache
def _compiled(method: Callable[..., Any]) -> Callable[..., Any]:
    # Without this option, each convolution fixes the strides of its gradient, and so does an input that the graph has
    # to convert: all sizes would then be compiled separately (torch 2.14).
    options: dict[str, Any] = {"force_layout_optimization": True}
    compiled: Callable[..., Any] = torch.compile(method, fullgraph=True, dynamic=True, options=options)
    return compiled
