"""Pairs of a BatchNorm and an activation in the graph of a network, and the reasons against replacing them."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AvgPoolNd, _MaxPoolNd

from seamseg.modules.abn import ABN
from seamseg.modules.batchnorm import FrozenBatchNorm

PlainNorm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, FrozenBatchNorm)

ActivationName = Literal["leaky_relu", "elu", "relu"]

# Layers and functions that return new memory and do not need their output for the gradient.
_SAFE_PRODUCERS = (_ConvNd, nn.Linear, _AvgPoolNd, _AdaptiveAvgPoolNd, _MaxPoolNd)
_SAFE_FUNCTIONS = (
    *(functional.conv1d, functional.conv2d, functional.conv3d, functional.linear),
    *(functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d),
    *(operator.add, operator.sub, torch.add, torch.sub, torch.cat, torch.concat, torch.concatenate),
)
_ACTIVATIONS: dict[object, ActivationName] = {
    **dict.fromkeys((functional.leaky_relu, functional.leaky_relu_), "leaky_relu"),
    **dict.fromkeys((functional.elu, functional.elu_), "elu"),
    **dict.fromkeys((functional.relu, functional.relu_, torch.relu, torch.relu_, "relu", "relu_"), "relu"),
}
_DEFAULT_SLOPES: dict[ActivationName, float] = {"leaky_relu": 0.01, "elu": 1.0, "relu": 0.0}


_IN_PLACE = ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior", "ixor", "setitem")


@dataclass(frozen=True)
class NormPair:
    """A call of a BatchNorm whose output only an activation reads.

    Attributes:
        activation: Name of the activation.
        slope: Negative slope of a leaky ReLU, α of an ELU; 0 for a ReLU.
        call: Node of the activation.
        owner: Name of the module whose ``forward`` calls the activation, relative to the traced module.
    """

    activation: ActivationName
    slope: float
    call: fx.Node
    owner: str


def norm_obstacle(norm: _BatchNorm) -> str | None:
    """Return why no norm of this project computes the same as a BatchNorm, wherever it is called; None if one does."""
    if type(norm) not in PlainNorm:
        return f"{type(norm).__name__} is not one of PyTorch's plain BatchNorms and may compute something else."
    if norm.running_mean is None:
        return "It has no running statistics, so it normalizes by the batch in evaluation, which in-place norms do not."
    if not norm.eps > 0:
        return f"Its eps is {norm.eps:g}, but an in-place norm needs one greater than 0."
    if has_hooks(norm):
        return "It has hooks, which would be lost."
    if norm.affine and not norm.weight.is_meta and (small := int((norm.weight.abs() < norm.eps).sum())):
        return (
            f"{small} of its weights are closer to 0 than its eps, {norm.eps:g}, and in-place norms divide by weights."
        )
    return None


def find_pair(node: fx.Node, root: nn.Module) -> NormPair | str:
    """Look at what comes before and after a call of a BatchNorm.

    Args:
        node: Node that calls the norm.
        root: Module that was traced.

    Returns:
        The pair if a norm may overwrite the input and include the activation, or the reason against it.
    """
    if obstacle := _input_obstacle(node, root):
        return obstacle
    call = _only_reader(node, root)
    if call is None:
        return "Its output is read by several layers or by none, not only by an activation."
    name, slope = _activation(call, root)
    if name is None:
        return f"Its output goes to {_describe(call, root)} and not to an activation."
    if name != "relu" and not slope > 0:
        return f"Its activation {name} has the slope {slope:g}, so it has no inverse."
    if hooked := _hooked_between(node, call, root):
        return f"{hooked} has hooks, which read the output of the norm."
    layer = called_layer(call, root)
    if layer is not None and has_hooks(layer):
        return f"Its activation {call.target} has hooks, which would be lost."
    if writer := _writer(call, root):
        return (
            f"The output of its activation is overwritten by {_describe(writer, root)}, but an in-place norm needs it."
        )
    return NormPair(name, slope, call, _owner(call))


def activations_after(graph: fx.Graph, root: nn.Module, norm: nn.Module) -> list[fx.Node]:
    """Return the activations that read the outputs of a norm in a graph; none if a call has another reader."""
    found = []
    for node in graph.nodes:
        if called_layer(node, root) is norm:
            reader = _only_reader(node, root)
            if reader is None or _activation(reader, root)[0] is None:
                return []
            found.append(reader)
    return found


def called_layer(node: fx.Node, root: nn.Module) -> nn.Module | None:
    """Return the layer that a node calls; None for other nodes."""
    return root.get_submodule(str(node.target)) if node.op == "call_module" else None


def has_hooks(module: nn.Module) -> bool:
    """Return whether forward or backward hooks are registered on a module."""
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))


def _input_obstacle(node: fx.Node, root: nn.Module) -> str | None:
    """Return why the input of a norm must not be overwritten."""
    if node.kwargs:
        return "It is called with a keyword, which has another name in an in-place norm."
    source = node.args[0]
    while isinstance(source, fx.Node):
        if len(source.users) > 1:
            return f"Its input, the output of {_describe(source, root)}, is also read by something else."
        if not _is_identity(source, root):
            break
        source = source.args[0]
    if not isinstance(source, fx.Node) or source.op in ("placeholder", "get_attr"):
        return "Its input is an argument of the traced part, which something else may need."
    if hooked := _hooked_between(source, node, root):
        return f"{hooked} has hooks, which read the input of the norm."
    layer = called_layer(source, root)
    if layer is not None:
        if isinstance(layer, _SAFE_PRODUCERS):
            reads = layer._forward_hooks or layer._backward_hooks
            return f"{source.target}, which computes its input, has hooks." if reads else None
    elif source.op == "call_function" and source.target in _SAFE_FUNCTIONS and "out" not in source.kwargs:
        return None
    return f"Its input comes from {_describe(source, root)}, which is not known to allow overwriting its output."


def _only_reader(node: fx.Node, root: nn.Module) -> fx.Node | None:
    """Return the only reader of an output, behind layers that pass it on; None if there are several or none."""
    while len(node.users) == 1:
        (node,) = node.users
        if not _is_identity(node, root):
            return node
    return None


def _is_identity(node: fx.Node, root: nn.Module) -> bool:
    return type(called_layer(node, root)) is nn.Identity


def _activation(node: fx.Node, root: nn.Module) -> tuple[ActivationName, float] | tuple[None, float]:
    """Return the activation that a node computes, and its slope."""
    layer = called_layer(node, root)
    if layer is not None:
        if type(layer) is nn.LeakyReLU:
            return "leaky_relu", layer.negative_slope
        if type(layer) is nn.ELU:
            return "elu", layer.alpha
        return ("relu", 0.0) if type(layer) is nn.ReLU else (None, 0.0)
    name = _ACTIVATIONS.get(node.target)
    if name is None or (node.op == "call_method") != isinstance(node.target, str):
        return None, 0.0
    key = {"leaky_relu": "negative_slope", "elu": "alpha", "relu": ""}[name]
    slope = node.kwargs.get(key, node.args[1] if name != "relu" and len(node.args) > 1 else _DEFAULT_SLOPES[name])
    return name, slope if isinstance(slope, (int, float)) else 0.0


def _writer(node: fx.Node, root: nn.Module) -> fx.Node | None:
    """Return a node that overwrites the output of ``node`` or, possibly, a view of it."""
    for user in node.users:
        layer = called_layer(user, root)
        if user.op == "output" or isinstance(layer, (*_SAFE_PRODUCERS, *PlainNorm)):
            continue
        if layer is not None:
            writes = getattr(layer, "inplace", False) is True or isinstance(layer, ABN)
        else:
            name = _describe(user, root)
            overwrites_first = name.endswith("_") or name in _IN_PLACE
            is_first = bool(user.args) and user.args[0] is node
            writes = (overwrites_first and is_first) or user.kwargs.get("inplace") is True or "out" in user.kwargs
        if writes:
            return user
        if layer is None and user.target in _SAFE_FUNCTIONS:
            continue
        if writer := _writer(user, root):
            return writer
    return None


def _hooked_between(node: fx.Node, reader: fx.Node, root: nn.Module) -> str | None:
    """Return the name of a module with hooks that a value leaves on its way to a reader."""
    left = _stack(node)[: -1 if node.op == "call_module" else None]
    names = [name for name in left if name not in _stack(reader)]
    return next((name for name in names if has_hooks(root.get_submodule(name))), None)


def _stack(node: fx.Node) -> list[str]:
    """Return the names of the modules in whose ``forward`` a call lies, and of the called layer, from the outside."""
    return [name for name, _ in node.meta.get("nn_module_stack", {}).values()]


def _owner(node: fx.Node) -> str:
    """Return the name of the module whose ``forward`` contains a call; empty for the traced module itself."""
    names = _stack(node)
    if node.op == "call_module" and names and names[-1] == node.target:
        names.pop()
    return names[-1] if names else ""


def _describe(node: fx.Node, root: nn.Module) -> str:
    if node.op == "call_module":
        return f"{node.target} ({type(called_layer(node, root)).__name__})"
    if node.op == "output":
        return "the result"
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
