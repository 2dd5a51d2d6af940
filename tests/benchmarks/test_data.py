"""Pipelines and rows of the benchmark of training samples."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.data import race
from benchmarks.data_pipelines import Result, check_same, normalized, ours, plain
from benchmarks.data_sets import made_up
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.transforms import TrainTransform

TRANSFORM = TrainTransform(64, 128, (0.8, 1.0), random_flip=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> CocoPanoptic:
    return made_up(tmp_path_factory.mktemp("scenes"), (192, 384), num_scenes=2, enlarge=2)


def test_enlarged_scenes_have_the_requested_size_and_consistent_annotation(source: CocoPanoptic) -> None:
    assert source.sizes == [(192, 384)] * 2
    assert source.read_image(0).shape == (192, 384, 3)
    annotation = source.read_annotation(0)
    content = json.loads(source.annotation_file.read_text())
    stated = {segment["area"] for segment in content["annotations"][0]["segments_info"]}
    assert stated == set(annotation.ids.flatten().bincount()[1:].tolist())


def test_both_pipelines_make_the_same_samples(source: CocoPanoptic) -> None:
    mine, theirs = ours(source, TRANSFORM), plain(source, TRANSFORM)
    for index in range(2):
        check_same(mine(index), theirs(index))
        mine_normalized, theirs_normalized = normalized(mine)(index), normalized(theirs)(index)
        assert mine_normalized.image.dtype == theirs_normalized.image.dtype == torch.float32
        assert (mine_normalized.image - theirs_normalized.image).abs().mean() < 0.15


def test_check_same_of_different_samples_fails(source: CocoPanoptic) -> None:
    mine, theirs = ours(source, TRANSFORM)(0), plain(source, TRANSFORM)(0)
    image, ids, classes, boxes = mine.image, mine.ids, mine.classes, mine.boxes
    for wrong in (
        Result(255 - image, ids, classes, boxes),
        Result(image, ids.flip(1), classes, boxes),
        Result(image, ids, classes.roll(1), boxes),
        Result(image, ids, classes, boxes + 1),
    ):
        with pytest.raises(AssertionError, match="different samples"):
            check_same(wrong, theirs)


def test_race_gives_a_row_with_a_limit_and_one_with_normalization(source: CocoPanoptic) -> None:
    limited, other = race("loader-x", source, (64, 128), 1, 0.4)
    assert (limited.slug, limited.must, other.slug, other.must) == ("loader-x", 0.4, "loader-x-normalized", None)
    assert limited.ratio is not None
