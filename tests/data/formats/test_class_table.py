"""Matching categories of results with those of the annotation: by name, by id, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from seamseg.data.formats.class_table import match_categories
from seamseg.structures import Categories

ENTRIES = [
    {"id": 7, "name": "sky", "isthing": 0},
    {"id": 9, "name": "road", "isthing": 0},
    {"id": 3, "name": "car", "isthing": 1},
    {"id": 5, "name": "dog", "isthing": 1},
]
TRUTH = Categories.from_list(ENTRIES)
BY_ID = {7: 0, 9: 1, 3: 2, 5: 3}


def table(**ids: int) -> list[dict[str, Any]]:
    return [{"id": number, "name": name} for name, number in ids.items()]


@pytest.mark.parametrize("categories", [None, [], ENTRIES, ENTRIES[::-1], table(sky=7, road=9, car=3, dog=5)])
def test_agreeing_tables_match_by_id_without_a_note(categories: Any) -> None:
    match = match_categories(categories, TRUTH, "results.json")
    assert match.class_of_id == BY_ID
    assert match.notes == ()


def test_tables_with_different_ids_match_by_name_with_a_note() -> None:
    match = match_categories(table(sky=1, road=2, car=3, dog=7), TRUTH, "results.json")
    assert match.class_of_id == {1: 0, 2: 1, 3: 2, 7: 3}
    (note,) = match.notes
    assert "'sky' is 1, not 7" in note
    assert "'car'" not in note


def test_unknown_names_stay_unmatched_when_shared_names_have_different_ids() -> None:
    match = match_categories(table(sky=1, road=2, car=4, dog=6, tree=5), TRUTH, "results.json")
    assert match.class_of_id == {1: 0, 2: 1, 4: 2, 6: 3}
    assert match.names[5] == "tree"


def test_unknown_names_match_by_id_when_shared_names_agree() -> None:
    match = match_categories(table(heaven=7, road=9, car=3, dog=5, tree=8), TRUTH, "results.json")
    assert match.class_of_id == BY_ID
    (note,) = match.notes
    assert "7 is 'heaven', not 'sky'" in note


def test_tables_without_names_match_by_id() -> None:
    match = match_categories([{"id": number} for number in (7, 9, 3, 5)], TRUTH, "results.json")
    assert match.class_of_id == BY_ID
    assert match.notes == ()


def test_missing_categories_of_the_results_are_noted() -> None:
    (note,) = match_categories(table(sky=7, road=9, car=3), TRUTH, "results.json").notes
    assert "'dog'" in note
    (note,) = match_categories([{"id": 7}, {"id": 12}], TRUTH, "results.json").notes
    assert "'road', 'car', 'dog'" in note


def test_differing_thing_flags_are_noted_and_the_annotation_decides() -> None:
    entries = [entry | {"isthing": entry["name"] in ("road", "car", "dog")} for entry in ENTRIES]
    (note,) = match_categories(entries, TRUTH, "results.json").notes
    assert "'road' is stuff, not a thing" in note


def test_note_on_many_differences_gives_examples_and_their_number() -> None:
    entries = [{"id": number, "name": str(number), "isthing": number % 2} for number in range(20)]
    truth = Categories.from_list(entries)
    (note,) = match_categories([entry | {"id": entry["id"] + 1} for entry in entries], truth, "results.json").notes
    assert "20 in all" in note
    assert len(note) < 200


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ({"7": "sky"}, r"results\.json: 'categories' is .*, expected list"),
        (["sky"], r"results\.json, category 0: expected a JSON object, found 'sky'"),
        ([{"name": "sky"}], r"results\.json, category 0: the key 'id' is missing"),
        ([{"id": "7", "name": "sky"}], "category 0: 'id' is '7', expected int"),
        ([{"id": 7, "name": 5}], "category 0: 'name' is 5, expected str"),
        ([{"id": 7, "isthing": "0"}], "category 0: 'isthing' is '0'"),
        (table(sky=7, road=7), "category 1: an earlier category .* the id 7"),
        ([*table(car=3), *table(car=4)], "category 1: an earlier category .* the name 'car'"),
    ],
)
def test_match_categories_rejects_wrong_tables_naming_the_entry(categories: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        match_categories(categories, TRUTH, "results.json")
