"""Damage to bytes, PNG files and JSON values."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from fuzz.seeds import SIGNATURE, deflated, png_chunk

Generator = np.random.Generator
Chunks = list[tuple[bytes, bytes]]

_EDGES = [0, 1, 2, 2**7 - 1, 2**7, 2**8 - 1, 2**8, 2**15 - 1, 2**15, 2**16 - 1, 2**16, 2**20, 2**30, 2**31, 2**32 - 1]
_ODD_NUMBERS = [*_EDGES, -1, -(2**63), 2**24, 2**63, 2**64, 10**40, 10**400, 1.5, -0.0, 1e308]
_ODD_WORDS = [
    "",
    "a",
    "1",
    "NaN",
    "\0",
    ".",
    "..",
    "../../etc/passwd",
    "/dev/zero",
    "ü/ü",
    "a\nb",
    "\ud800",
    "x" * 5000,
]
_ODD_LISTS: list[Any] = [[], [[]], [None], [1, 2, 3, 4], [float("nan")] * 4, [float("inf")] * 3, {}, {"id": 1}]
_ODD_VALUES = [None, True, False, float("nan"), float("inf"), -float("inf"), *_ODD_NUMBERS, *_ODD_WORDS, *_ODD_LISTS]


def pick(generator: Generator, of: Any) -> Any:
    """Return a random element of a sequence."""
    return of[int(generator.integers(len(of)))]


def damaged_bytes(data: bytes, generator: Generator) -> bytes:
    """Change, remove, repeat or insert some bytes in one to six places."""
    for _ in range(int(generator.integers(1, 7))):
        data = pick(generator, _BYTE_DAMAGES)(data, generator)
    return data


def _random_range(data: bytes, generator: Generator) -> tuple[int, int]:
    """Return a random range of bytes, half of the time among the first 64 bytes, where headers are."""
    end = min(len(data), 64) if generator.random() < 0.5 else len(data)
    start = int(generator.integers(0, end + 1))
    return start, min(len(data), start + int(generator.integers(1, 17)))


def _flip(data: bytes, generator: Generator) -> bytes:
    if not data:
        return data
    changed, (start, _) = bytearray(data), _random_range(data, generator)
    changed[start % len(data)] ^= 1 << int(generator.integers(8))
    return bytes(changed)


def _number(data: bytes, generator: Generator) -> bytes:
    start, _ = _random_range(data, generator)
    form, mask = pick(generator, [(">I", 0xFFFFFFFF), ("<I", 0xFFFFFFFF), (">H", 0xFFFF), ("<H", 0xFFFF), ("B", 0xFF)])
    return data[:start] + struct.pack(form, pick(generator, _EDGES) & mask) + data[start + struct.calcsize(form) :]


def _lose(data: bytes, generator: Generator) -> bytes:
    start, end = _random_range(data, generator)
    return data[:start] + data[end:]


def _double(data: bytes, generator: Generator) -> bytes:
    start, end = _random_range(data, generator)
    return data[:end] + data[start:end] * int(generator.integers(1, 20)) + data[end:]


def _insert(data: bytes, generator: Generator) -> bytes:
    start, end = _random_range(data, generator)
    return data[:start] + generator.bytes(end - start) + data[start:]


def _cut(data: bytes, generator: Generator) -> bytes:
    return data[: int(generator.integers(0, len(data) + 1))] if generator.random() < 0.3 else data


_BYTE_DAMAGES: list[Callable[[bytes, Generator], bytes]] = [
    _flip,
    _flip,
    _number,
    _number,
    _lose,
    _double,
    _insert,
    _cut,
]


def damaged_png(data: bytes, generator: Generator) -> bytes:
    """Damage the inside of a PNG; most checksums are fixed, because readers would otherwise stop there."""
    if generator.random() < 0.15:
        return damaged_bytes(data, generator)
    parts = chunks(data)
    for _ in range(int(generator.integers(1, 4))):
        pick(generator, _PNG_DAMAGES)(parts, generator)
    whole = SIGNATURE + b"".join(png_chunk(*part) for part in parts)
    return whole if generator.random() < 0.9 else damaged_bytes(whole, generator)


def chunks(data: bytes) -> Chunks:
    """Return name and content of each chunk."""
    found, position = [], len(SIGNATURE)
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        found.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def _damage_chunk(
    parts: Chunks, name: bytes, damage: Callable[[bytes, Generator], bytes], generator: Generator
) -> None:
    places = [place for place, part in enumerate(parts) if part[0] == name]
    if places:
        place = pick(generator, places)
        parts[place] = name, damage(parts[place][1], generator)


def _header(parts: Chunks, generator: Generator) -> None:
    def damage(content: bytes, generator: Generator) -> bytes:
        if generator.random() < 0.5 and len(content) >= 13:
            width, height = struct.unpack_from(">II", content)
            sizes = [(width + 1, height), (width, height + 1), (width - 1, height), (width, max(0, height - 1))]
            sizes += [(pick(generator, _EDGES), height), (width, pick(generator, _EDGES)), (3 * width, height // 3)]
            return struct.pack(">II", *(side & 0xFFFFFFFF for side in pick(generator, sizes))) + content[8:]
        return damaged_bytes(content, generator)[: 13 if generator.random() < 0.9 else None]

    _damage_chunk(parts, b"IHDR", damage, generator)


def _stream(parts: Chunks, generator: Generator) -> None:
    _damage_chunk(parts, b"IDAT", damaged_bytes, generator)


def _rows(parts: Chunks, generator: Generator) -> None:
    """Damage the filtered rows and compress them in a random way."""

    def damage(content: bytes, generator: Generator) -> bytes:
        try:
            rows = zlib.decompress(content)
        except zlib.error:
            return content
        strategies = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)
        return deflated(damaged_bytes(rows, generator), pick(generator, (0, 1, 6, 9)), pick(generator, strategies))

    _damage_chunk(parts, b"IDAT", damage, generator)


def _divide(parts: Chunks, generator: Generator) -> None:
    places = [place for place, part in enumerate(parts) if part[0] == b"IDAT"]
    if places:
        place = pick(generator, places)
        content = parts[place][1]
        cut = int(generator.integers(0, len(content) + 1))
        parts[place : place + 1] = [(b"IDAT", content[:cut]), (b"IDAT", content[cut:])]


def _rearrange(parts: Chunks, generator: Generator) -> None:
    if not parts:
        return
    place = int(generator.integers(len(parts)))
    action = int(generator.integers(3))
    if action == 0:
        parts.pop(place)
    elif action == 1:
        parts.insert(int(generator.integers(len(parts) + 1)), parts[place])
    else:
        name = pick(generator, (b"tRNS", b"PLTE", b"tEXt", b"gAMA", b"eXIf", b"ABCD", b"acTL"))
        parts.insert(place, (name, generator.bytes(int(generator.integers(0, 20)))))


_PNG_DAMAGES: list[Callable[[Chunks, Generator], None]] = [
    _header,
    _stream,
    _stream,
    _stream,
    _rows,
    _rows,
    _divide,
    _rearrange,
]


def damaged_json(content: Any, generator: Generator) -> bytes:
    """Replace, remove, repeat, move or wrap one to three values, and sometimes damage bytes of the text."""
    content = copy.deepcopy(content)
    for _ in range(int(generator.integers(1, 4))):
        places = _places(content)
        if places:
            container, key = pick(generator, places)
            _damage_value(container, key, generator)
    text = json.dumps(content).encode()
    return text if generator.random() < 0.85 else damaged_bytes(text, generator)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return all containers with their keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _damage_value(container: Any, key: Any, generator: Generator) -> None:
    action = int(generator.integers(7))
    if action == 0:
        del container[key]
    elif action == 1 and isinstance(container, list):
        container.insert(int(generator.integers(len(container) + 1)), copy.deepcopy(container[key]))
    elif action == 2:
        other = pick(generator, list(container) if isinstance(container, dict) else range(len(container)))
        container[key], container[other] = container[other], container[key]
    elif action == 3:
        for _ in range(int(generator.integers(1, 40))):
            container[key] = [container[key]]
    elif action == 4 and isinstance(container[key], str):
        container[key] = damaged_bytes(container[key].encode(errors="replace"), generator).decode("latin-1")
    else:
        container[key] = copy.deepcopy(pick(generator, _ODD_VALUES))
