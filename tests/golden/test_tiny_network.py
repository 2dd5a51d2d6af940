"""Numbers of the tiny network, compared with recorded ones.

The tolerances allow for other processors and numbers of threads; changing every weight by 1e-6 of its value also stays
within them. `record.py` recorded the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from golden.record import FILE
from golden.tiny_case import NORMS, Numbers, tiny_numbers

# Relative and absolute tolerance, by the prefix of the key.
TOLERANCES = {
    "image": (0, 1e-6),
    "loss": (1e-3, 1e-5),
    "gradient": (0.02, 2e-4),
    "statistics": (1e-3, 1e-4),
    "proposals": (0, 0.01),  # pixels
    "detections/boxes": (0, 0.01),  # pixels
    "detections/classes": (0, 0),
    "detections/scores": (0, 1e-3),
    "detections/masks": (0, 5e-3),  # logits
    "segments/classes": (0, 0),
    "segments/scores": (0, 1e-3),
    "quality": (0.01, 0),
}
MAPS = ("semantics", "segments/ids")
"""Integer maps, in which a few pixels at borders may differ."""
MAX_DIFFERENT_PIXELS = 0.005


@dataclass(frozen=True)
class Case:
    found: Numbers
    recorded: Numbers

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self.recorded if key.startswith(f"{prefix}/")]


@pytest.fixture(scope="module", params=NORMS)
def case(request: pytest.FixtureRequest) -> Case:
    with np.load(FILE) as file:
        recorded = {
            key.removeprefix(f"{request.param}/"): file[key]
            for key in file.files
            if key.startswith((f"{request.param}/", "image/"))
        }
    return Case(tiny_numbers(request.param), recorded)


def test_tiny_network_has_exactly_the_recorded_numbers(case: Case) -> None:
    assert case.found.keys() == case.recorded.keys()
    compared = [key for prefix in (*TOLERANCES, *MAPS) for key in case.keys(prefix)]
    assert sorted(compared) == sorted(case.recorded)


@pytest.mark.parametrize("prefix", TOLERANCES)
def test_tiny_network_numbers_are_close_to_the_recorded_ones(case: Case, prefix: str) -> None:
    rtol, atol = TOLERANCES[prefix]
    for key in case.keys(prefix):
        np.testing.assert_allclose(case.found[key], case.recorded[key], rtol, atol, err_msg=key)


HEADS = {"instance": ("rpn_head.", "roi_head."), "detection": ("rpn_head.", "roi_head."), "semantic": ("sem_head.",)}
OUTPUTS = {
    "instance": ("proposals", "detections/boxes", "detections/classes", "detections/scores", "detections/masks"),
    "detection": ("proposals", "detections/boxes", "detections/classes", "detections/scores"),
    "semantic": (),
}


@pytest.mark.parametrize("task", HEADS)
def test_tiny_network_of_another_task_has_the_recorded_numbers_of_its_heads(task: str) -> None:
    """The gradient of the body is that of fewer losses, so it is not among the recorded numbers."""
    with np.load(FILE) as file:
        recorded = {key.removeprefix("in_place/"): file[key] for key in file.files if key.startswith("in_place/")}
    found = tiny_numbers("in_place", task)
    compared = [key for key in found if key.startswith(("loss/", "statistics/", *OUTPUTS[task]))]
    compared += [key for key in found if key.removeprefix("gradient/").startswith(HEADS[task])]
    assert {key.partition("/")[0] for key in compared} >= {"loss", "gradient", "statistics"}
    for key in compared:
        rtol, atol = next(values for prefix, values in TOLERANCES.items() if key.startswith(prefix))
        np.testing.assert_allclose(found[key], recorded[key], rtol, atol, err_msg=key)
    if task == "semantic":
        for image in ("semantics/0", "semantics/1"):
            assert (found[image] != recorded[image]).mean() <= MAX_DIFFERENT_PIXELS


@pytest.mark.parametrize("prefix", MAPS)
def test_tiny_network_maps_equal_the_recorded_ones_except_for_a_few_pixels(case: Case, prefix: str) -> None:
    for key in case.keys(prefix):
        assert case.found[key].shape == case.recorded[key].shape
        assert (case.found[key] != case.recorded[key]).mean() <= MAX_DIFFERENT_PIXELS, key
