from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamseg.structures import VOID, Categories, Category
from seamseg.structures.categories import palette_color

ENTRIES = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 1000),
            "name": st.text(min_size=1, max_size=5),
            "isthing": st.sampled_from([0, 1]),
            "color": st.lists(st.integers(0, 255), min_size=3, max_size=3),
        }
    ),
    max_size=8,
    unique_by=(lambda entry: entry["id"], lambda entry: entry["name"]),
)


def category(name: str, is_thing: bool = False, original_id: int | None = None) -> Category:
    return Category(name, is_thing, (1, 2, 3), len(name) if original_id is None else original_id)


STREET = Categories((category("sky", False, 23), category("road", False, 7), category("car", True, 26)))


@pytest.mark.parametrize(("changed", "expected"), [
    ([category("sky", False, 23), category("road", False, 7), category("car", True, 26)], []),
    ([category("sky", False, 23), category("car", True, 26)], ["'road' is only in train"]),
    (
        [category("sky", False, 23), category("road", False, 8), category("car", True, 26)],
        ["'road' has the id 7 in train and has the id 8 in val"],
    ),
    (
        [category("sky", False, 23), category("road", True, 7), category("car", True, 26)],
        ["'road' is stuff in train and is a thing in val"],
    ),
    (
        [category("road", False, 7), category("sky", False, 23), category("car", True, 26)],
        ["class 0 is 'sky' in train and 'road' in val"],
    ),
])  # fmt: skip
def test_differences_name_every_differing_class(changed: list[Category], expected: list[str]) -> None:
    assert STREET.differences(Categories(tuple(changed)), "train", "val") == expected


def test_differences_of_colors_are_ignored() -> None:
    other = Categories(tuple(replace(one, color=(9, 9, 9)) for one in STREET.classes))
    assert STREET.differences(other, "train", "val") == []


def test_differences_compare_ids_only_if_requested() -> None:
    other = Categories(tuple(replace(one, original_id=one.original_id + 1) for one in STREET.classes))
    assert STREET.differences(other, "train", "val", compare_ids=False) == []
    assert len(STREET.differences(other, "train", "val")) == 3


def test_categories_with_stuff_and_things_count_each_kind() -> None:
    assert (len(STREET), STREET.num_stuff, STREET.num_things) == (3, 2, 1)
    assert STREET.names == ("sky", "road", "car")
    assert STREET.colors == ((1, 2, 3),) * 3
    assert STREET.class_of_original_id == {23: 0, 7: 1, 26: 2}


@pytest.mark.parametrize(("flags", "stuff", "things"), [([], 0, 0), ([False], 1, 0), ([True, True], 0, 2)])
def test_categories_may_lack_stuff_or_things(flags: list[bool], stuff: int, things: int) -> None:
    categories = Categories(tuple(category("x" * (i + 1), flag) for i, flag in enumerate(flags)))
    assert (categories.num_stuff, categories.num_things) == (stuff, things)


@given(ENTRIES)
@settings(deadline=None)
def test_from_list_puts_stuff_first_and_keeps_the_order_within_each_kind(entries: list[dict[str, Any]]) -> None:
    categories = Categories.from_list(entries)
    stuff = [entry for entry in entries if not entry["isthing"]]
    things = [entry for entry in entries if entry["isthing"]]
    assert categories.to_list() == stuff + things
    assert categories.num_stuff == len(stuff)
    for number, entry in enumerate(stuff + things):
        assert categories.class_of_original_id[entry["id"]] == number


@given(ENTRIES)
@settings(deadline=None)
def test_from_list_inverts_to_list(entries: list[dict[str, Any]]) -> None:
    categories = Categories.from_list(entries)
    assert Categories.from_list(categories.to_list()) == categories


def test_from_list_without_colors_assigns_distinct_colors() -> None:
    entries = [{"id": number, "name": str(number), "isthing": 0} for number in range(255)]
    colors = Categories.from_list(entries).colors
    assert len(set(colors)) == 255
    assert (0, 0, 0) not in colors


def test_from_list_keeps_a_black_color() -> None:
    assert Categories.from_list([{"id": 1, "name": "tar", "isthing": 0, "color": [0, 0, 0]}]).colors == ((0, 0, 0),)


def test_palette_color_matches_pascal_voc() -> None:
    known = [(128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128)]
    assert [palette_color(index) for index in range(7)] == known
    assert palette_color(7) == (64, 0, 0)
    assert palette_color(19) == (0, 64, 128)


@pytest.mark.parametrize("key", ["id", "name", "isthing"])
def test_from_list_with_missing_key_names_the_entry(key: str) -> None:
    entries = [{"id": number, "name": name, "isthing": 0} for number, name in enumerate(("sky", "road"))]
    del entries[1][key]
    name = "unnamed" if key == "name" else "road"
    with pytest.raises(ValueError, match=rf"category 1 \({name}\) lacks the key '{key}'"):
        Categories.from_list(entries)


def test_categories_with_stuff_after_things_raise_value_error() -> None:
    with pytest.raises(ValueError, match="all stuff classes first"):
        Categories((category("car", True), category("road")))


def test_categories_with_duplicate_names_or_ids_name_them() -> None:
    with pytest.raises(ValueError, match="share the name a, b; each needs its own"):
        Categories(tuple(category(name, original_id=i) for i, name in enumerate("abcba")))
    with pytest.raises(ValueError, match="share the original id 4"):
        Categories((category("a", original_id=4), category("b", original_id=4)))


def test_categories_support_255_classes_but_not_256() -> None:
    many = tuple(category(str(i), original_id=i) for i in range(VOID + 1))
    assert len(Categories(many[:VOID])) == 255
    with pytest.raises(ValueError, match=r"256 categories, .* at most 255"):
        Categories(many)


def test_categories_are_unchanged_by_pickling() -> None:
    _ = STREET.num_stuff
    assert pickle.loads(pickle.dumps(STREET)) == STREET
