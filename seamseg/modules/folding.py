"""Folding of norms with running statistics into the preceding layers, for inference."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from seamseg.modules.abn import ABN
from seamseg.modules.adjusted_filters import use_adjusted_weight
from seamseg.modules.resnet import ResidualBlock
from seamseg.modules.rpn_head import RPNHead
from seamseg.modules.semantic_head import MiniDeepLab
from seamseg.ops.inplace_abn import Activation, activate_

Linear = TypeVar("Linear", bound="_ConvNd | nn.Linear")
Module = TypeVar("Module", bound=nn.Module)

# Norms outside an nn.Sequential: module, layers whose concatenated outputs the norm reads, and norm.
_PAIRS: list[tuple[type[nn.Module], tuple[str, ...], str]] = [
    (ResidualBlock, ("proj_conv",), "proj_bn"),
    (RPNHead, ("conv1",), "bn1"),
    (MiniDeepLab, ("conv1_3x3", "conv1_dil", "conv1_glb"), "bn1"),
    (MiniDeepLab, ("conv2",), "bn2"),
]


class FoldedNorm(nn.Module):
    """Remainder of a folded norm: residual sum and activation, computed in place."""

    def __init__(self, activation: Activation, slope: float) -> None:
        super().__init__()
        self.activation, self.slope = activation, slope

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Compute ``act(x [+ residual])`` and write it over ``x``."""
        activate_(x, self.activation, self.slope, residual)
        return x

    def extra_repr(self) -> str:
        """Return the settings that ``print`` shows."""
        return f"activation={self.activation}, slope={self.slope}"


def fold(layer: Linear, norm: ABN) -> Linear:
    """Fold a norm into the convolution, transposed convolution or linear layer in front of it.

    Args:
        layer: Layer whose output the norm reads; not modified. Its weight may be computed from other tensors (weight
            norm, spectral norm, pruning). The input of a linear layer must be N×C, so that its outputs are the channels
            of the norm.
        norm: Norm to fold as it computes in evaluation mode, without the activation.

    Returns:
        A new layer with a bias. Its output equals that of ``norm`` before the activation, up to rounding.

    Raises:
        ValueError: If the number of channels of the norm differs from the number of outputs of the layer, or if the
            layer is lazy and has no weight yet.

    Example:
        >>> from torch import nn
        >>> from seamseg import InPlaceABN
        >>> from seamseg.modules import fold
        >>> fold(nn.Conv2d(3, 16, 3, bias=False), InPlaceABN(16)).bias.shape
        torch.Size([16])
    """
    (folded,) = _fold([layer], norm)
    return folded


def fold_norms(network: Module) -> Module:
    """Copy a network for inference and fold every norm that can be folded.

    Norms are folded after a convolution or a linear layer in an ``nn.Sequential``, in residual blocks and in heads.
    The activations remain. Group norms remain, too, because they compute their statistics from the input, and so do
    norms in modules that this function does not know.

    Args:
        network: Network to copy; not modified.

    Returns:
        The copy in evaluation mode. Its output equals that of ``network`` in evaluation mode, up to rounding. Its
        state-dict names differ, and it has no statistics to train. Layers that adjust their filters are ordinary ones.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from seamseg import InPlaceABN, fold_norms
        >>> network = nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), InPlaceABN(16)).eval()
        >>> folded = fold_norms(network)
        >>> any(isinstance(layer, InPlaceABN) for layer in folded.modules())
        False
        >>> x = torch.randn(1, 3, 8, 8)
        >>> torch.allclose(folded(x), network(x), atol=1e-5)
        True
    """
    folded = _copied(network)
    for module in list(folded.modules()):
        for names, norm in _pairs(module):
            _fold_children(module, names, norm)
    for module in folded.modules():
        use_adjusted_weight(module)
    return folded.eval()


def _pairs(module: nn.Module) -> list[tuple[tuple[str, ...], str]]:
    if type(module).forward is nn.Sequential.forward:  # named_children() would skip modules that occur twice
        return [((first,), second) for first, second in pairwise(module._modules)]
    return [(layers, norm) for kind, layers, norm in _PAIRS if isinstance(module, kind)]


def _fold_children(module: nn.Module, names: tuple[str, ...], norm_name: str) -> None:
    norm = getattr(module, norm_name, None)
    layers = [layer for name in names if isinstance(layer := getattr(module, name, None), (_ConvNd, nn.Linear))]
    if not isinstance(norm, ABN) or len(layers) < len(names):
        return
    for name, layer in zip(names, _fold(layers, norm), strict=True):
        setattr(module, name, layer)
    setattr(module, norm_name, FoldedNorm(norm.activation, norm.slope))


@torch.no_grad()
def _fold(layers: list[Linear], norm: ABN) -> list[Linear]:
    widths = [layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels for layer in layers]
    if sum(widths) != norm.num_channels:
        raise ValueError(
            f"a norm over {norm.num_channels} channels cannot be folded into layers with {sum(widths)} outputs; "
            "pass the layers whose output it reads"
        )
    if any(is_lazy(parameter) for layer in layers for parameter in layer.parameters()):
        raise ValueError("a norm cannot be folded into a lazy layer that has no weight yet; run the network once first")
    scale = norm.gamma().double() * (norm.running_var.double() + norm.eps).rsqrt()
    shift = norm.beta().double() - norm.running_mean.double() * scale
    parts = zip(layers, torch.split(scale, widths), torch.split(shift, widths), strict=True)
    return [_scaled(layer, scale, shift) for layer, scale, shift in parts]


def _scaled(layer: Linear, scale: Tensor, shift: Tensor) -> Linear:
    """Return a copy of the layer with every output scaled and shifted, computed in float64."""
    folded = _copied(layer)
    _use_plain_weights(folded.eval())
    weight = folded.weight.double()
    ones = [1] * (weight.ndim - 2)
    if isinstance(layer, _ConvNd) and layer.transposed:  # in × out/groups × …
        grouped = torch.unflatten(weight, 0, (layer.groups, -1))
        weight = (grouped * scale.view(layer.groups, 1, -1, *ones)).flatten(0, 1)
    else:
        weight = weight * scale.view(-1, 1, *ones)
    bias = shift if folded.bias is None else shift + folded.bias.double() * scale
    requires_grad = any(value.requires_grad for name, value in layer.named_parameters() if name != "bias")
    folded.bias = nn.Parameter(bias.to(folded.weight.dtype), requires_grad)
    folded.weight = nn.Parameter(torch.empty_like(folded.weight).copy_(weight), requires_grad)
    folded.train(layer.training)
    return folded


def _copied(module: Module) -> Module:
    """Return a deep copy; tensors computed with gradients, which torch refuses to copy, are detached and cloned."""
    attributes = [value for child in module.modules() for value in vars(child).values()]
    computed = [value for value in attributes if isinstance(value, Tensor) and not value.is_leaf]
    return copy.deepcopy(module, {id(value): value.detach().clone() for value in computed})


def _use_plain_weights(layer: nn.Module) -> None:
    """Compute the weights one last time and make them ordinary parameters."""
    use_adjusted_weight(layer)
    if parametrize.is_parametrized(layer):
        # remove_parametrizations() would modify the class, which a deep copy shares with its original.
        assert isinstance(layer.parametrizations, nn.ModuleDict)
        values = {name: getattr(layer, name) for name in layer.parametrizations}
        kind = parametrize.type_before_parametrizations(layer)
        del layer.parametrizations
        layer.__class__ = kind
        for name, value in values.items():
            layer.register_parameter(name, nn.Parameter(value))
    for hook in list(layer._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(layer, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(layer, hook.name)
        elif isinstance(hook, prune.BasePruningMethod):
            prune.remove(layer, hook._tensor_name)  # type: ignore[no-untyped-call]
