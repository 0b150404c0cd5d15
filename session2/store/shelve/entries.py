"""The entries of a shelf's journal: what is changed, and how it is written down so that damage shows."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Callable
from typing import Final

log = logging.getLogger("session2")

PUT: Final = 1
REMOVE: Final = 2
TOUCH: Final = 3
SWAP: Final = 4
NOTE: Final = 5

Entry = tuple[int, bytes, bytes]
"""What is to be done, the key, and the value.

That of a `TOUCH` is what the store's own `patch` makes a new value with; that of a `NOTE`, when something in the dbm
file may be over; that of a `SWAP`, the note about the new file.
"""

Damaged = Callable[[bytes, str], None]
"""Told of a key whose value cannot be read, and why."""

_HEAD: Final = struct.Struct("<8sBII")  # generation, what, length of the key, length of the value
_SUMS: Final = struct.Struct("<II")  # checksums of the head with the key, and of the value
_SMALLEST: Final = _HEAD.size + _SUMS.size


def encode(generation: bytes, what: int, key: bytes, value: bytes) -> bytes:
    """Return an entry of a journal of this generation."""
    head = _HEAD.pack(generation, what, len(key), len(value)) + key
    return head + _SUMS.pack(zlib.crc32(head), zlib.crc32(value)) + value


def parse(generation: bytes, data: bytes, path: str, damaged: Damaged) -> tuple[int, list[Entry]]:
    """Return where the last whole entry in `data`, read from the journal at `path`, ends, and the entries up to there.

    Damage in the middle costs the entry it is in: the next one is found by the generation, which no value can
    hold by chance or design.
    """
    entries: list[Entry] = []
    position = end = 0
    while position >= 0:
        entry, length = _decode(generation, data, position, damaged)
        if entry is None:
            position = data.find(generation, position + 1)
            continue
        if end != position:
            log.warning("corrupt: %d bytes of %s are skipped", position - end, path)
        entries.append(entry)
        position = end = position + length
    return end, entries


def _decode(generation: bytes, data: bytes, position: int, damaged: Damaged) -> tuple[Entry | None, int]:
    """Return the entry at this position and its length, no entry if none is whole there."""
    if len(data) - position < _SMALLEST:
        return None, 0
    found, what, key_length, value_length = _HEAD.unpack_from(data, position)
    sums = position + _HEAD.size + key_length
    value = sums + _SUMS.size
    end = value + value_length
    if found != generation or end > len(data):
        return None, 0
    view = memoryview(data)
    head_sum, value_sum = _SUMS.unpack_from(data, sums)
    if zlib.crc32(data[position:sums]) != head_sum:
        return None, 0
    key = data[position + _HEAD.size:sums]
    if zlib.crc32(view[value:end]) == value_sum:
        return (what, key, data[value:end]), end - position
    if end == len(data):  # the machine may have died while it was written
        return None, 0
    damaged(key, "its entry in the journal is damaged")
    return (REMOVE, key, b""), end - position


def ends_with_swap(entries: list[Entry]) -> bool:
    return bool(entries) and entries[-1][0] == SWAP
