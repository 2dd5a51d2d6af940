"""Batches loaded ahead by worker processes."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from support.tiny_dataset import TinyDataset, write_tiny_panoptic
from torch.utils.data import Dataset

from seamseg.data.color_jitter import ColorJitter
from seamseg.data.copy_paste import CopyPaste
from seamseg.data.dataset import EvaluationDataset, SampleKey, TrainDataset
from seamseg.data.formats.coco import CocoPanoptic
from seamseg.data.loader import BatchLoader
from seamseg.data.samplers import EvaluationBatches, TrainBatches
from seamseg.data.transforms import InputTransform, Normalize, TrainTransform
from seamseg.errors import BrokenImageError
from seamseg.structures import Batch, Sample

NO_MEAN, NO_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
UNNORMALIZED = {"device": torch.device("cpu"), "normalize": Normalize(NO_MEAN, NO_STD)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyDataset:
    return write_tiny_panoptic(tmp_path_factory.mktemp("tiny"), num_images=10, images_without_objects=[4])


def train_loader(tiny: TinyDataset, num_workers: int) -> BatchLoader[Batch]:
    source = CocoPanoptic(tiny.folder, tiny.split)
    transform = TrainTransform(24, 64, random_scale=(0.5, 1.5), random_flip=True)
    sampler = TrainBatches(source.sizes, 2, seed=3)
    return BatchLoader(
        TrainDataset(source, transform, seed=3), Batch.collate, sampler, num_workers=num_workers, **UNNORMALIZED
    )


def evaluation_loader(folder: Path, num_workers: int = 0, **options: object) -> BatchLoader[Batch]:
    source = CocoPanoptic(folder, "train")
    dataset = EvaluationDataset(source, InputTransform(24, 64, NO_MEAN, NO_STD))
    sampler = EvaluationBatches(source.sizes, 2)
    return BatchLoader(dataset, Batch.collate, sampler, num_workers=num_workers, **UNNORMALIZED | options)  # type: ignore[arg-type]


def content(batches: list[Batch]) -> list[tuple[object, ...]]:
    """Return everything in the batches in comparable form."""
    return [
        (
            batch.image_ids,
            [image.tolist() for image in batch.images.present],
            [ids.tolist() for ids in batch.ground_truth.ids.present],
            [boxes.tolist() for boxes in batch.ground_truth.boxes.present],
        )
        for batch in batches
    ]


def test_batches_are_independent_of_the_number_of_workers(tiny: TinyDataset) -> None:
    serial, parallel = train_loader(tiny, 0), train_loader(tiny, 2)
    first_epochs = []
    for epoch in (0, 1):
        batches = content(list(serial.epoch(epoch)))
        assert len(batches) == serial.num_batches == 5
        assert content(list(parallel.epoch(epoch))) == batches
        first_epochs.append(batches)
    assert first_epochs[0] != first_epochs[1]
    assert content(list(parallel.epoch(0))) == first_epochs[0], "an epoch can be repeated"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_epoch_with_start_resumes_an_interrupted_epoch(tiny: TinyDataset, num_workers: int) -> None:
    loader = train_loader(tiny, num_workers)
    whole = content(list(loader.epoch(4)))
    interrupted = loader.epoch(4)
    next(interrupted)
    next(interrupted)
    del interrupted
    assert content(list(loader.epoch(4, start=2))) == whole[2:]
    assert content(list(train_loader(tiny, 0).epoch(4, start=4))) == whole[4:]
    assert list(loader.epoch(4, start=5)) == []
    with pytest.raises(ValueError, match="cannot start at 6"):
        loader.epoch(4, start=6)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_loader_does_not_use_the_global_generator(tiny: TinyDataset, num_workers: int) -> None:
    state = torch.get_rng_state()
    list(train_loader(tiny, num_workers).epoch(0))
    assert torch.equal(torch.get_rng_state(), state)


def test_evaluation_epoch_returns_every_image_once(tiny: TinyDataset) -> None:
    loader = evaluation_loader(tiny.folder)
    image_ids = [image_id for batch in loader.epoch(0) for image_id in batch.image_ids]
    assert sorted(image_ids) == list(range(100, 110))


@pytest.fixture
def damaged(tmp_path: Path) -> TinyDataset:
    """Write ten images: a truncated image (0), a missing PNG (3), and a batch without any readable image (5, 7)."""
    tiny = write_tiny_panoptic(tmp_path, num_images=10)
    for file in (tiny.image_folder / "000.png", tiny.png_folder / "005.png", tiny.image_folder / "007.png"):
        file.write_bytes(file.read_bytes()[:50])
    (tiny.png_folder / "003.png").unlink()
    return tiny


@pytest.mark.parametrize("num_workers", [0, 1])
def test_worker_errors_arrive_unchanged_in_the_main_process(damaged: TinyDataset, num_workers: int) -> None:
    with pytest.raises(BrokenImageError) as caught:
        list(evaluation_loader(damaged.folder, num_workers).epoch(0))
    file = damaged.image_folder / "000.png"
    assert str(caught.value) == f"{file} cannot be decoded: it is truncated, damaged or not an image"
    assert caught.value.path == file


@pytest.mark.parametrize("num_workers", [0, 1])
def test_broken_images_are_reported_and_left_out_with_a_handler(damaged: TinyDataset, num_workers: int) -> None:
    reported: list[BrokenImageError] = []
    loader = evaluation_loader(damaged.folder, num_workers, on_broken_image=reported.append)
    batches = list(loader.epoch(0))
    assert sorted(image_id for batch in batches for image_id in batch.image_ids) == [101, 102, 104, 106, 108, 109]
    assert min(len(batch) for batch in batches) == 1
    assert sorted(error.path.stem for error in reported) == ["000", "003", "005", "007"]


def test_wrong_annotation_raises_in_spite_of_a_handler(tmp_path: Path) -> None:
    tiny = write_tiny_panoptic(tmp_path)
    tiny.edit_json(lambda json: json["annotations"][1]["segments_info"].pop())
    loader = evaluation_loader(tiny.folder, 1, on_broken_image=lambda error: None)
    with pytest.raises(ValueError, match="does not describe"):
        list(loader.epoch(0))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batch_tensors_own_unshared_memory(tiny: TinyDataset, num_workers: int) -> None:
    for batch in train_loader(tiny, num_workers).epoch(0):
        truth = batch.ground_truth
        parts = [
            tensor for part in (batch.images, truth.ids, truth.classes, truth.crowd, truth.boxes) for tensor in part
        ]
        assert not any(tensor.is_shared() for tensor in parts)
        storages = {tensor.untyped_storage().data_ptr() for tensor in parts}
        assert len(storages) == len(parts), "each tensor must own its memory"


class Faulty(Dataset[Sample]):
    """A data set with a bug in its code, as opposed to its data."""

    def __getitem__(self, key: SampleKey) -> Sample:
        raise KeyError(key.index)


def test_programming_errors_in_workers_keep_their_traceback() -> None:
    loader = BatchLoader(Faulty(), Batch.collate, EvaluationBatches([(4, 4)], 1), num_workers=1, **UNNORMALIZED)
    with pytest.raises(KeyError, match="__getitem__"):
        list(loader.epoch(0))


def test_loaded_batches_have_normalized_images_and_int64_ids(tiny: TinyDataset) -> None:
    source = CocoPanoptic(tiny.folder, tiny.split)
    dataset = EvaluationDataset(source, InputTransform(24, 64, NO_MEAN, NO_STD))
    normalize = Normalize((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    sampler = EvaluationBatches(source.sizes, 3)
    loader = BatchLoader(
        dataset, Batch.collate, sampler, num_workers=1, device=torch.device("cpu"), normalize=normalize
    )
    for batch in loader.epoch(0):
        for position, image_id in enumerate(batch.image_ids):
            sample = dataset[SampleKey(0, int(image_id) - 100)]
            image, ids = batch.images.entry(position), batch.ground_truth.ids.entry(position)
            assert (image.dtype, ids.dtype) == (torch.float32, torch.int64)
            for channel in range(3):
                wanted = (sample.image[channel].double() / 255 - (0.5, 0.4, 0.3)[channel]) / (0.1, 0.2, 0.3)[channel]
                assert torch.allclose(image[channel].double(), wanted, atol=1e-5)
            assert torch.equal(ids, sample.ids.long())


def test_augmentation_depends_only_on_seed_epoch_and_index(tiny: TinyDataset) -> None:
    """All augmentations are on, and zero, one or two worker processes read."""
    source = CocoPanoptic(tiny.folder, tiny.split)
    jitter = ColorJitter(0.4, 0.4, 0.4, 0.1)
    transform = TrainTransform(24, 64, (0.5, 1.5), True, (20, 22), crop_min_visible=0.3, color_jitter=jitter)
    contents = []
    for num_workers in (0, 1, 2):
        sampler = TrainBatches(source.sizes, 2, seed=3)
        dataset = TrainDataset(source, transform, 3, CopyPaste(0.5, source.categories.num_stuff, 0.3))
        loader = BatchLoader(dataset, Batch.collate, sampler, num_workers=num_workers, **UNNORMALIZED)
        contents.append([content(list(loader.epoch(epoch))) for epoch in (0, 1)])
    assert contents[0] == contents[1] == contents[2]
    assert contents[0][0] != contents[0][1]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of processes from /proc")
def test_memory_and_open_files_are_constant_over_a_thousand_batches(tiny: TinyDataset) -> None:
    loader = train_loader(tiny, num_workers=2)
    taken = []
    for epoch in range(1000 // loader.num_batches):
        for batch in loader.epoch(epoch):
            assert len(batch) == 2
        taken.append(resources())
    (early_bytes, early_files), (late_bytes, late_files) = taken[len(taken) // 4], taken[-1]
    assert late_bytes < early_bytes + 6 * 2**20  # keeping one image of each batch would take 7 MB
    assert late_files <= early_files + 4


def resources() -> tuple[int, int]:
    """Return the bytes in memory and the number of open files of this process and its workers."""
    processes = ["self", *(str(process.pid) for process in multiprocessing.active_children())]
    pages = sum(int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in processes)
    return pages * os.sysconf("SC_PAGE_SIZE"), sum(len(os.listdir(f"/proc/{process}/fd")) for process in processes)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_of_a_cuda_loader_are_on_the_device(tiny: TinyDataset) -> None:
    expected = next(evaluation_loader(tiny.folder, 1).epoch(0))
    batch = next(evaluation_loader(tiny.folder, 1, device=torch.device("cuda")).epoch(0))
    for on_gpu, on_cpu in ((batch.images, expected.images), (batch.ground_truth.ids, expected.ground_truth.ids)):
        assert on_gpu.device.type == "cuda"
        assert all(torch.allclose(a.cpu(), b) for a, b in zip(on_gpu.present, on_cpu.present, strict=True))
