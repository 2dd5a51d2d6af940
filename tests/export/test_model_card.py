"""Model cards in the format of the Hugging Face Hub: metadata between two lines of dashes, then text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml

from seamseg.export.model_card import ModelFacts, model_card
from seamseg.structures import Categories, Category

FACTS = ModelFacts(
    name="street",
    task="panoptic",
    version="1.2",
    num_parameters=12_340_000,
    categories=Categories(
        (
            Category("sky", False, (0, 0, 1), 1),
            Category("on_rails | track", False, (0, 0, 2), 2),
            Category("car\n# big", True, (0, 0, 3), 3),
        )
    ),
    data_set="my street",
    train_split="train",
    val_split="val",
    settings={"norm": "syncbn (abs), leaky_relu", "a|b": "<b>"},
    command="seamseg train config.yaml data.root=DATASET --run-dir runs/street",
    scores={"pq": 0.56321, "sq": 0.8, "miou": None},
    iteration=1440,
)


def parts(facts: ModelFacts = FACTS) -> tuple[dict[str, Any], str, str]:
    """Return the parsed metadata, its YAML text, and the text after it."""
    nothing, metadata, text = model_card(facts).split("---\n", 2)
    assert nothing == ""
    return yaml.safe_load(metadata), metadata, text


def test_model_card_metadata_has_tags_and_scores() -> None:
    metadata, _, _ = parts()
    assert metadata["library_name"] == "seamseg"
    assert metadata["pipeline_tag"] == "image-segmentation"
    assert "panoptic-segmentation" in metadata["tags"]
    (model,) = metadata["model-index"]
    (result,) = model["results"]
    assert model["name"] == "street"
    assert result["dataset"] == {"name": "my street", "type": "my street", "split": "val"}
    assert [(metric["type"], metric["value"]) for metric in result["metrics"]] == [("pq", 56.32), ("sq", 80.0)]
    assert all({"type", "value"} <= metric.keys() for metric in result["metrics"])


def test_model_card_license_is_a_commented_line() -> None:
    metadata, text, _ = parts()
    assert "license" not in metadata
    assert yaml.safe_load(text.replace("# license:", "license:"))["license"] == "cc-by-4.0"


def test_model_card_text_has_data_settings_scores_and_command() -> None:
    _, _, text = parts()
    assert "12.3 million parameters" in text
    assert "Trained on `train` of my street." in text
    assert "- stuff (2): sky, on\\_rails \\| track" in text
    assert "| PQ | 56.3 |" in text
    assert "after 1440 iterations" in text
    assert "| norm | syncbn (abs), leaky\\_relu |" in text
    assert FACTS.command in text


def test_model_card_names_with_markup_are_escaped() -> None:
    hostile = "a\n---\nlicense: mine\n# b: |"
    metadata, _, text = parts(replace(FACTS, name=hostile, data_set=hostile))
    assert metadata["model-index"][0]["name"] == "a --- license: mine # b: |"
    assert "license" not in metadata
    assert "\n# big" not in text
    assert "| a\\|b | \\<b\\> |" in text


def test_model_card_without_scores_has_no_results() -> None:
    metadata, _, text = parts(replace(FACTS, scores={}, iteration=None))
    assert "model-index" not in metadata
    assert "No scores are recorded" in text


def test_model_card_without_data_set_says_unknown() -> None:
    _, _, text = parts(replace(FACTS, data_set=None))
    assert "an unknown data set" in text


def test_model_card_of_a_semantic_model_has_its_scores_and_no_instances() -> None:
    scores = {"miou": 0.5, "pixel_accuracy": 0.875, "pq": 0.9}
    metadata, _, text = parts(replace(FACTS, task="semantic", scores=scores))
    assert metadata["tags"] == ["semantic-segmentation", "pytorch"]
    (result,) = metadata["model-index"][0]["results"]
    assert result["task"]["name"] == "Semantic segmentation"
    assert [(metric["type"], metric["value"]) for metric in result["metrics"]] == [
        ("miou", 50.0),
        ("pixel_accuracy", 87.5),
    ]
    assert "| mIoU | 50.0 |" in text
    assert "instances of" not in text
