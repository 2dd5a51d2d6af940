"""Model cards: the README.md of a model folder, in the format of the Hugging Face Hub (YAML metadata, then text)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from seamseg.structures import Categories

LIBRARY = "seamseg"
HUB_TASKS = {
    "panoptic": "image-segmentation",
    "instance": "image-segmentation",
    "detection": "object-detection",
    "semantic": "image-segmentation",
}
"""Task of a model as the Hugging Face Hub names it, by its task."""
TAGS = {
    "panoptic": ("panoptic-segmentation", "instance-segmentation", "semantic-segmentation", "pytorch"),
    "instance": ("instance-segmentation", "object-detection", "pytorch"),
    "detection": ("object-detection", "pytorch"),
    "semantic": ("semantic-segmentation", "pytorch"),
}
"""Tags of a model, by its task."""
TITLES = {
    "panoptic": "panoptic segmentation",
    "instance": "instance segmentation",
    "detection": "object detection",
    "semantic": "semantic segmentation",
}
"""Names of the tasks in text."""
LICENSE = (
    "# Set the license of the weights; the license of the training images may restrict it.\n# license: cc-by-4.0\n"
)
SCORES: Mapping[str, Mapping[str, str]] = {
    "panoptic": {
        "pq": "PQ",
        "pq_things": "PQ (things)",
        "pq_stuff": "PQ (stuff)",
        "sq": "SQ",
        "rq": "RQ",
        "miou": "mIoU (panoptic output)",
        "miou_semantic": "mIoU (semantic head)",
        "box_ap": "box AP",
        "mask_ap": "mask AP",
    },
    "instance": {
        "mask_ap": "mask AP",
        "mask_ap50": "mask AP50",
        "mask_ap75": "mask AP75",
        "box_ap": "box AP",
        "box_ap50": "box AP50",
        "box_ap75": "box AP75",
    },
    "detection": {
        "box_ap": "box AP",
        "box_ap50": "box AP50",
        "box_ap75": "box AP75",
        "box_ar100": "box AR (100 detections)",
    },
    "semantic": {
        "miou": "mIoU",
        "pixel_accuracy": "pixel accuracy",
        "mean_class_accuracy": "mean class accuracy",
    },
}
"""Keys of the scores in the log of a run, with their display names, by task. The first one chooses the best model."""


@dataclass(frozen=True)
class ModelFacts:
    """Facts for a model card.

    Attributes:
        name: Name of the model and its folder.
        task: Task of the network, such as ``panoptic``.
        version: Version of this package.
        num_parameters: Number of parameters of the network.
        categories: Classes that the network predicts.
        data_set: Name of the training data set; None if unknown.
        train_split: Name of the training split.
        val_split: Name of the validation split.
        settings: Main settings, by display name.
        command: Command that trains the model again from ``config.yaml``.
        scores: Scores on ``val_split`` at the original size of the images, in 0 … 1, by the task's keys of ``SCORES``.
            Undefined scores are None. Empty if there are no measurements.
        iteration: Training iteration of the weights and scores; None if unknown.
        license: License of the weights as the Hugging Face Hub names it; None leaves it to the publisher.
        repository: Repository on the Hub, ``ORG/NAME``; None if the model is not uploaded.
        example: File name of a picture with a prediction; None for none.
    """

    name: str
    task: str
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
    license: str | None = None
    repository: str | None = None
    example: str | None = None


def model_card(facts: ModelFacts) -> str:
    """Format the README.md of a model; a license that is not known is left to the publisher of the model."""
    sections = [_introduction(facts), _use(facts), _data(facts), _scores(facts), _training(facts)]
    unknown = LICENSE if facts.license is None else ""
    return f"---\n{_metadata(facts)}{unknown}---\n\n" + "\n".join(sections)


def _metadata(facts: ModelFacts) -> str:
    content: dict[str, Any] = {} if facts.license is None else {"license": facts.license}
    content |= {
        "library_name": LIBRARY,
        "pipeline_tag": HUB_TASKS[facts.task],
        "tags": list(TAGS[facts.task]),
    }
    names = SCORES[facts.task]
    metrics = [
        {"type": key, "name": names[key], "value": round(100 * value, 2)} for key, value in _measured(facts).items()
    ]
    if metrics:
        name = _one_line(facts.data_set or "unknown")
        data_set = {"name": name, "type": name, "split": facts.val_split}
        task = {"type": HUB_TASKS[facts.task], "name": TITLES[facts.task].capitalize()}
        results = [{"task": task, "dataset": data_set, "metrics": metrics}]
        content["model-index"] = [{"name": _one_line(facts.name), "results": results}]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _introduction(facts: ModelFacts) -> str:
    return (
        f"# {_escaped_line(facts.name)}\n\n"
        f"A network for {TITLES[facts.task]}. It {_output(facts)}. It has {facts.num_parameters / 1e6:.1f} million "
        f"parameters and was trained with seamseg {facts.version} "
        "(*Seamless Scene Segmentation*, Porzi et al., CVPR 2019; *In-Place Activated BatchNorm*, Rota Bulò et al., "
        "CVPR 2018).\n"
        + ("" if facts.example is None else f"\n![Prediction of the model on an example]({facts.example})\n")
    )


def _output(facts: ModelFacts) -> str:
    categories = facts.categories
    if facts.task in ("instance", "detection"):
        parts = "boxes and masks" if facts.task == "instance" else "boxes"
        return f"finds the objects of {categories.num_things} classes in an image, with {parts}"
    instances = f", and separates the instances of {categories.num_things} of them" if facts.task == "panoptic" else ""
    return f"assigns one of {len(categories)} classes to every pixel of an image{instances}"


def _use(facts: ModelFacts) -> str:
    name, model = shlex.quote(facts.name), facts.name
    download = f"hf download USER/{name} --local-dir {name}\n"
    if facts.repository is not None:
        name = model = f"hf://{facts.repository}"
        download = "pip install huggingface_hub\n"
    return f"""## Use

```sh
{download}seamseg predict {name} IMAGES OUT
seamseg evaluate {name} --data DATASET --split {shlex.quote(facts.val_split)}
```

```python
import seamseg

model = seamseg.load_model({model!r})
```

| file | content |
|---|---|
| `model.safetensors` | the weights |
| `config.yaml` | all settings |
| `categories.json` | the classes in the order of the network, in COCO panoptic format |
| `SHA256SUMS` | checksums of these files, which seamseg verifies when it loads the folder |
"""


def _data(facts: ModelFacts) -> str:
    lines = [f"Trained on `{facts.train_split}` of {_escaped_line(facts.data_set or 'an unknown data set')}."]
    finds_objects = facts.task in ("instance", "detection")
    for kind, is_thing in (("things", True),) if finds_objects else (("things", True), ("stuff", False)):
        names = [_escaped_line(category.name) for category in facts.categories.classes if category.is_thing is is_thing]
        lines.append(f"- {kind} ({len(names)}): {', '.join(names) or 'none'}")
    return "## Data\n\n" + lines[0] + "\n\n" + "\n".join(lines[1:]) + "\n"


def _scores(facts: ModelFacts) -> str:
    measured = _measured(facts)
    if not measured:
        return "## Scores\n\nNo scores are recorded; run `seamseg evaluate` to measure them.\n"
    when = "" if facts.iteration is None else f", after {facts.iteration} iterations"
    table = _table(("score", "%"), [(SCORES[facts.task][key], f"{100 * value:.1f}") for key, value in measured.items()])
    return (
        f"## Scores\n\nScores on `{facts.val_split}`, at the original size of the images{when}. The checkpoint was "
        f"selected by its score on this split, so scores on unseen data may be lower.\n\n{table}"
    )


def _training(facts: ModelFacts) -> str:
    table = _table(("setting", "value"), list(facts.settings.items()))
    introduction = "`config.yaml` contains all settings. To train the model again, run"
    return f"## Training\n\n{table}\n{introduction}\n\n```sh\n{facts.command}\n```\n"


def _measured(facts: ModelFacts) -> dict[str, float]:
    found = {key: facts.scores.get(key) for key in SCORES[facts.task]}
    return {key: value for key, value in found.items() if value is not None}


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [head, ("---", "---"), *((_escaped_line(left), _escaped_line(right)) for left, right in rows)]
    return "".join(f"| {left} | {right} |\n" for left, right in lines)


def _escaped_line(text: str) -> str:
    """Escape text for Markdown: on one line, without markup, safe in tables."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())
