"""Segments of a traced network, which have one input and one output each and can be recomputed."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seamseg.modules.abn import ABN
from seamseg.ops.recomputation import is_recomputing


@dataclass(frozen=True)
class Segment:
    """Part of a traced network.

    Attributes:
        graph: Nodes, which refer to modules of the network by name.
        is_output: Whether the result is an output of the network.
    """

    graph: fx.Graph
    is_output: bool

    def run(self, network: nn.Module, x: Tensor) -> Tensor:
        """Compute the segment; a recomputation leaves PyTorch's BatchNorms as they are."""
        interpreter = fx.Interpreter(network, graph=self.graph)
        interpreter.extra_traceback = False  # the exception that ends a recomputation is no error
        names = [node.target for node in self.graph.nodes if node.op == "call_module"]
        with _without_updates([network.get_submodule(name) for name in names]):
            result: Tensor = interpreter.run(x)
        return result


def split(network: fx.GraphModule) -> list[Segment]:
    """Return the segments of a network with one input and a dict of outputs, each of which everything later reads.

    Segments end at the outputs, and where branches begin, such as in front of a residual block. They do not end in
    front of an operation in place, which would overwrite the input of the next segment and let its recomputation start
    from wrong values; so no input has to be copied.
    """
    *nodes, output = network.graph.nodes
    outputs = set(output.args[0].values())
    waists = set(bottlenecks(network.graph))
    segments: list[Segment] = []
    source, inner = nodes[0], []
    for node, following in zip(nodes[1:], [*nodes[2:], None], strict=True):
        inner.append(node)
        begins_branches = node.op != "get_attr" and node in waists and following not in waists
        if node in outputs or (begins_branches and not any(_is_in_place(user, network) for user in node.users)):
            segments.append(Segment(_graph(inner, source, node), node in outputs))
            source, inner = node, []
    return segments


def bottlenecks(graph: fx.Graph) -> list[fx.Node]:
    """Return, in order, the nodes that everything later is computed from."""
    position = {node: index for index, node in enumerate(graph.nodes)}
    found: list[fx.Node] = []
    last_use = -1  # of all earlier values
    for node, index in position.items():
        if last_use <= index:
            found.append(node)
        if node.op != "get_attr":
            uses = [position[user] for user in node.users if user.op != "output"]
            last_use = max([last_use, *uses])
    return found


def _is_in_place(node: fx.Node, network: nn.Module) -> bool:
    """Return whether a node overwrites an argument, as far as its name or settings show it."""
    if node.op == "call_module":
        return bool(getattr(network.get_submodule(str(node.target)), "inplace", False))
    name: str = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    in_place_name = name.endswith("_") and not name.endswith("__")
    return in_place_name or bool(node.kwargs.get("inplace")) or node.target in (operator.iadd, operator.imul)


def _graph(nodes: Sequence[fx.Node], source: fx.Node, end: fx.Node) -> fx.Graph:
    """Return a graph of the nodes that reads the value of ``source`` and returns that of ``end``."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {source: graph.placeholder("x")}

    def copy_of(node: fx.Node) -> fx.Node:
        if node not in copies:  # a parameter that an earlier segment has read, too
            copies[node] = graph.node_copy(node, copy_of)
        return copies[node]

    for node in nodes:
        copy_of(node)
    graph.output(copies[end])
    return graph


@contextlib.contextmanager
def _without_updates(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Keep the running statistics of all BatchNorms in the modules inside the context, if it is a recomputation."""
    children = [child for module in modules for child in module.modules()] if is_recomputing() else []
    norms = [child for child in children if isinstance(child, _BatchNorm) and not isinstance(child, ABN)]
    settings: list[Any] = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, num_batches) in zip(norms, settings, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, num_batches
