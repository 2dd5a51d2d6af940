"""The README.md of a model folder, in the layout that the Hugging Face Hub reads: metadata in YAML, then text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from seamseg.structures import Categories

LIBRARY = "seamseg"
TASK = "image-segmentation"
TAGS = ("panoptic-segmentation", "instance-segmentation", "semantic-segmentation", "pytorch")
LICENSE = (
    "# Say on what terms others may use the weights; those of the training images may bind you.\n# license: cc-by-4.0\n"
)
SCORES = {
    "pq": "PQ",
    "pq_things": "PQ of things",
    "pq_stuff": "PQ of stuff",
    "sq": "SQ",
    "rq": "RQ",
    "miou": "mIoU of the panoptic output",
    "miou_semantic": "mIoU of the semantic head",
    "box_ap": "box AP",
    "mask_ap": "mask AP",
}
"""Names of a run's scores in its log, and for people."""


@dataclass(frozen=True)
class ModelFacts:
    """What a model card tells.

    Attributes:
        name: of the model and its folder.
        version: of this program.
        num_parameters: of the network.
        categories: that it tells apart.
        data_set: a name for what it was trained on, or None if nobody knows.
        train_split, val_split: of it.
        settings: what a reader wants to know of them, by words.
        command: that trains it again from ``config.yaml``.
        scores: on ``val_split`` at the original size of its images, fractions of 1 by the keys of ``SCORES``; what is
            not defined is None; empty if nobody measured.
        iteration: of training, that the weights and scores are of; None if nobody knows.
    """

    name: str
    version: str
    num_parameters: int
    categories: Categories
    data_set: str | None
    train_split: str
    val_split: str
    settings: Mapping[str, str]
    command: str
    scores: Mapping[str, float | None]
    iteration: int | None


def model_card(facts: ModelFacts) -> str:
    """The whole README.md; its license is left to whoever publishes the model."""
    sections = [_introduction(facts), _use(facts), _data(facts), _scores(facts), _training(facts)]
    return f"---\n{_metadata(facts)}{LICENSE}---\n\n" + "\n".join(sections)


def _metadata(facts: ModelFacts) -> str:
    content: dict[str, Any] = {"library_name": LIBRARY, "pipeline_tag": TASK, "tags": list(TAGS)}
    metrics = [
        {"type": key, "name": SCORES[key], "value": round(100 * value, 2)} for key, value in _measured(facts).items()
    ]
    if metrics:
        name = _one_line(facts.data_set or "unknown")
        data_set = {"name": name, "type": name, "split": facts.val_split}
        results = [{"task": {"type": TASK, "name": "Panoptic segmentation"}, "dataset": data_set, "metrics": metrics}]
        content["model-index"] = [{"name": _one_line(facts.name), "results": results}]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _introduction(facts: ModelFacts) -> str:
    categories = facts.categories
    return (
        f"# {_line(facts.name)}\n\n"
        "A network for panoptic segmentation: it labels every pixel of an image with one of "
        f"{len(categories)} classes, and tells the instances of {categories.num_things} of them apart. It has "
        f"{facts.num_parameters / 1e6:.1f} million parameters and was trained with seamseg {facts.version} "
        "(*Seamless Scene Segmentation*, Porzi et al., CVPR 2019; *In-Place Activated BatchNorm*, Rota Bulò et al., "
        "CVPR 2018).\n"
    )


def _use(facts: ModelFacts) -> str:
    name = shlex.quote(facts.name)
    return f"""## Use

```sh
hf download USER/{name} --local-dir {name}
seamseg predict {name} IMAGES OUT
seamseg evaluate {name} --data DATASET --split {shlex.quote(facts.val_split)}
```

```python
import seamseg

model = seamseg.load_model({facts.name!r})
```

| file | holds |
|---|---|
| `model.safetensors` | the weights |
| `config.yaml` | all settings |
| `categories.json` | the classes, as in a COCO panoptic file, in the network's order |
| `SHA256SUMS` | sums of these, which seamseg compares when it loads the folder |
"""


def _data(facts: ModelFacts) -> str:
    lines = [f"Trained on `{facts.train_split}` of {_line(facts.data_set or 'a data set that is not recorded')}."]
    for kind, is_thing in (("things", True), ("stuff", False)):
        names = [_line(category.name) for category in facts.categories.classes if category.is_thing is is_thing]
        lines.append(f"- {kind} ({len(names)}): {', '.join(names) or 'none'}")
    return "## Data\n\n" + lines[0] + "\n\n" + "\n".join(lines[1:]) + "\n"


def _scores(facts: ModelFacts) -> str:
    measured = _measured(facts)
    if not measured:
        return "## Scores\n\nNone are recorded; `seamseg evaluate` measures them.\n"
    when = "" if facts.iteration is None else f", after {facts.iteration} iterations"
    table = _table(("score", "%"), [(SCORES[key], f"{100 * value:.1f}") for key, value in measured.items()])
    return (
        f"## Scores\n\nOn `{facts.val_split}`, at the original size of the images{when}. The weights are those that "
        f"scored best there, so a split of its own would judge them more strictly.\n\n{table}"
    )


def _training(facts: ModelFacts) -> str:
    table = _table(("setting", "value"), list(facts.settings.items()))
    return f"## Training\n\n{table}\nAll settings are in `config.yaml`:\n\n```sh\n{facts.command}\n```\n"


def _measured(facts: ModelFacts) -> dict[str, float]:
    found = {key: facts.scores.get(key) for key in SCORES}
    return {key: value for key, value in found.items() if value is not None}


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [head, ("---", "---"), *((_line(left), _line(right)) for left, right in rows)]
    return "".join(f"| {left} | {right} |\n" for left, right in lines)


def _line(text: str) -> str:
    """Text of others, such that it breaks neither lines nor tables and is no markup."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())
