"""Prediction pipeline: reading, prediction and writing overlap, keep the order, and hold few images in memory."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seamseg.errors import BrokenImageError
from seamseg.predict.pipeline import MOST_THREADS, Predicted, PredictionJob, overlapped
from seamseg.predict.predictor import Prediction, Prepared
from seamseg.predict.results_folder import ResultsFolder
from seamseg.structures import VOID, Categories, Detections, PanopticSegmentation, SemanticLogits


@dataclass(frozen=True)
class Picture:
    number: int
    size: tuple[int, int] = (8, 8)
    broken: bool = False


def read(picture: Picture) -> np.ndarray:
    if picture.broken:
        raise BrokenImageError(Path(f"{picture.number}.jpg"), "is broken")
    return np.full((*picture.size, 3), picture.number % 256, np.uint8)


class StubPredictor:
    """Predicts one segment per image, and records the sizes of its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.threads: set[str] = set()

    def prepare(self, image: np.ndarray) -> Prepared:
        self.threads.add(threading.current_thread().name)
        return Prepared(image.shape[:2], (torch.from_numpy(image).permute(2, 0, 1),))

    def predict(self, images: Sequence[Prepared]) -> list[Prediction]:
        assert threading.current_thread() is threading.main_thread()
        self.batches.append(len(images))
        return [self._prediction(image.size) for image in images]

    def _prediction(self, size: tuple[int, int]) -> Prediction:
        found = PanopticSegmentation(
            torch.ones(size, dtype=torch.int64), torch.tensor([VOID, 0]), torch.zeros(2) > 0, torch.tensor([0.0, 1.0])
        )
        none = Detections(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0), torch.zeros(0, 28, 28))
        return Prediction(found, none, SemanticLogits(torch.zeros(1, *size), size, size))


def raise_error(image: Picture, error: BrokenImageError) -> None:
    raise error


def job_of(predictor: Any, batch_size: int) -> PredictionJob:
    return PredictionJob(predictor, ResultsFolder(Path("unused"), (), Categories(()), ""), "new", {}, batch_size)


def run(pictures: Sequence[Picture], batch_size: int = 1, **given: Any) -> tuple[list[int], list[int]]:
    stub = StubPredictor()
    write = given.pop("write", lambda found: found.source.number)
    numbers = list(overlapped(job_of(stub, batch_size), pictures, read, write, given.pop("on_broken", raise_error)))
    assert threading.main_thread().name not in stub.threads
    return numbers, stub.batches


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_overlapped_with_any_batch_size_keeps_the_order(batch_size: int) -> None:
    numbers, batches = run([Picture(number) for number in range(40)], batch_size)
    assert numbers == list(range(40))
    assert sum(batches) == 40
    assert set(batches[:-1]) == {batch_size}


def test_overlapped_with_several_sizes_batches_only_neighbors_of_one_size() -> None:
    sizes = [(8, 8), (8, 8), (8, 9), (8, 8), (8, 8), (8, 8), (8, 8)]
    numbers, batches = run([Picture(number, size) for number, size in enumerate(sizes)], 3)
    assert numbers == list(range(7))
    assert batches == [2, 1, 3, 1]


def test_overlapped_with_broken_images_skips_and_reports_them() -> None:
    broken: list[tuple[int, str]] = []
    pictures = [Picture(number, broken=number % 3 == 1) for number in range(10)]
    numbers, _ = run(pictures, 2, on_broken=lambda image, error: broken.append((image.number, str(error))))
    assert numbers == [0, 2, 3, 5, 6, 8, 9]
    assert broken == [(number, f"{number}.jpg is broken") for number in (1, 4, 7)]


def test_overlapped_write_receives_picture_and_prediction_of_its_image() -> None:
    def write(found: Predicted[Picture]) -> int:
        assert (found.picture == found.source.number % 256).all()
        assert found.prediction.segmentation.ids.shape == found.source.size
        return found.source.number

    assert run([Picture(number, (3, 1 + number % 2)) for number in range(300)], 4, write=write)[0] == list(range(300))


def test_overlapped_with_ten_thousand_images_holds_few_in_memory() -> None:
    """Weak references count the images that are alive."""
    alive: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
    most = 0

    class Counted(np.ndarray):
        pass

    def counted(picture: Picture) -> np.ndarray:
        image = read(picture).view(Counted)
        alive[picture.number] = image
        return image

    pictures = (Picture(number) for number in range(10_000))
    job = job_of(StubPredictor(), 1)
    for number, written in enumerate(
        overlapped(job, pictures, counted, lambda found: found.source.number, raise_error)
    ):
        assert number == written
        most = max(most, len(alive))
    assert 0 < most <= 4 * MOST_THREADS + 8


def test_overlapped_with_a_write_error_raises_it() -> None:
    def full(found: Predicted[Picture]) -> int:
        raise OSError(28, "No space left on device", "out/a.png")

    with pytest.raises(OSError, match="No space left on device"):
        run([Picture(number) for number in range(20)], write=full)
