"""Weights of a trained model for a new network, which may have another task or other classes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from seamseg.errors import ModelError
from seamseg.export.body_weights import COUNTER, count_and_names
from seamseg.modules.abn import ABN
from seamseg.modules.adjusted_filters import AdjustedConv2d, AdjustedConvTranspose2d, AdjustedLinear
from seamseg.modules.batchnorm import inverse_gamma
from seamseg.modules.fpn import PyramidBody
from seamseg.modules.mabn import MABN
from seamseg.modules.norm import GroupNormAct, PlainABN
from seamseg.modules.roi_head import LATER_STAGES
from seamseg.networks import SegmentationNet
from seamseg.structures import Categories

Rows = Mapping[str, set[int]]
"""Rows (indices of the first dimension) of tensors, by name; a scalar has row 0."""

MOST_NAMES = 8
"""Maximum number of classes or modules that a line of the report names."""


SEMANTIC_LAYERS = {"sem_head.conv_sem", "cls"}
"""Names of the output layers that have stuff and things; the other ones have only things."""


@dataclass(frozen=True)
class TransferredWeights:
    """Report on the weights of a model that a new network starts from.

    Attributes:
        source: The model as the user named it, with the parts.
        rows: Rows of the new network that were filled.
        matched: Classes of the output layers that were used, by their name in the new network; None if no output layer
            was used.
        only_semantic: Those of them that are stuff in one network and things in the other.
        unmatched: Other classes of the new network, whose rows were not filled.
        other_shape: Modules and tensors of the model that have another shape in the new network.
        other_classes: Output layers whose classes the new network does not have.
        not_here: Modules and tensors of the model that the new network does not have.
    """

    source: str
    rows: Rows
    matched: Sequence[str] | None
    only_semantic: Sequence[str]
    unmatched: Sequence[str]
    other_shape: Sequence[str]
    other_classes: Sequence[str]
    not_here: Sequence[str]

    @property
    def left_out(self) -> str:
        """Weights that were not used, by reason; empty if all were used."""
        groups = {
            "with another shape": self.other_shape,
            "for other classes": self.other_classes,
            "not in this network": self.not_here,
        }
        return "; ".join(count_and_names(reason, names, MOST_NAMES) for reason, names in groups.items() if names)

    def __str__(self) -> str:
        """Format the report as a few lines."""
        lines = [f"init_from={self.source}: {len(self.rows)} entries used"]
        if self.matched is not None:
            lines.append(f"  classes: {count_and_names('matched by name', self.matched, MOST_NAMES)}")
            if self.only_semantic:
                names = ", ".join(self.only_semantic[:MOST_NAMES])
                lines.append(f"  stuff in one and thing in the other, matched in the semantic head only: {names}")
            if self.unmatched:
                lines.append(f"  classes: {count_and_names('not in the model', self.unmatched, MOST_NAMES)}")
        if self.left_out:
            lines.append(f"  left out: {self.left_out}")
        return "\n".join(lines)


def split_parts(given: str) -> tuple[str, tuple[str, ...]]:
    """Split ``MODEL:PART,PART…`` into the model and the parts; no parts mean all.

    An existing path is a model, whatever it is called.

    Example:
        >>> from seamseg.export.weight_transfer import split_parts
        >>> split_parts("runs/vistas:body,rpn_head")
        ('runs/vistas', ('body', 'rpn_head'))
    """
    match = re.fullmatch(r"(.+):([\w.]+(?:,[\w.]+)*)", given)
    if match is None or Path(given).exists():
        return given, ()
    return match[1], tuple(match[2].split(","))


@torch.no_grad()
def transfer_weights(
    network: SegmentationNet, categories: Categories, source: SegmentationNet, source_categories: Categories, given: str
) -> TransferredWeights:
    """Copy the tensors of a trained network whose name and shape fit into a new network.

    The rows of output layers are matched by class name, ignoring case where it distinguishes no classes. The weights of
    norms are set so that they scale as in the source (see :mod:`seamseg.export.body_weights`).

    Args:
        network: New network, changed in place; unchanged if the weights are refused.
        categories: Classes of the new network.
        source: Trained network. Its norms must be of the same kind where they are used, apart from where they take
            their batch statistics from and how they scale.
        source_categories: Classes of the trained network.
        given: The model as the user named it: ``MODEL`` or ``MODEL:PART,PART…``.

    Raises:
        SeamsegError: Neither network has a part, the norms are of another kind, or nothing fits.
    """
    prefix = _body_prefix(source)
    modules = {_renamed(key, prefix, _body_prefix(network)): module for key, module in source.named_modules()}
    new_modules = dict(network.named_modules())
    parts = split_parts(given)[1]
    _check_parts(parts, {*modules, *new_modules}, network, source)
    found = {_renamed(key, prefix, _body_prefix(network)): tensor for key, tensor in source.state_dict().items()}
    found = {key: tensor for key, tensor in found.items() if _is_within(key, parts)}
    pairs = matching_classes(categories, source_categories)
    class_rows = _class_rows(pairs, categories.num_stuff, source_categories.num_stuff)
    sorted_out = _SortedTensors(network.state_dict(), found, class_rows)
    for key in {name.rpartition(".")[0] for name in sorted_out.fitting}:
        _check_kind(key, new_modules[key], modules[key], given)
    report = _report(given, sorted_out, pairs, categories, source_categories, class_rows)
    if all(name.endswith(COUNTER) for name in report.rows):
        raise ModelError(
            f"init_from={given}: no weight of the model fits this network: "
            f"{report.left_out or 'it has none in these parts'}; choose the settings of the model, or other parts"
        )
    for name, (rows, source_rows) in sorted_out.fitting.items():
        layer, _, kind = name.rpartition(".")
        tensor = found[name] if kind != "weight" else _weight(new_modules[layer], modules[layer], found[name])
        target = sorted_out.state[name]
        if layer in class_rows:
            target[rows] = tensor[source_rows]
        else:
            target.copy_(tensor)
    return report


def matching_classes(categories: Categories, source: Categories) -> list[tuple[int, int]]:
    """Return the classes of two lists that share a name, as pairs of their indices.

    Case is ignored, unless two names of one list differ only in case.
    """
    exact = any(len({name.casefold() for name in names}) < len(names) for names in (categories.names, source.names))
    names, source_names = ([name if exact else name.casefold() for name in one.names] for one in (categories, source))
    return [(index, source_names.index(name)) for index, name in enumerate(names) if name in source_names]


def untouched_modules(rows: Rows, filled: Iterable[Rows]) -> list[str]:
    """Return the modules and tensors of which some rows were never filled, each module instead of all its tensors.

    Args:
        rows: All rows of the network.
        filled: Rows that were filled, of each model.
    """
    left = {name: set(rows[name]) for name in rows if not name.endswith(COUNTER)}
    for one in filled:
        for name in one.keys() & left.keys():
            left[name] -= one[name]
    return whole_modules([name for name, missing in left.items() if missing], left)


def whole_modules(names: Collection[str], among: Collection[str]) -> list[str]:
    """Replace names of tensors by the name of their module if all of its tensors in ``among`` are named.

    Example:
        >>> from seamseg.export.weight_transfer import whole_modules
        >>> whole_modules(["head.a.weight", "head.a.bias"], ["head.a.weight", "head.a.bias", "head.b.weight"])
        ['head.a']
    """
    incomplete = {prefix for name in among if name not in names for prefix in _prefixes(name)}
    return list(dict.fromkeys(next(one for one in _prefixes(name) if one not in incomplete) for name in names))


def all_rows(network: nn.Module) -> dict[str, set[int]]:
    """Return all rows of the tensors of a network, by name."""
    return {name: _rows_of(tensor) for name, tensor in network.state_dict().items()}


def _rows_of(tensor: Tensor) -> set[int]:
    return set(range(len(tensor))) if tensor.ndim else {0}


def _prefixes(name: str) -> list[str]:
    """Return ``a``, ``a.b`` and ``a.b.c`` for ``a.b.c``."""
    words = name.split(".")
    return [".".join(words[: number + 1]) for number in range(len(words))]


def _body_prefix(network: SegmentationNet) -> str:
    return "body.backbone." if isinstance(network.body, PyramidBody) else "body."


def _renamed(name: str, prefix: str, new_prefix: str) -> str:
    """Return a name in the backbone under its name in the new network, which may have another feature pyramid."""
    return new_prefix + name.removeprefix(prefix) if name.startswith(prefix) else name


def _is_within(name: str, parts: tuple[str, ...]) -> bool:
    return not parts or any(f"{name}.".startswith(f"{part}.") for part in parts)


def _check_parts(parts: tuple[str, ...], known: set[str], network: nn.Module, source: nn.Module) -> None:
    unknown = [part for part in parts if part not in known]
    if unknown:
        ours, theirs = (", ".join(top_parts(one)) for one in (network, source))
        raise ModelError(
            f"init_from: no part {unknown[0]} in either network; the new network has {ours}, and the model has {theirs}"
        )


def top_parts(network: nn.Module) -> list[str]:
    """Return the names of the modules with weights that a network consists of, such as ``body`` and ``sem_head``."""
    return [name for name, module in network.named_children() if module.state_dict()]


def _class_rows(
    pairs: list[tuple[int, int]], num_stuff: int, source_num_stuff: int
) -> dict[str, list[tuple[int, int]]]:
    """Return the rows of each output layer, as pairs of ours and the model's; see :mod:`seamseg.modules.roi_head`."""
    things = [
        (ours - num_stuff, theirs - source_num_stuff)
        for ours, theirs in pairs
        if ours >= num_stuff and theirs >= source_num_stuff
    ]
    labels = [(0, 0), *((ours + 1, theirs + 1) for ours, theirs in things)] if things else []  # 0 is background
    classifiers = ["roi_head.roi_cls", *(f"roi_head.stages.{stage}.roi_cls" for stage in LATER_STAGES)]
    return {
        **dict.fromkeys(SEMANTIC_LAYERS, pairs),
        **dict.fromkeys(classifiers, labels),
        "roi_head.roi_bbx": [(4 * ours + side, 4 * theirs + side) for ours, theirs in things for side in range(4)],
        "roi_head.roi_msk": things,
        "roi_head.roi_iou": things,
        "roi_head.point.roi_pnt": things,
    }


class _SortedTensors:
    """Tensors of a model, sorted by what becomes of them.

    Attributes:
        state: State dict of the new network.
        fitting: Tensors to use, with the rows of both networks.
        other_shape: Names of those with another shape, or of their modules.
        other_classes: Names of those without a row to use.
        not_here: Names of those that the new network does not have, or of their modules.
    """

    def __init__(
        self, state: dict[str, Tensor], found: dict[str, Tensor], class_rows: dict[str, list[tuple[int, int]]]
    ) -> None:
        self.state = state
        self.fitting: dict[str, tuple[list[int], list[int]]] = {}
        self.other_shape: list[str] = []
        self.other_classes: list[str] = []
        self.not_here: list[str] = []
        for name, tensor in found.items():
            layer = name.rpartition(".")[0]
            first = 1 if layer in class_rows else 0  # the number of classes may differ
            weight = f"{layer}.weight" if name.endswith(".bias") else name  # a bias is of no use without its weight
            if name not in state or (weight in found and weight not in state):
                self.not_here.append(name)
            elif any(state[one].shape[first:] != found[one].shape[first:] for one in {name, weight} & found.keys()):
                self.other_shape.append(name)
            elif layer not in class_rows:
                self.fitting[name] = (sorted(_rows_of(tensor)),) * 2
            elif class_rows[layer]:
                ours, theirs = zip(*class_rows[layer], strict=True)
                self.fitting[name] = list(ours), list(theirs)
            else:
                self.other_classes.append(name)
        self.not_here = whole_modules(self.not_here, found)
        self.other_shape = whole_modules(self.other_shape, [name for name in state if not name.endswith(COUNTER)])


def _report(
    given: str,
    tensors: _SortedTensors,
    pairs: list[tuple[int, int]],
    categories: Categories,
    source_categories: Categories,
    class_rows: Collection[str],
) -> TransferredWeights:
    """Return the report on the tensors that are about to be used."""
    layers = {name.rpartition(".")[0] for name in tensors.fitting} & set(class_rows)
    semantic, detects = bool(layers & SEMANTIC_LAYERS), bool(layers - SEMANTIC_LAYERS)
    ours, theirs = categories.classes, source_categories.classes
    matched = {one: other for one, other in pairs if semantic or (ours[one].is_thing and theirs[other].is_thing)}
    differing = [one for one, other in matched.items() if ours[one].is_thing != theirs[other].is_thing]
    return TransferredWeights(
        source=given,
        rows={name: set(rows) for name, (rows, _) in tensors.fitting.items()},
        matched=[ours[index].name for index in matched] if layers else None,
        only_semantic=[ours[index].name for index in differing] if detects else [],
        unmatched=[one.name for index, one in enumerate(ours) if index not in matched and (semantic or one.is_thing)],
        other_shape=tensors.other_shape,
        other_classes=whole_modules(tensors.other_classes, tensors.state),
        not_here=tensors.not_here,
    )


def _check_kind(name: str, ours: nn.Module, theirs: nn.Module, given: str) -> None:
    """Check that a norm, or the filters in front of one, compute the same with the weights of the model."""
    kind, other = _kind(ours), _kind(theirs)
    if kind != other:
        raise ModelError(
            f"init_from={given}: {name} has {other} in the model and {kind} in this network, whose weights mean "
            "something else; use the norm settings of the model, or leave this part out"
        )


def _kind(module: nn.Module) -> str:
    if isinstance(module, MABN):
        return f"moving averages over {len(module.square_history)} iterations (norm.name=mabn)"
    if isinstance(module, ABN):
        return "BatchNorm"
    if isinstance(module, GroupNormAct):
        return f"group norm with {module.num_groups} groups (norm.name=gn)"
    if isinstance(module, (AdjustedConv2d, AdjustedConvTranspose2d, AdjustedLinear)):
        return "centered filters" if module.adjustment == "center" else "standardized filters"
    return "ordinary filters"


def _weight(ours: nn.Module, theirs: nn.Module, weight: Tensor) -> Tensor:
    """Return the weight of the model, converted if it belongs to a norm that scales in another way."""
    if not (isinstance(ours, ABN) and isinstance(theirs, ABN)):
        return weight
    is_plain = isinstance(ours, PlainABN)
    is_same = is_plain == isinstance(theirs, PlainABN) and (is_plain or ours.scale == theirs.scale)
    return weight if is_same else inverse_gamma(ours, theirs.gamma())
