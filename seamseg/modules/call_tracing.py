"""Calls of layers in a network, traced with ``torch.fx``, and modules without some of these calls."""

from __future__ import annotations

import copy
import operator
from textwrap import shorten
from types import CodeType, FunctionType
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

_WAYS_IN = frozenset(("children", "modules", "named_children", "named_modules", "get_submodule", "_modules"))


class InPlaceProxy(fx.Proxy):
    """Proxy that records ``x += y`` as such; the proxies of torch record ``x + y``."""


def _record(name: str) -> Any:
    function = getattr(operator, name)

    def method(self: fx.Proxy, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for _name in ("iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior", "ixor"):
    setattr(InPlaceProxy, f"__{_name}__", _record(_name))


class CallTracer(fx.Tracer):
    """Tracer that records the calls of torch's layers and of norms at any depth, or those of all direct children."""

    def __init__(self, only_children: bool = False) -> None:
        super().__init__()
        self.only_children = only_children

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether the calls that ``m`` makes are not recorded."""
        leaf: bool = super().is_leaf_module(m, module_qualified_name)
        return self.only_children or leaf or isinstance(m, _BatchNorm)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Return a proxy for the value of a node."""
        return InPlaceProxy(node, self)


def trace(module: nn.Module, only_children: bool = False) -> list[fx.Graph]:
    """Trace a module in training and in evaluation mode; the modes of its layers stay as they are.

    Raises:
        Exception: Whatever ``forward`` raises when it is called with proxies, for example if it branches on values; a
            TypeError if it stores tensors in attributes, since their readers are unknown.
    """
    if "forward" in vars(module):
        raise TypeError("it is an attribute of the object, not a method")
    modes = {layer: layer.training for layer in module.modules()}
    attributes = {layer: _attributes(layer) for layer in modes}
    graphs, stored = [], []
    try:
        for mode in (True, False):
            for layer in modes:
                layer.training = mode
            graphs.append(CallTracer(only_children).trace(module))
    finally:
        for layer, mode in modes.items():
            layer.training = mode
            stored += _drop_proxies(layer, attributes[layer])
    if stored:
        raise TypeError(f"it stores tensors in {', '.join(dict.fromkeys(stored))}")
    return graphs


def _attributes(layer: nn.Module) -> dict[str, Any]:
    """Return the attributes of a layer, with copies of containers."""
    return {key: copy.copy(value) if isinstance(value, (list, dict)) else value for key, value in vars(layer).items()}


def _drop_proxies(layer: nn.Module, before: dict[str, Any]) -> list[str]:
    """Restore the attributes in which a traced ``forward`` has stored proxies, and return their names."""
    names = []
    for key, value in list(vars(layer).items()):
        values = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
        if any(isinstance(element, fx.Proxy) for element in values):
            names.append(key)
            old = before.get(key)
            if isinstance(value, list) and isinstance(old, list):
                value[:] = old  # others may refer to the same list
            elif key in before:
                vars(layer)[key] = old
            else:
                del vars(layer)[key]
    return names


class TracedParts:
    """The largest parts of a network that can be traced: the network itself, or parts of it.

    Attributes:
        parts: Parts and their graphs.
        exposed: Layers that code which cannot be traced may call, each with a sentence that says so.
    """

    def __init__(self, network: nn.Module) -> None:
        self.parts: list[tuple[nn.Module, list[fx.Graph]]] = []
        self.exposed: dict[nn.Module, str] = {}
        self._search(network, type(network).__name__)

    def _search(self, module: nn.Module, name: str) -> None:
        if not any(isinstance(layer, _BatchNorm) for layer in module.modules()):
            return
        try:
            self.parts.append((module, trace(module)))
        except Exception as error:  # the forward of a user can raise anything
            reason = f"The forward of {name} cannot be traced: {shorten(str(error), 150)}."
            self._search_children(module, module, name, reason.replace("..", "."))

    def _search_children(self, module: nn.Module, caller: nn.Module, name: str, reason: str) -> None:
        """Search the children of ``module``, which ``caller`` can call: ``caller`` itself or a list of layers in it."""
        for key, child in module.named_children():
            self.exposed[child] = reason
            if isinstance(child, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
                self._search_children(child, caller, f"{name}.{key}", reason)
            elif _names_layers_of(type(caller), child):
                self.exposed.update(dict.fromkeys(child.modules(), reason))
            else:
                self._search(child, f"{name}.{key}")


def _names_layers_of(kind: type[nn.Module], child: nn.Module) -> bool:
    """Return whether the forward of a class may call layers inside of a child, instead of the child as a whole."""
    layers = {name for name, _ in child.named_children()} | _WAYS_IN
    seen: set[str] = set()
    functions: list[Any] = [kind.forward]
    while functions:
        function = functions.pop()
        function = getattr(function, "fget", None) or function  # a property
        if isinstance(function, FunctionType) and not function.__module__.startswith("torch."):
            new = _used_names(function.__code__) - seen
            seen |= new
            functions += [getattr(kind, name, None) or function.__globals__.get(name) for name in new]
    return bool(layers & seen)


def _used_names(code: CodeType) -> set[str]:
    """Return the names of attributes and globals in a function and in the functions inside of it."""
    inner = [_used_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


def without_calls(module: nn.Module, graph: fx.Graph, calls: list[fx.Node]) -> fx.GraphModule:
    """Return a module that computes the graph of ``module`` except for some calls, which pass their input on.

    It has the layers, parameters and simple attributes of ``module``.

    Args:
        module: Module that was traced.
        graph: Its graph; changed in place.
        calls: Nodes of the graph to remove.
    """
    for call in calls:
        call.replace_all_uses_with(call.all_input_nodes[0])
        graph.erase_node(call)
    result = fx.GraphModule(module, graph, type(module).__name__)
    for key, value in vars(module).items():
        if not key.startswith("_") and not hasattr(result, key):
            setattr(result, key, value)
    result.training = module.training
    return result
