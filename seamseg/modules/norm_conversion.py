"""Replacement of BatchNorm and activation by in-place norms in any network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from textwrap import shorten

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.modules.batchnorm import from_batchnorm
from seamseg.modules.call_tracing import TracedParts, trace, without_calls
from seamseg.modules.norm_pairs import (
    NormPair,
    activations_after,
    called_layer,
    find_pair,
    has_hooks,
    norm_obstacle,
)
from seamseg.ops.inplace_abn import Activation, check_activation


@dataclass(frozen=True)
class NormConversion:
    """Report of :func:`convert_norms`.

    Attributes:
        converted: Names of the norms that were replaced.
        left: Names of the BatchNorms that stay, each with a sentence that says why.
        changed: Names of the converted norms that a ReLU followed and that now include another activation. If there are
            any, the outputs of the network have changed.
        rewritten: Names of the modules that were replaced by ``torch.fx.GraphModule``, because an activation is a
            function there, or a layer that is also called elsewhere. Names in the state dict stay the same.

    Example:
        >>> from torch import nn
        >>> import seamseg
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        >>> seamseg.convert_norms(network).left
        {'1': "A ReLU follows, which has no inverse; pass activation='leaky_relu' to replace it."}
        >>> report = seamseg.convert_norms(network, activation="leaky_relu")
        >>> report.converted, report.changed
        (('1',), ('1',))
    """

    converted: tuple[str, ...]
    left: dict[str, str]
    changed: tuple[str, ...]
    rewritten: tuple[str, ...]

    def __str__(self) -> str:
        """Format the report: one line with the numbers, and one for each norm that stays."""
        outputs = f"outputs change after {len(self.changed)} of them" if self.changed else "outputs stay equal"
        return "\n".join(
            [
                f"{len(self.converted)} norms converted, {outputs}; {len(self.left)} left",
                *(f"{name}: {reason}" for name, reason in self.left.items()),
            ]
        )


def convert_norms(network: nn.Module, activation: Activation | None = None, slope: float = 0.01) -> NormConversion:
    """Replace every BatchNorm that an activation follows by an in-place norm, where that is safe.

    The calls of layers in ``forward`` are traced with ``torch.fx``, in training and in evaluation mode. A norm is
    converted if this is safe in all of its calls: a convolution, linear layer, pooling, sum or concatenation computes
    its input, nothing else reads it, and only a leaky ReLU, an ELU or, with ``activation``, a ReLU reads the output.
    All other norms stay, and the report says why. Modules whose ``forward`` cannot be traced keep their own norms, and
    their children are converted one by one, unless the code of ``forward`` names layers inside of them.

    The names of parameters and buffers stay the same. Values do, too, except for weights, which are stored such that
    the scales are equal (``scale="signed"``). Create the optimizer and wrap the network (``DistributedDataParallel``,
    ``torch.compile``) after the conversion.

    Args:
        network: Network to convert in place. ``SyncBatchNorm`` becomes :class:`seamseg.InPlaceABNSync`.
        activation: Invertible activation that replaces ReLUs after norms, ``leaky_relu`` or ``elu``. This changes the
            outputs; train the network for a while afterwards. None leaves norms with ReLU as they are.
        slope: Negative slope of that leaky ReLU, or α of that ELU; > 0.

    Raises:
        ValueError: If ``activation`` is not invertible or ``identity``, or ``slope`` is not positive.

    Example:
        >>> from torch import nn
        >>> import seamseg
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.LeakyReLU(), nn.BatchNorm2d(8))
        >>> print(seamseg.convert_norms(network))
        1 norms converted, outputs stay equal; 1 left
        3: Its input comes from 2 (LeakyReLU), which is not known to allow overwriting its output.
    """
    if activation == "identity":
        raise ValueError("identity cannot replace a ReLU; choose leaky_relu, which is closest, or elu")
    if activation is not None:
        check_activation(activation, slope)
    return _carry_out(_Plan(network, activation is not None), activation, slope)


def _carry_out(plan: _Plan, activation: Activation | None, slope: float) -> NormConversion:
    """Convert the norms of a plan and return the report."""
    removed = [layer for layer in plan.activations() if plan.removable(layer)]
    rewritten = plan.rewritten()
    for owner, norms in rewritten.items():
        graph, _ = trace(owner, only_children=True)
        calls = [call for norm in norms for call in activations_after(graph, owner, norm)]
        calls = [call for call in calls if called_layer(call, owner) not in removed]
        _replace(plan.network, plan.names[owner], without_calls(owner, graph, calls))
    for norm, (call, *_) in plan.pairs.items():
        _replace(plan.network, plan.names[norm], _converted(norm, call.pair, plan.names[norm][0], activation, slope))
    for layer in removed:
        _replace(plan.network, plan.names[layer], nn.Identity())
    converted = {plan.names[norm][0]: plan.pairs[norm][0].pair for norm in plan.norms() if norm in plan.pairs}
    return NormConversion(
        converted=tuple(converted),
        left={plan.names[norm][0]: plan.left[norm] for norm in plan.norms() if norm in plan.left},
        changed=tuple(name for name, pair in converted.items() if pair.activation == "relu"),
        rewritten=tuple(plan.names[owner][0] for owner in rewritten),
    )


def _converted(norm: _BatchNorm, pair: NormPair, name: str, activation: Activation | None, slope: float) -> InPlaceABN:
    """Return the norm that includes the activation of a pair, or the given one instead of a ReLU."""
    kind = InPlaceABNSync if isinstance(norm, nn.SyncBatchNorm) else InPlaceABN
    if pair.activation == "relu":
        assert activation is not None
        converted = from_batchnorm(norm, activation, slope, kind)
    else:
        converted = from_batchnorm(norm, pair.activation, pair.slope, kind)
    converted.layer_name = name
    return converted


@dataclass(frozen=True)
class _Call:
    """Call of a norm that may be converted; the activation is a layer, or a function (None) that ``owner`` calls."""

    pair: NormPair
    layer: nn.Module | None
    owner: nn.Module


class _Plan:
    """Norms to convert and to leave.

    Attributes:
        names: All names of each module; the first is that in reports.
        left: Reason for each norm that stays.
        pairs: Calls of each norm that may be converted.
        calls: Number of calls of each layer in the traced graphs.
    """

    def __init__(self, network: nn.Module, with_relu: bool) -> None:
        self.network, self.with_relu = network, with_relu
        self.names: dict[nn.Module, list[str]] = {}
        for name, module in network.named_modules(remove_duplicate=False):
            self.names.setdefault(module, []).append(name)
        self.left: dict[nn.Module, str] = {}
        self.pairs: dict[_BatchNorm, list[_Call]] = {}
        self.calls: Counter[nn.Module] = Counter()
        self.traced = TracedParts(network)
        for part, graphs in self.traced.parts:
            for graph in graphs:
                self._add_calls(part, graph)
        for norm in self.norms():
            if norm not in self.pairs:
                reason = self.traced.exposed.get(norm, "It is not called as a layer in the traced forward.")
                self.left.setdefault(norm, reason)
        while blocked := self._blocked():
            for norm, reason in blocked.items():
                self._leave(norm, reason)

    def norms(self) -> list[_BatchNorm]:
        """Return the BatchNorms of the network, in the order of their names."""
        return [module for module in self.names if isinstance(module, _BatchNorm) and not isinstance(module, ABN)]

    def activations(self) -> list[nn.Module]:
        """Return the activations after norms to convert that are layers."""
        layers = dict.fromkeys(call.layer for calls in self.pairs.values() for call in calls)
        return [layer for layer in layers if layer is not None]

    def removable(self, layer: nn.Module | None) -> bool:
        """Return whether an activation is a layer that is called only after norms to convert."""
        after_norms = sum(call.layer is layer for calls in self.pairs.values() for call in calls)
        return layer is not None and layer not in self.traced.exposed and self.calls[layer] == after_norms

    def rewritten(self) -> dict[nn.Module, list[_BatchNorm]]:
        """Return the modules that call activations which are not removable layers, and the norms in front of these."""
        owners: dict[nn.Module, list[_BatchNorm]] = {}
        for norm, calls in self.pairs.items():
            for call in calls:
                if not self.removable(call.layer) and norm not in owners.setdefault(call.owner, []):
                    owners[call.owner].append(norm)
        return owners

    def _leave(self, norm: _BatchNorm, reason: str) -> None:
        self.left.setdefault(norm, reason)
        self.pairs.pop(norm, None)

    def _add_calls(self, part: nn.Module, graph: fx.Graph) -> None:
        for node in graph.nodes:
            layer = called_layer(node, part)
            if layer is not None:
                self.calls[layer] += 1
            if isinstance(layer, _BatchNorm) and not isinstance(layer, ABN) and layer not in self.left:
                self._add_norm(layer, node, part)

    def _add_norm(self, norm: _BatchNorm, node: fx.Node, part: nn.Module) -> None:
        found = self.traced.exposed.get(norm) or norm_obstacle(norm) or find_pair(node, part)
        if isinstance(found, NormPair) and found.activation == "relu" and not self.with_relu:
            found = "A ReLU follows, which has no inverse; pass activation='leaky_relu' to replace it."
        if isinstance(found, str):
            return self._leave(norm, found)
        calls = self.pairs.setdefault(norm, [])
        if any((call.pair.activation, call.pair.slope) != (found.activation, found.slope) for call in calls):
            return self._leave(norm, "It is called several times, with different activations.")
        calls.append(_Call(found, called_layer(found.call, part), part.get_submodule(found.owner)))
        return None

    def _blocked(self) -> dict[_BatchNorm, str]:
        """Return the norms in front of activations that cannot be removed, with the reasons."""
        return {
            norm: f"Its activation is not a layer of its own, and {reason}."
            for owner, norms in self.rewritten().items()
            for norm in norms
            if (reason := self._rewriting_obstacle(owner, norm))
        }

    def _rewriting_obstacle(self, owner: nn.Module, norm: _BatchNorm) -> str | None:
        """Return why the forward of a module cannot be replaced by one without the activation after a norm."""
        name = self.names[owner][0]
        if any(owner is part for part, _ in self.traced.parts):  # its class may have more than a forward
            return f"the forward of {name or 'the network'} calls it; make it one, such as self.act1 = nn.LeakyReLU()"
        if has_hooks(owner):
            return f"{name}, which calls it, has hooks"
        try:
            training, evaluation = trace(owner, only_children=True)
        except Exception as error:  # as in TracedParts
            return f"the forward of {name} cannot be traced without its children: {shorten(str(error), 150)}"
        if str(training) != str(evaluation):
            return f"the forward of {name} differs between training and evaluation"
        if not activations_after(training, owner, norm):
            return f"{name} calls it after a norm that another module calls"
        if set(fx.GraphModule(owner, training).state_dict()) != set(owner.state_dict()):
            return f"{name} has parameters that its forward does not use"
        return None


def _replace(network: nn.Module, names: list[str], module: nn.Module) -> None:
    """Set a module under all of its names."""
    for name in names:
        parent, _, key = name.rpartition(".")
        setattr(network.get_submodule(parent), key, module)
