"""Objects pasted from one image into another, against sets of pixels."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from oracles import copy_paste as oracle
from support.detection_folder import write_detection
from support.tiny_dataset import TinyDataset, write_tiny_panoptic

from seamseg.data.copy_paste import AnnotatedImage, CopyPaste, paste_objects
from seamseg.data.dataset import SampleKey, TrainDataset
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.formats.coco_detection import CocoDetection
from seamseg.data.transforms import TrainTransform
from seamseg.errors import BrokenImageError
from seamseg.ops.id_maps import drop_empty_layers
from seamseg.structures import LayeredSegmentation, Sample

NUM_STUFF = 2
VOID = 255
NOT_CUT = torch.zeros(3, 4, dtype=torch.bool)


def drawn(layers: Sequence[str], classes: Sequence[int], crowd: Sequence[int] = (), color: int = 0) -> AnnotatedImage:
    """Return a gradient of colors with segments from one map per layer, such as ``"0112 0002"``."""
    ids = torch.tensor([[[int(pixel) for pixel in row] for row in layer.split()] for layer in layers])
    flags = torch.tensor([number in crowd for number in range(len(classes) + 1)])
    size = ids.shape[1:]
    image = (torch.arange(3 * size[0] * size[1]) + color).view(3, *size).to(torch.uint8)
    annotation = LayeredSegmentation(ids.to(torch.int32), torch.tensor([VOID, *classes]), flags)
    return AnnotatedImage(image, *drop_empty_layers(annotation)[:2])


def random_image(generator: torch.Generator, size: tuple[int, int], num_layers: int, color: int) -> AnnotatedImage:
    """Return rectangles of random classes, each in a random layer."""
    ids = torch.zeros(num_layers, *size, dtype=torch.int32)
    for segment in range(1, 8):
        layer = int(torch.randint(num_layers, (), generator=generator))
        (top, bottom), (left, right) = (sorted(torch.randint(side + 1, (2,), generator=generator)) for side in size)
        ids[layer, top:bottom, left:right] = segment
    classes = torch.tensor([VOID, *torch.randint(5, (7,), generator=generator).tolist()])
    crowd = torch.rand(8, generator=generator) < 0.2
    crowd[0] = False
    image = (torch.arange(3 * size[0] * size[1]) * 7 + color).view(3, *size).to(torch.uint8)
    return AnnotatedImage(image, *drop_empty_layers(LayeredSegmentation(ids, classes, crowd))[:2])


def described(segments: list[oracle.Segment]) -> list[tuple[object, ...]]:
    return [(sorted(segment.pixels), segment.class_index, segment.crowd) for segment in segments]


def check(onto: AnnotatedImage, source: AnnotatedImage, chosen: torch.Tensor, min_visible: float) -> AnnotatedImage:
    """Paste, compare with the oracle, and return the result."""
    before = pickle.dumps((onto, source))
    result = paste_objects(onto, source, chosen, min_visible)
    assert pickle.dumps((onto, source)) == before, "the images are not changed"
    source_segments = oracle.segments_of(source.annotation)
    colors, expected = oracle.copy_paste(
        onto.image.permute(1, 2, 0).tolist(),
        oracle.segments_of(onto.annotation),
        source.image.permute(1, 2, 0).tolist(),
        [source_segments[segment - 1] for segment in chosen.nonzero().flatten().tolist()],
        min_visible,
    )
    assert result.image.dtype == torch.uint8
    assert result.image.permute(1, 2, 0).tolist() == colors
    assert result.annotation.ids.dtype == torch.int32
    assert described(oracle.segments_of(result.annotation)) == described(expected)
    assert result.boxes[1:].tolist() == [segment.box for segment in expected]
    assert (int(result.annotation.classes[0]), bool(result.annotation.crowd[0])) == (VOID, False)
    return result


@pytest.mark.parametrize("seed", range(40))
def test_paste_of_random_segments_equals_sets_of_pixels(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = [tuple(torch.randint(1, 13, (2,), generator=generator).tolist()) for _ in range(2)]
    onto, source = (
        random_image(generator, size, num_layers, color)
        for size, num_layers, color in zip(sizes, [(1, 1), (2, 3), (3, 1), (1, 3)][seed % 4], (0, 100), strict=True)
    )
    paste = CopyPaste(1.0, NUM_STUFF, min_visible=0.0)
    shown = tuple(min(sides) for sides in zip(*sizes, strict=True))
    check(onto, source, paste.choose_objects(source.annotation, shown, generator), (0.0, 0.3, 1.0)[seed % 3])


def test_paste_covers_stuff_things_crowd_and_void_and_drops_what_is_hidden() -> None:
    #                            sky, car (hidden), person, crowd of cars (partly hidden)
    onto = drawn(["11223 11223 04444"], classes=[0, 2, 3, 2], crowd=[4])
    source = drawn(["00110 00110 01100"], classes=[3], color=50)
    result = check(onto, source, torch.tensor([False, True]), 0.1)
    assert result.annotation.ids[0].tolist() == [[1, 1, 4, 4, 2], [1, 1, 4, 4, 2], [0, 4, 4, 3, 3]]
    assert result.annotation.classes.tolist() == [VOID, 0, 3, 2, 3]
    assert result.annotation.crowd.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize(("min_visible", "crowd"), [(0.25, False), (0.26, True)])
def test_paste_makes_segments_crowd_that_keep_less_than_the_fraction(min_visible: float, crowd: bool) -> None:
    onto, source = drawn(["1111"], classes=[2]), drawn(["1110"], classes=[2])
    result = check(onto, source, torch.tensor([False, True]), min_visible)
    assert result.annotation.crowd.tolist() == [False, crowd, False]


def test_paste_keeps_cut_sides_of_segments_that_still_end_at_the_edge() -> None:
    onto, source = drawn(["1111 2222 3330"], classes=[2, 3, 2]), drawn(["0001 0200 0200"], classes=[2, 2])
    right, bottom = [False, False, False, True], [False, False, True, False]
    onto = replace(onto, cut=torch.tensor([[False] * 4, right, right, bottom]))
    source = replace(source, cut=torch.tensor([[False] * 4, right, bottom]))
    result = check(onto, source, torch.tensor([False, True, True]), 0.0)
    # The first segment lost its right end, the others kept their ends.
    assert result.annotation.ids[0].tolist() == [[1, 1, 1, 4], [2, 5, 2, 2], [3, 5, 3, 0]]
    assert result.cut is not None
    assert result.cut.tolist() == [[False] * 4, [False] * 4, right, bottom, right, bottom]
    assert torch.equal(check(drawn(["11"], [2]), drawn(["01"], [3]), torch.tensor([False, True]), 0).cut, NOT_CUT)


def test_paste_into_overlapping_layers_hides_the_objects_of_all_layers() -> None:
    onto = drawn(["1110 1110", "0222 0222"], classes=[2, 3])
    source = drawn(["0110 0000"], classes=[2], color=9)
    result = check(onto, source, torch.tensor([False, True]), 0.0)
    assert result.annotation.ids.tolist() == [[[1, 3, 3, 0], [1, 1, 1, 0]], [[0, 0, 0, 2], [0, 2, 2, 2]]]


def test_paste_of_overlapping_objects_keeps_their_overlap() -> None:
    onto = drawn(["1111"], classes=[0])
    source = drawn(["1100", "0220"], classes=[2, 3])
    result = check(onto, source, torch.tensor([False, True, True]), 0.0)
    assert result.annotation.ids.tolist() == [[[2, 2, 0, 1]], [[0, 3, 3, 0]]]


def test_paste_from_a_larger_image_keeps_the_common_corner_and_its_size() -> None:
    onto, source = drawn(["11 11"], classes=[0]), drawn(["0111 0111 0111"], classes=[2], color=7)
    result = check(onto, source, torch.tensor([False, True]), 0.0)
    assert result.annotation.ids.tolist() == [[[1, 2], [1, 2]]]


def test_paste_marks_objects_of_a_larger_image_as_cut_where_they_do_not_fit() -> None:
    onto = drawn(["1110 1110 1110"], classes=[0])
    #                continues on the right, ends at the right edge, continues below
    source = drawn(["00011 00020 03020 03000"], classes=[2, 2, 3])
    result = check(onto, source, torch.tensor([False, True, True, True]), 0.0)
    right, bottom = [False, False, False, True], [False, False, True, False]
    assert result.cut is not None
    assert result.cut.tolist() == [[False] * 4, [False] * 4, right, [False] * 4, bottom]


def test_paste_into_an_image_without_segments_only_adds_objects() -> None:
    onto, source = drawn(["000 000"], classes=[]), drawn(["110 000"], classes=[2])
    result = check(onto, source, torch.tensor([False, True]), 0.5)
    assert result.annotation.ids.tolist() == [[[1, 1, 0], [0, 0, 0]]]


def test_chosen_objects_are_things_without_crowd_that_fit_and_all_subsets_are_equally_likely() -> None:
    #                     stuff, thing, crowd, thing cut by a half, thing outside
    image = drawn(["1122344 1122344 5555555"], classes=[0, 2, 3, 3, 2], crowd=[3])
    generator = torch.Generator().manual_seed(0)
    subsets = [
        tuple(CopyPaste(1.0, NUM_STUFF, 0.5).choose_objects(image.annotation, (2, 6), generator).nonzero().flatten())
        for _ in range(800)
    ]
    counts = {subset: subsets.count(subset) for subset in {tuple(map(int, subset)) for subset in subsets}}
    assert set(counts) == {(), (2,), (4,), (2, 4)}
    assert all(150 < count < 250 for count in counts.values())
    strict = CopyPaste(1.0, NUM_STUFF, 0.51)
    assert not any(strict.choose_objects(image.annotation, (2, 6), generator)[4] for _ in range(20))


def test_other_image_is_drawn_uniformly_among_the_others_with_the_probability() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn_images = [CopyPaste(0.5, NUM_STUFF).other_image(2, 5, generator) for _ in range(2000)]
    assert 900 < drawn_images.count(None) < 1100
    assert all(200 < drawn_images.count(other) < 300 for other in (0, 1, 3, 4))
    assert 2 not in drawn_images
    assert CopyPaste(1.0, NUM_STUFF).other_image(0, 1, generator) == 0
    assert CopyPaste(1.0, NUM_STUFF).other_image(4, 5, generator) in range(4)


def test_image_without_objects_pastes_nothing() -> None:
    onto, source = drawn(["11"], classes=[0]), drawn(["12"], classes=[0, 2], crowd=[2])
    assert CopyPaste(1.0, NUM_STUFF)(onto, source, torch.Generator()) is onto


@pytest.mark.parametrize("wrong", [(1.5, 0.1), (0.5, -1.0)])
def test_fraction_out_of_range_is_refused(wrong: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"must be in 0 … 1"):
        CopyPaste(wrong[0], NUM_STUFF, wrong[1])


@pytest.fixture
def tiny(tmp_path: Path) -> TinyDataset:
    return write_tiny_panoptic(
        tmp_path, num_images=5, images_without_objects=[1], images_with_crowd=[2], images_with_void=[0]
    )


def train_dataset(tiny: TinyDataset, probability: float | None) -> TrainDataset:
    source = CocoPanoptic(tiny.folder, tiny.split)
    transform = TrainTransform(24, 64, (0.5, 1.5), True, (26, 30), crop_min_visible=0.1)
    paste = None if probability is None else CopyPaste(probability, source.categories.num_stuff, 0.1)
    return TrainDataset(source, transform, 3, paste)


def content(sample: Sample) -> list[object]:
    return [part.tolist() for part in (sample.image, sample.ids, sample.classes, sample.crowd, sample.boxes)]


def test_samples_without_pasting_equal_those_of_a_data_set_without_it(tiny: TinyDataset) -> None:
    plain, off, half = (train_dataset(tiny, probability) for probability in (None, 0.0, 0.5))
    changed = 0
    for key in (SampleKey(epoch, index) for epoch in range(6) for index in range(5)):
        expected, found = plain[key], half[key]
        assert content(off[key]) == content(expected)
        assert (found.image.shape, found.ids.shape) == (expected.image.shape, expected.ids.shape)
        changed += content(found) != content(expected)
    assert 5 < changed < 20


def test_sample_with_pasting_depends_only_on_seed_epoch_and_index(tiny: TinyDataset) -> None:
    key, used = SampleKey(1, 3), train_dataset(tiny, 1.0)
    for index in range(5):
        used[SampleKey(0, index)]
    state = torch.get_rng_state()
    copy = pickle.loads(pickle.dumps(used))
    assert content(used[key]) == content(train_dataset(tiny, 1.0)[key]) == content(copy[key])
    assert torch.equal(torch.get_rng_state(), state), "the global generator must not be used"


def test_broken_other_image_is_named(tiny: TinyDataset) -> None:
    dataset = train_dataset(tiny, 1.0)
    for file in tiny.image_folder.iterdir():
        if file.name != "003.png":
            file.write_bytes(b"no image")
    index = next(index for index in range(5) if dataset.source.image_path(index).name == "003.png")
    with pytest.raises(BrokenImageError, match=r"00[0124]\.png"):
        dataset[SampleKey(0, index)]


def test_pasted_detection_data_have_valid_layers_and_boxes(tmp_path: Path) -> None:
    source = CocoDetection(write_detection(tmp_path, ["train"]), "train")
    dataset = TrainDataset(source, TrainTransform(24, 64, (0.5, 1.5), True), 0, CopyPaste(1.0, 0, 0.1))
    grown = 0
    for key in (SampleKey(epoch, index) for epoch in range(6) for index in range(3)):
        sample = dataset[key]
        segments = oracle.segments_of(LayeredSegmentation(sample.ids, sample.classes, sample.crowd))
        assert sample.boxes[1:].tolist() == [segment.box for segment in segments]
        grown += len(segments) > len(dataset.source.read_annotation(key.index).classes) - 1
        assert sample.stated is None
    assert grown > 3
