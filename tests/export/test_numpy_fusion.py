"""Fusion in NumPy, compared with the native fusion and with slow loops over whole images."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from oracles import fusion as oracle
from support.fusion_cases import NUM_STUFF, Scene, scenes
from torch import Tensor

from seamseg.algos.fusion import PanopticFusion
from seamseg.algos.fusion import fuse as native_fuse
from seamseg.data.resizing import nearest
from seamseg.export import numpy_fusion
from seamseg.export.numpy_fusion import Description, NumpySegmentation, fuse, input_size, one_image
from seamseg.structures import Detections


def description(num_stuff: int, score: float = 0.5, overlap: float = 0.5, area: float = 1.0) -> Description:
    return Description(
        height=4,
        width=6,
        batch=1,
        size_multiple=32,
        shortest_side=4,
        longest_side=6,
        names=("sky", "road", "car"),
        colors=((1, 2, 3), (4, 5, 6), (7, 8, 9)),
        original_ids=(7, 8, 30),
        num_stuff=num_stuff,
        score_threshold=score,
        overlap_threshold=overlap,
        min_stuff_area=area,
        version="1",
    )


def outputs(found: Detections, semantics: Tensor, num_stuff: int, num_empty: int = 3) -> dict[str, np.ndarray]:
    """Convert detections to the outputs of an exported network, with rows that are not valid."""
    parts = {
        "boxes": found.boxes,
        "classes": found.classes + num_stuff,
        "scores": found.scores,
        "masks": found.masks,
        "valid": torch.ones(len(found), dtype=torch.bool),
    }
    padded = {name: torch.cat([part, part.new_zeros(num_empty, *part.shape[1:])]) for name, part in parts.items()}
    return {"semantics": semantics.to(torch.uint8).numpy()} | {name: part.numpy() for name, part in padded.items()}


def check(found: NumpySegmentation, expected: tuple[Tensor, list[int], list[float], list[bool]]) -> None:
    ids, classes, scores, crowd = expected
    assert np.array_equal(found.ids, ids.numpy())
    assert found.classes.tolist() == classes
    assert found.scores.tolist() == scores
    assert found.crowd.tolist() == crowd


@given(scenes())
@settings(max_examples=100)
def test_fuse_random_scenes_equal_the_oracle(scene: Scene) -> None:
    one = scene.detections
    thresholds = (scene.score_threshold, scene.overlap_threshold, scene.min_stuff_area)
    found = fuse(outputs(one, scene.semantics, NUM_STUFF), description(NUM_STUFF, *thresholds))
    parts = (one.boxes, one.classes, one.scores, one.masks, scene.semantics)
    check(found, oracle.fuse(*parts, NUM_STUFF, *thresholds))


def random_scene(seed: int) -> tuple[Detections, Tensor]:
    generator, size = torch.Generator().manual_seed(seed), (120, 160)
    corners = torch.rand(30, 2, 2, generator=generator) * (torch.tensor(size) + 20) - 10
    found = Detections(
        torch.cat([corners.amin(1), corners.amax(1)], dim=1),
        torch.randint(0, 4, (30,), generator=generator),
        torch.rand(30, generator=generator),
        torch.randn(30, 28, 28, generator=generator) * 3 + 1,
    )
    return found, torch.randint(0, 9, (12, 16), generator=generator).repeat_interleave(10, 0).repeat_interleave(10, 1)


@pytest.mark.parametrize("seed", range(5))
def test_fuse_random_scenes_equal_native_fusion(seed: int) -> None:
    found, semantics = random_scene(seed)
    expected, _ = native_fuse(
        found, semantics, num_stuff=5, score_threshold=0.2, overlap_threshold=0.4, min_stuff_area=300
    )
    result = fuse(outputs(found, semantics, 5), description(5, 0.2, 0.4, 300))
    assert 5 < len(result.classes) < 39
    assert result.classes.tolist() == expected.classes.tolist()
    assert result.scores.tolist() == expected.scores.tolist()
    assert result.crowd.tolist() == expected.crowd.tolist()
    assert np.count_nonzero(result.ids != expected.ids.numpy()) <= 2  # pixels whose probability is ½ up to rounding


@pytest.mark.parametrize("area", [0, 300, 0.02])
@pytest.mark.parametrize("size", [(240, 320), (91, 203), (120, 160)])
def test_fuse_at_another_size_equals_the_fusion_of_predict(size: tuple[int, int], area: float) -> None:
    """A minimum area below 1 is a fraction of the image; any other is in pixels of the network's input."""
    (found, semantics), numbers = random_scene(1), (5, 0.2, 0.4, area)
    semantics[:9, :20] = 9  # 180 of 19200 pixels
    rows, columns = (torch.from_numpy(nearest(*sides)) for sides in zip(semantics.shape, size, strict=True))
    classes = semantics[rows][:, columns]
    expected = PanopticFusion(*numbers).with_classes(found, classes, tuple(semantics.shape)).segmentation
    result = fuse(outputs(found, semantics, 5), description(*numbers), size)
    assert result.classes.tolist() == expected.classes.tolist()
    assert np.count_nonzero(result.ids != expected.ids.numpy()) <= 4  # pixels whose probability is ½ up to rounding
    assert (9 in result.classes) == (area == 0)


def test_fuse_stuff_of_exactly_the_minimum_area_at_another_size_is_kept() -> None:
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(0, 4, 4))
    result = fuse(outputs(nothing, torch.zeros(3, 3), 2), description(2, area=9), (7, 7))  # 9 · (7/3)² is above 49
    assert result.classes.tolist() == [255, 0]


def test_fuse_incomplete_outputs_or_those_of_a_batch_are_refused() -> None:
    one = outputs(*random_scene(0), 5)
    with pytest.raises(ValueError, match="there are no boxes, masks"):
        fuse({name: value for name, value in one.items() if name not in ("masks", "boxes")}, description(5))
    with pytest.raises(ValueError, match=r"one_image\(outputs, index\)"):
        fuse({name: value[None] for name, value in one.items()}, description(5))


def test_fuse_at_another_size_scales_masks_and_areas() -> None:
    semantics = torch.zeros(4, 6, dtype=torch.int64)
    semantics[:, 3:] = 1
    thing = Detections(
        torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([0]), torch.tensor([0.9]), torch.full((1, 8, 8), 30.0)
    )
    result = fuse(outputs(thing, semantics, 2), description(2, area=8), (8, 12))
    expected = np.full((8, 12), 2)
    expected[:, 6:] = 3
    expected[:4, :4] = 1
    assert np.array_equal(result.ids, expected)  # 32 free pixels of class 0, not less than 8 · 4


def test_description_json_is_read_back_equal() -> None:
    one = description(2)
    assert Description.from_json(one.to_json()) == one


def test_description_foreign_or_incomplete_json_is_refused() -> None:
    for text in ("[]", "{}", '{"format": "seamseg export 1"}'):
        with pytest.raises(ValueError, match="not the description of a network"):
            Description.from_json(text)
    with pytest.raises(ValueError, match="has no names"):
        Description.from_json(description(2).to_json().replace('"names"', '"nomen"'))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1024, 2048), (512, 1024)),
        ((600, 600), (512, 512)),
        ((100, 400), (256, 1024)),
        ((400, 100), (1024, 256)),
        ((480, 641), (512, 672)),
        ((9, 9000), (64, 1024)),
    ],
)
def test_input_size_of_any_size_is_the_trained_size_in_multiples(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    one = dataclasses.replace(description(2), height=None, width=None, shortest_side=512, longest_side=1024)
    assert input_size(one, size) == expected
    assert input_size(description(2), size) == (4, 6)


def test_one_image_takes_its_rows_of_all_outputs() -> None:
    found = one_image({"scores": np.array([[1, 2], [3, 4]]), "valid": np.array([[True], [False]])}, 1)
    assert found["scores"].tolist() == [3, 4]
    assert found["valid"].tolist() == [False]


def test_numpy_fusion_file_imports_only_numpy(tmp_path: Path) -> None:
    shutil.copy(str(numpy_fusion.__file__), tmp_path / "fusion.py")
    code = (
        "import sys, numpy, fusion; "
        "print({name.split('.')[0] for name in sys.modules} & {'torch', 'cv2', 'seamseg', 'onnx'}, fusion.VOID)"
    )
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set() 255\n"
    inside = "import sys; import seamseg.export.numpy_fusion; print('torch' in sys.modules)"
    environment = {"PYTHONPATH": str(Path(numpy_fusion.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", inside], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
