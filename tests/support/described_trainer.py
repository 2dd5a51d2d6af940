"""All plain values inside of a trainer and its record, to see whether a setting changed any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn


def described(trainer: Any, record: Any) -> dict[str, Any]:
    """Close the record and return the values by the path to each of them, without settings, log and folder."""
    record.close()
    del record.settings, record._log, record.folder
    return dict(_values_of({"trainer": trainer, "record": record}, "", set()))


def _values_of(thing: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield all plain values inside of an object, with the path to each of them."""
    if isinstance(thing, (int, float, str, bytes, type(None), torch.dtype, torch.device, Path, type)):
        yield path, thing
    elif id(thing) in seen:
        return
    elif isinstance(thing, (torch.Tensor, np.ndarray)):
        seen.add(id(thing))
        trained = isinstance(thing, torch.Tensor) and thing.requires_grad
        strides = thing.stride() if isinstance(thing, torch.Tensor) else thing.strides
        yield path, (tuple(thing.shape), strides, trained, thing.flatten()[:4].tolist())
    else:
        seen.add(id(thing))
        for name, inner in _parts(thing):
            yield from _values_of(inner, f"{path}.{name}", seen)


def _parts(thing: Any) -> list[tuple[Any, Any]]:
    if isinstance(thing, dict):
        return list(thing.items())
    if isinstance(thing, (list, tuple, set, frozenset)):
        return list(enumerate(thing))
    if isinstance(thing, FunctionType):
        closure = [(index, cell.cell_contents) for index, cell in enumerate(thing.__closure__ or ())]
        return [("name", thing.__qualname__), *closure]
    if isinstance(thing, torch.optim.Optimizer):
        return [("type", type(thing)), ("groups", thing.param_groups)]
    found = [("type", type(thing)), *getattr(thing, "__dict__", {}).items()]
    found += [(name, getattr(thing, name)) for name in getattr(type(thing), "__slots__", ()) if hasattr(thing, name)]
    if isinstance(thing, nn.Module):
        found += [*thing._modules.items(), *thing._parameters.items(), *thing._buffers.items()]
    return found
