"""Merged, renamed and dropped classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_dataset import write_tiny_panoptic

from seamseg.convert.job import run_job
from seamseg.convert.panoptic_target import PanopticTarget
from seamseg.convert.remap import ClassMapping, read_class_mapping, remap_job
from seamseg.data.formats.open import open_data_set
from seamseg.errors import SettingsError
from seamseg.structures import VOID, Categories, Category, PanopticSegmentation

OLD = Categories(
    tuple(
        Category(name, index >= 3, (index, 0, 0), 10 * index)
        for index, name in enumerate(["road", "grass", "sky", "car", "truck", "person"])
    )
)
MERGED = """
stuff:
  ground: [road, grass]
  people: person
things:
  vehicle: [car, truck]
void: [sky]
"""


def written(folder: Path, text: str) -> Path:
    (folder / "classes.yaml").write_text(text)
    return folder / "classes.yaml"


def test_mapping_numbers_new_classes_in_file_order(tmp_path: Path) -> None:
    mapping = read_class_mapping(written(tmp_path, MERGED), OLD)
    assert mapping.categories.to_list() == [
        {"id": 1, "name": "ground", "isthing": 0, "color": [0, 0, 0]},
        {"id": 2, "name": "people", "isthing": 0, "color": [5, 0, 0]},
        {"id": 3, "name": "vehicle", "isthing": 1, "color": [3, 0, 0]},
    ]
    assert mapping.new_class == (0, 0, VOID, 2, 2, 1)


def test_segments_of_a_drawn_map_are_merged_by_class(tmp_path: Path) -> None:
    mapping = read_class_mapping(written(tmp_path, MERGED), OLD)
    old = PanopticSegmentation(
        # 1 road, 2 grass, 3 sky, 4 car, 5 truck, 6 person, 7 crowd of cars, 8 person without a pixel
        torch.tensor([[0, 3, 3, 3, 7], [1, 4, 5, 6, 7], [1, 1, 2, 2, 2]], dtype=torch.int32),
        torch.tensor([VOID, 0, 1, 2, 3, 4, 5, 3, 5]),
        torch.tensor([False] * 7 + [True, False]),
    )
    new = mapping.apply(old)
    assert new.ids.tolist() == [[0, 0, 0, 0, 5], [1, 3, 4, 2, 5], [1, 1, 1, 1, 1]]
    assert new.ids.dtype == torch.int32
    assert new.classes.tolist() == [VOID, 0, 1, 2, 2, 2]
    assert new.crowd.tolist() == [False, False, False, False, False, True]


def test_crowd_that_becomes_stuff_is_ordinary_stuff() -> None:
    old = PanopticSegmentation(torch.tensor([[1, 2]]), torch.tensor([VOID, 5, 5]), torch.tensor([False, True, False]))
    people = Categories((Category("people", False, (0, 0, 0), 1),))
    new = ClassMapping(people, (VOID, VOID, VOID, VOID, VOID, 0)).apply(old)
    assert (new.ids.tolist(), new.classes.tolist(), new.crowd.tolist()) == ([[1, 1]], [VOID, 0], [False, False])


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("stuff: {ground: [road, grass, lawn]}", ["ground", "lawn", "road"]),
        ("stuff: {ground: [road, grass], green: grass}", ["green", "grass", "twice"]),
        ("stuff: {ground: [road, grass]}\nthings: {air: sky}", ["air", "sky", "stuff"]),
        ("stuff: {ground: [road, grass]}\nvoid: [sky, car]", ["truck, person", "void"]),
        ("stuff: {ground: 3}", ["ground", "3"]),
        ("stuff: {ground: []}", ["ground", "[]"]),
        ("stuff: [road]", ["grass", "void"]),
        ("stuff: [road, grass, road]", ["road", "twice"]),
        ("stuff: road", ["stuff"]),
        ("stuffs: {ground: road}", ["stuff, things and void"]),
        ("- road", ["stuff, things and void"]),
    ],
)
def test_wrong_file_is_refused_with_the_class_it_names(tmp_path: Path, text: str, facts: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        read_class_mapping(path, OLD)
    assert all(fact in str(caught.value) for fact in [str(path), *facts])


def test_written_split_has_merged_segments_of_the_source(tmp_path: Path) -> None:
    data = write_tiny_panoptic(tmp_path / "tiny", images_with_crowd=[1], images_with_void=[2])
    source = open_data_set(data.folder, data.split)
    text = "stuff: {all: [sky, road]}\nthings: {object: [car, person]}"
    mapping = read_class_mapping(written(tmp_path, text), source.categories)
    summary = run_job(remap_job(source, mapping, PanopticTarget(tmp_path / "out", data.split)), num_workers=1)
    result = open_data_set(tmp_path / "out", data.split)
    assert (summary.num_items, len(result)) == (len(source), len(source))
    assert result.categories.names == ("all", "object")
    by_id = {result.image_id(index): index for index in range(len(result))}
    for index in range(len(source)):
        before, after = source.read_annotation(index), result.read_annotation(by_id[source.image_id(index)])
        is_thing = before.classes[before.ids.long()] >= 2
        void = before.semantics == VOID
        assert torch.equal(after.semantics, torch.where(void, VOID, is_thing.long().masked_fill(void, 0)))
        pairs = torch.stack([before.ids[is_thing & ~void].long(), after.ids[is_thing & ~void].long()]).unique(dim=1)
        assert pairs.shape[1] == pairs[0].unique().numel() == pairs[1].unique().numel()
        assert torch.equal(before.crowd[pairs[0]], after.crowd[pairs[1]])
        pixels = result.read_image(by_id[source.image_id(index)])
        assert np.array_equal(pixels, source.read_image(index))
