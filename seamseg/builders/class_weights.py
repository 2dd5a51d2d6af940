"""Builder of the class weights of the losses."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from seamseg.algos.class_weights import ClassWeights, balanced_weights
from seamseg.config import Experiment
from seamseg.data.class_counts import ClassCounts, count_classes
from seamseg.data.formats.annotated_dataset import AnnotatedDataset
from seamseg.errors import SettingsError
from seamseg.io.progress import progress_bar
from seamseg.runtime.distributed import Process, from_first
from seamseg.structures import Categories


def build_class_weights(
    experiment: Experiment, source: AnnotatedDataset, process: Process, tell: Callable[[str], None] | None = None
) -> ClassWeights | None:
    """Return the weights of ``loss.class_weights``; None if they are not set.

    Args:
        experiment: Settings of the run.
        source: Training split, whose pixels and objects rank 0 counts for ``frequency``.
        process: This rank.
        tell: Function called with a sentence on the weights that follow from the frequencies; None for no report.

    Raises:
        SeamsegError: A class does not exist or is not learned by the task, or the annotation cannot be read.
    """
    given, categories = experiment.loss.class_weights, source.categories
    if not given:
        return None
    if given != "frequency":
        return _by_name(given, categories, experiment.task)

    def count() -> ClassCounts:
        with progress_bar("counting pixels and objects", len(source), shown=process.is_first) as advance:
            return count_classes(source, advance)

    counts = from_first(process, count)
    weights = ClassWeights(
        tuple(balanced_weights(counts.pixels.tolist())), (1.0, *balanced_weights(counts.objects.tolist()))
    )
    if tell is not None:
        tell(_sentence(experiment, weights, categories))
    return weights


def _by_name(given: Mapping[str, float], categories: Categories, task: str) -> ClassWeights:
    for name in given:
        if name not in categories.names:
            nearest = difflib.get_close_matches(name, categories.names, 1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"the classes are {', '.join(categories.names)}"
            raise SettingsError(f"loss.class_weights: the data set has no class {name!r}; {hint}")
        if task in ("instance", "detection") and categories.names.index(name) < categories.num_stuff:
            raise SettingsError(f"loss.class_weights: {name!r} is stuff, which task={task} does not learn; remove it")
    weights = tuple(given.get(name, 1.0) for name in categories.names)
    return ClassWeights(weights, (1.0, *weights[categories.num_stuff :]))


def _sentence(experiment: Experiment, weights: ClassWeights, categories: Categories) -> str:
    """Name the smallest and largest weights."""
    by_kind = {
        "pixels": dict(zip(categories.names, weights.pixels, strict=True)),
        "regions": dict(zip(categories.names[categories.num_stuff :], weights.regions[1:], strict=True)),
    }
    if experiment.task == "semantic":
        del by_kind["regions"]
    if experiment.task in ("instance", "detection"):
        del by_kind["pixels"]
    parts = []
    for kind, of_class in by_kind.items():
        if of_class:
            low, high = min(of_class, key=of_class.__getitem__), max(of_class, key=of_class.__getitem__)
            parts.append(f"{kind} from {of_class[low]:.2g} ({low}) to {of_class[high]:.2g} ({high})")
    return f"loss.class_weights=frequency: weights of {'; of '.join(parts)}"
