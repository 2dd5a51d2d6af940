"""torchvision's classification networks as bodies."""

from __future__ import annotations

import difflib
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from seamseg.errors import SettingsError
from seamseg.modules.body import Body
from seamseg.modules.recomputation import can_checkpoint
from seamseg.modules.segments import Segment, bottlenecks, split

STRIDES = (4, 8, 16, 32)
PROBE_SIZE = (128, 160)
"""Height and width of the image whose maps are looked at; not square, so that channels are not mistaken for sides."""

_PLACE = "body.name=torchvision:"
_REMEDY = "choose a convolutional network such as torchvision:mobilenet_v2"


class TorchvisionBody(Body):
    """A network of ``torchvision.models`` that has maps at strides 4, 8, 16 and 32.

    The level of a stride is the last of its maps that everything later is computed from, so it lies between blocks and
    not inside a residual branch. What follows the last level, such as the classifier, is left out. State-dict names are
    torchvision's, and the network keeps its own norms.

    Args:
        name: Name in ``torchvision.models``, such as ``mobilenet_v2``.
        norms_frozen: Whether the norms keep their parameters and statistics in training.

    Raises:
        SeamsegError: torchvision has no such classification network, or it lacks one of the strides.
    """

    def __init__(self, name: str, norms_frozen: bool = False) -> None:
        super().__init__()
        names = models.list_models(module=models)
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean torchvision:{near[0]}?" if near else ""
            raise SettingsError(f"torchvision has no classification network called {name}{hint}")
        network = models.get_model(name, weights=None)
        levels = _levels(network, name)
        nodes = {node: str(stride) for stride, (node, _) in zip(STRIDES, levels, strict=True)}
        self.network: fx.GraphModule = create_feature_extractor(network, nodes, suppress_diff_warning=True)
        self.channels, self.strides = tuple(channels for _, channels in levels), STRIDES
        self.norms_frozen = False
        if norms_frozen:
            self.freeze_norms()

    def levels(self, images: Tensor) -> list[Tensor]:
        """Return the levels, fine to coarse."""
        if self.recompute != "all" or not can_checkpoint():
            return list(self.network(images).values())
        levels, x = [], images
        for segment in self._segments:
            x = self.run(partial(segment.run, self.network), x)
            if segment.is_output:
                levels.append(x)
        return levels

    @cached_property
    def _segments(self) -> list[Segment]:
        return split(self.network)

    def parts(self) -> nn.Module:
        """Return the network, whose names are torchvision's."""
        return self.network

    def freeze_norms(self) -> None:
        """Let the norms keep their parameters and statistics from now on."""
        self.norms_frozen = True
        for norm in self._norms():
            norm.requires_grad_(False)
            norm.eval()

    def train(self, mode: bool = True) -> TorchvisionBody:
        """Set the mode; frozen norms stay in evaluation mode."""
        super().train(mode)
        if self.norms_frozen:
            for norm in self._norms():
                norm.eval()
        return self

    def _norms(self) -> list[_BatchNorm]:
        return [module for module in self.network.modules() if isinstance(module, _BatchNorm)]


@torch.no_grad()
def _levels(network: nn.Module, name: str) -> list[tuple[str, int]]:
    """Return the node name and the channels of each level."""
    names = get_graph_node_names(network, suppress_diff_warning=True)[1]
    everything = create_feature_extractor(network, names, suppress_diff_warning=True).eval()
    recorder = _ShapeRecorder(everything)
    try:
        recorder.run(torch.zeros(1, 3, *PROBE_SIZE))
    except (RuntimeError, AssertionError, IndexError) as error:  # vision transformers require a fixed size
        raise SettingsError(f"{_PLACE}{name} does not take images of any size; {_REMEDY}") from error
    *_, output = everything.graph.nodes
    name_of = {node: name for name, node in output.args[0].items()}
    levels: dict[int, tuple[str, int]] = {}
    for node in bottlenecks(everything.graph):
        shape = recorder.shapes.get(node, ())
        for stride in STRIDES:
            if node in name_of and tuple(shape[2:]) == tuple(side // stride for side in PROBE_SIZE):
                levels[stride] = name_of[node], shape[1]
    if missing := [str(stride) for stride in STRIDES if stride not in levels]:
        raise SettingsError(f"{_PLACE}{name} has no maps at strides {', '.join(missing)}; {_REMEDY}")
    return [levels[stride] for stride in STRIDES]


class _ShapeRecorder(fx.Interpreter):
    """Interpreter that records the shape of every tensor in a graph."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, node: fx.Node) -> Any:
        result = super().run_node(node)
        if isinstance(result, Tensor):
            self.shapes[node] = tuple(result.shape)
        return result
