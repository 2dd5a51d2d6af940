"""Classes of a data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from seamseg.errors import DataError

VOID = 255
"""Class of pixels without a label."""

Color = tuple[int, int, int]
"""Red, green and blue in 0 … 255."""


FLAG_VALUES = "0, 1, true or false"
"""Valid values of ``isthing`` and ``iscrowd`` in files, for error messages."""


@dataclass(frozen=True)
class Category:
    """One class of a data set.

    Attributes:
        name: Name shown to people.
        is_thing: Whether the class is countable, such as cars, and not amorphous, such as sky.
        color: Color in pictures.
        original_id: Id of the class in the files of the data set.
    """

    name: str
    is_thing: bool
    color: Color
    original_id: int


@dataclass(frozen=True)
class Categories:
    """Classes of a data set in the network's order: stuff 0 … S−1, then things S … S+T−1.

    Attributes:
        classes: Classes in this order.

    Raises:
        SeamsegError: If a stuff class follows a thing, two classes share an original id or a name, or there are more
            than 255 classes.

    Example:
        >>> from seamseg.structures import Categories, Category
        >>> road = Category("road", is_thing=False, color=(128, 64, 128), original_id=7)
        >>> car = Category("car", is_thing=True, color=(0, 0, 142), original_id=26)
        >>> categories = Categories((road, car))
        >>> categories.names, categories.num_stuff, categories.class_of_original_id[26]
        (('road', 'car'), 1, 1)
    """

    classes: tuple[Category, ...]

    def __post_init__(self) -> None:
        flags = [category.is_thing for category in self.classes]
        if flags != sorted(flags):
            raise DataError("categories must be ordered: all stuff classes first, then all thing classes")
        for what, values in (
            ("original id", [str(category.original_id) for category in self.classes]),
            ("name", list(self.names)),
        ):
            duplicates = sorted({value for value in values if values.count(value) > 1})
            if duplicates:
                raise DataError(f"categories share the {what} {', '.join(duplicates)}; each needs its own")
        if len(self.classes) > VOID:
            raise DataError(
                f"there are {len(self.classes)} categories, but at most {VOID} are supported, because class {VOID} is "
                "void; merge or omit some"
            )

    @cached_property
    def num_stuff(self) -> int:
        """Number of stuff classes S, which is also the class of the first thing."""
        return sum(not category.is_thing for category in self.classes)

    @cached_property
    def num_things(self) -> int:
        """Number of thing classes T."""
        return len(self.classes) - self.num_stuff

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(category.name for category in self.classes)

    @property
    def colors(self) -> tuple[Color, ...]:
        """Colors of the classes."""
        return tuple(category.color for category in self.classes)

    @cached_property
    def class_of_original_id(self) -> dict[int, int]:
        """Mapping from the id in the data set's files to the network's class."""
        return {category.original_id: index for index, category in enumerate(self.classes)}

    def as_stuff(self) -> Categories:
        """Return the same classes in the same order, all of them stuff: those of a semantic segmentation."""
        return Categories(tuple(replace(category, is_thing=False) for category in self.classes))

    def __len__(self) -> int:
        return len(self.classes)

    def differences(self, other: Categories, name: str, other_name: str, compare_ids: bool = True) -> list[str]:
        """Describe how the classes of two data sets, or of two splits of a data set, differ; colors are ignored.

        Args:
            other: Classes to compare with.
            name: Name of this data set in the result.
            other_name: Name of the other data set in the result.
            compare_ids: Whether to compare the ids in the files, too.

        Returns:
            One phrase per differing class, sorted; empty if the classes are the same in the same order.
        """
        ours, theirs = ({category.name: category for category in one.classes} for one in (self, other))
        found = [f"{one!r} is only in {name}" for one in ours if one not in theirs]
        found += [f"{one!r} is only in {other_name}" for one in theirs if one not in ours]
        for one in ours.keys() & theirs.keys():
            for describe in (_kind, _id) if compare_ids else (_kind,):
                first, second = describe(ours[one]), describe(theirs[one])
                if first != second:
                    found.append(f"{one!r} {first} in {name} and {second} in {other_name}")
        if not found and self.names != other.names:
            place = next(i for i, pair in enumerate(zip(self.names, other.names, strict=True)) if len(set(pair)) > 1)
            found.append(f"class {place} is {self.names[place]!r} in {name} and {other.names[place]!r} in {other_name}")
        return sorted(found)

    def to_list(self) -> list[dict[str, Any]]:
        """Return the classes in the network's order, in the format of ``categories`` in a COCO panoptic file."""
        return [
            {
                "id": category.original_id,
                "name": category.name,
                "isthing": int(category.is_thing),
                "color": list(category.color),
            }
            for category in self.classes
        ]

    @classmethod
    def from_list(cls, entries: list[dict[str, Any]]) -> Categories:
        """Create classes from ``categories`` of a COCO panoptic file: stuff in file order, then things in file order.

        Entries without a ``color`` get one from a fixed palette.

        Raises:
            SeamsegError: If an entry lacks ``id``, ``name`` or ``isthing``, or its flag or color is invalid.
        """
        ordered = [_category(entry, position) for position, entry in enumerate(entries)]
        return cls(tuple(sorted(ordered, key=lambda category: category.is_thing)))


def _kind(category: Category) -> str:
    return "is a thing" if category.is_thing else "is stuff"


def _id(category: Category) -> str:
    return f"has the id {category.original_id}"


def _category(entry: dict[str, Any], position: int) -> Category:
    for key in ("id", "name", "isthing"):
        if key not in entry:
            raise DataError(f"category {position} ({entry.get('name', 'unnamed')}) lacks the key {key!r}")
    if not is_flag(entry["isthing"]):
        raise DataError(f"category {position}: 'isthing' is {entry['isthing']!r}, expected {FLAG_VALUES}")
    color = entry.get("color") or palette_color(position)
    if not _is_color(color):
        raise DataError(f"category {position} has a color that is not red, green and blue in 0 … 255")
    red, green, blue = color
    return Category(str(entry["name"]), bool(entry["isthing"]), (int(red), int(green), int(blue)), int(entry["id"]))


def is_flag(value: Any) -> bool:
    """Return whether a value from a file is a valid flag. Text is not, because Python treats ``"0"`` as true."""
    return value in (0, 1)  # also accepts False, True, 0.0 and 1.0


def _is_color(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    return all(isinstance(part, int | float) and 0 <= part <= 255 for part in value)


def palette_color(index: int) -> Color:
    """Return color ``index`` of a fixed sequence in which neighbors differ.

    The bits of the index are spread over the channels, as in the palette of PASCAL VOC.
    """
    red = green = blue = 0
    bits = index + 1
    for shift in range(7, -1, -1):
        red |= (bits & 1) << shift
        green |= (bits >> 1 & 1) << shift
        blue |= (bits >> 2 & 1) << shift
        bits >>= 3
    return red, green, blue
