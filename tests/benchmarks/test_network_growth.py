"""Growth of costs, and the picture of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision

from benchmarks.growth_picture import COSTS, growth_picture, main
from benchmarks.network_cases import FULL, QUICK
from benchmarks.network_growth import (
    CAUSES,
    MEASURES,
    Cause,
    Extent,
    base_extent,
    cause_times,
    costs,
    growth_row,
    growth_rows,
    peak_gigabytes,
)
from benchmarks.table import Row, write_rows
from seamseg.algos import matching
from seamseg.ops.boxes import best_overlaps
from seamseg.structures import Size
from seamseg.visualization.colors import BLUE, ORANGE

AREA, OBJECTS, CLASSES, IMAGES = CAUSES


def extent(size: Size = (32, 64), objects: int = 1, stuff: int = 11, things: int = 8, images: int = 2) -> Extent:
    return Extent(size, objects, stuff, things, images)


def test_each_cause_multiplies_one_thing_by_its_factor() -> None:
    assert AREA.grown(extent()) == extent(size=(64, 128))
    assert OBJECTS.grown(extent()) == extent(objects=10)
    assert CLASSES.grown(extent()) == extent(stuff=44, things=32)
    assert IMAGES.grown(extent()) == extent(images=4)
    assert [cause.factor for cause in CAUSES] == [4, 10, 4, 2]


def test_grown_area_and_objects_are_those_of_the_plan() -> None:
    assert base_extent(FULL) == extent(size=(256, 512), objects=10)
    assert base_extent(QUICK) == extent(size=(32, 64), objects=1)


def test_all_costs_but_memory_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(QUICK), "start", lambda _: None)
    taken = cause_times(QUICK, OBJECTS)
    assert set(taken) | {"memory"} == set(MEASURES)
    assert all(grown > 0 and base > 0 for grown, base in taken.values())


@pytest.mark.parametrize(("cause", "objects", "boxes"), [(OBJECTS, 10, 1), (CLASSES, 1, 4)])
def test_parts_work_on_grown_causes(monkeypatch: pytest.MonkeyPatch, cause: Cause, objects: int, boxes: int) -> None:
    suppressed: list[int] = []
    matched: list[int] = []

    def recorded(kept: list[int], place: int, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            kept.append(len(given[place]))
            return function(*given)

        return call

    monkeypatch.setattr(torchvision.ops, "batched_nms", recorded(suppressed, 0, torchvision.ops.batched_nms))
    monkeypatch.setattr(matching, "best_overlaps", recorded(matched, 1, best_overlaps))
    base, totals = base_extent(QUICK), []
    for one in (base, cause.grown(base)):
        works = costs(QUICK, one)
        suppressed.clear()
        matched.clear()
        works["nms"]()
        works["targets"]()
        assert len(suppressed) == one.num_images
        assert set(matched) == {one.num_objects}
        totals.append(sum(suppressed))
    assert matched[0] == objects
    assert totals[1] == pytest.approx(boxes * totals[0], rel=0.02)  # clipped boxes without area are dropped


def test_rows_compare_each_cost_with_the_factor_of_its_cause() -> None:
    def measured(function: object, *given: Any) -> object:
        if function is peak_gigabytes:
            return 1.0 if given[1] == base_extent(QUICK) else 3.0
        return {cost: (8.0, 2.0) for cost in MEASURES if cost != "memory"}

    rows = {row.slug: row for row in growth_rows(replace(QUICK, in_process=measured))}
    assert list(rows) == [f"growth-{cause.slug}-{cost}" for cause in CAUSES for cost in MEASURES]
    memory, step = rows["growth-images-memory"], rows["growth-area-step"]
    assert (memory.ratio, memory.must, memory.aim, memory.unit, memory.holds) == (3, 2.2, 2, "GB", False)
    assert (step.ratio, step.must, step.aim, step.unit, step.holds) == (4, 4.4, 4, "ms", True)


def rows_of(ratio: float) -> dict[str, Row]:
    rows = [growth_row(cause, base_extent(FULL), cost, ratio, 1.0) for cause in CAUSES for cost in COSTS]
    return {row.slug: row for row in rows}


def longest(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((picture == color).all(axis=2).sum(axis=1).max())


def test_picture_has_a_bar_for_every_cost_and_marks_those_beyond_their_limit() -> None:
    assert set(COSTS) == set(MEASURES)
    half, whole = growth_picture(rows_of(1.0)), growth_picture(rows_of(2.0))
    assert longest(whole, BLUE) == pytest.approx(2 * longest(half, BLUE), abs=4)
    assert longest(whole, ORANGE) == 0
    beyond = growth_picture(rows_of(3.0))  # of a factor of 2 for images, and within that of others
    assert longest(beyond, ORANGE) > 0
    assert longest(beyond, BLUE) > 0


def test_picture_of_recorded_rows_tolerates_missing_ones(tmp_path: Path) -> None:
    rows = list(rows_of(2.0).values())
    write_rows(tmp_path / "network.json", "machine", {}, [Row("predict", "", 1.0, 1.0, "ms"), *rows[:9]])
    main(tmp_path / "growth.png", tmp_path / "network.json")
    assert (tmp_path / "growth.png").exists()
    write_rows(tmp_path / "network.json", "machine", {}, [Row("predict", "", 1.0, 1.0, "ms")])
    with pytest.raises(SystemExit, match="--only growth"):
        main(tmp_path / "growth.png", tmp_path / "network.json")
