"""The bytes of a session file: two slots, so that a save never overwrites the record it replaces.

=====  ===============================================================================================
at     what
=====  ===============================================================================================
0      magic, length of half the file, CRC of both
16     doubt: not zero once the file is about to lose its name
32     two touches, each: version touched, accessed, expires, CRC
96     slot: version, created, modified, accessed, expires, length of key, user and data, CRC of the body,
       CRC of this header; then the body: key, user, data
half   the other slot
=====  ===============================================================================================

The newest slot whose checksums hold is the record; of the touches that name its version the later one counts.  A save
goes into the other slot and a touch into the other touch, so whatever is interrupted leaves what was there before.

A record counts only under the key it was saved under: a file that was copied or renamed to the name of another key
holds no record.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from math import isnan, nan
from typing import Any, Final, NamedTuple
from zlib import crc32

from ...record import Record

MAGIC: Final = b"s2 slot2"
DOUBT_AT: Final = 16

_FILE: Final = struct.Struct("<8sII")
_TOUCH: Final = struct.Struct("<QddI")
_SLOT: Final = struct.Struct("<QddddIIQII")
_CRC: Final = struct.Struct("<I")
_VERSION: Final = struct.Struct("<Q")

_TOUCHES: Final = (32, 64)
_FIRST: Final = 96
_NO_USER: Final = 0xFFFF_FFFF
_BLANK: Final = bytes(_SLOT.size)
_UNUSED: Final = _SLOT.unpack(_BLANK)
_TORN: Final = (-1, *_UNUSED[1:])

# Half of the smallest disk block: every file takes one anyway.
_UNIT: Final = 2048


class Image(NamedTuple):
    """What a file holds.  `half` is 0 for a file that is empty, damaged beyond use or none of ours."""

    record: Record | None
    """The newest whole record, whether it has expired or not."""
    data: bytes
    half: int
    newest: int
    """No version in the file is higher, not even that of a torn slot."""
    spare_slot: int
    spare_touch: int
    doubt: bool
    """The file may have lost its name: look before writing into it."""
    torn: bool
    """A checksum is wrong.  Somebody is writing just now, or was stopped while writing."""


def extent(data: bytes) -> int:
    """Return how many bytes of a file mean anything, given those it begins with."""
    return 2 * _half(data[:_FILE.size])


def parse(data: bytes, key: str) -> Image:
    """Return what the bytes of a file mean for this key; anything is accepted, and nothing is longer than the file."""
    half = _half(data[:_FILE.size])
    if not half or len(data) < _FIRST:
        return Image(None, data, 0, 0, 0, 0, doubt=True, torn=True)
    return _usual(data, half, key) or _unusual(data, half, key)


def _usual(data: bytes, half: int, key: str) -> Image | None:
    """Return what a file holds whose newest slot is whole: the other one is of no interest then."""
    if len(data) < half + _SLOT.size:
        return None
    (one,), (two,) = _VERSION.unpack_from(data, _FIRST), _VERSION.unpack_from(data, half)
    slot, spare = (_FIRST, half) if one > two else (half, _FIRST)
    header = _SLOT.unpack_from(data, slot)
    if one == two or crc32(data[slot:slot + _SLOT.size - _CRC.size]) != header[-1]:
        return None
    record = _record(data, slot, header, key)
    if record is None:
        return None
    version, spare_touch, torn = data[slot:slot + _VERSION.size], _TOUCHES[0], False
    if data.startswith(version, _TOUCHES[0]) or data.startswith(version, _TOUCHES[1]):
        record, spare_touch, torn = _touched(data, slot, record)
    return Image(record, data, half, header[0], spare, spare_touch, data[DOUBT_AT] != 0, torn)


def _unusual(data: bytes, half: int, key: str) -> Image:
    slot, header, spare, other = _FIRST, _header(data, _FIRST), half, _header(data, half)
    if header[0] < other[0]:
        slot, header, spare, other = spare, other, slot, header
    newest = max(header[0], 0)
    torn = header[0] < 0 or other[0] < 0
    record = _record(data, slot, header, key)
    if record is None and newest:
        torn = True
        slot, spare = spare, slot
        record = _record(data, slot, other, key)
    if record is None:
        return Image(None, data, half, newest, _FIRST, 0, data[DOUBT_AT] != 0, torn=True)
    record, spare_touch, touch_torn = _touched(data, slot, record)
    return Image(record, data, half, newest, spare, spare_touch, data[DOUBT_AT] != 0, torn or touch_torn)


def saved(image: Image, slot: bytes, record: Record, version: int, key: str) -> Image:
    """Return what a file holds once this slot was written into it: what `parse` would."""
    before, at, half = image.data, image.spare_slot, image.half
    data = before[:at] + slot + before[at + len(slot):]
    if image.torn:
        return parse(data, key)
    stored = Record(*record[:-1], version)
    return Image(stored, data, half, version, _FIRST + half - at, _TOUCHES[0], image.doubt, torn=False)


def touched(image: Image, touch: bytes, accessed: float, expires: float | None, key: str) -> Image:
    """Return what a file holds once this touch, a later one, was written into it: what `parse` would."""
    before, at = image.data, image.spare_touch
    data = before[:at] + touch + before[at + len(touch):]
    if image.torn or image.record is None:
        return parse(data, key)
    record = image.record._replace(accessed=accessed, expires=expires)
    return image._replace(record=record, data=data, spare_touch=sum(_TOUCHES) - at)


def pack_slot(key: str, record: Record, version: int) -> bytes:
    """Return a slot with this record."""
    user = b"" if record.user is None else record.user.encode("utf-8", "surrogatepass")
    body = b"".join((key.encode(), user, record.data))
    header = _SLOT.pack(
        version, record.created, record.modified, record.accessed, nan if record.expires is None else record.expires,
        len(key), _NO_USER if record.user is None else len(user), len(record.data), crc32(body), 0)[:-_CRC.size]
    return header + _CRC.pack(crc32(header)) + body


def pack_touch(record: Record, accessed: float, expires: float | None) -> bytes:
    """Return a touch of a stored record."""
    touch = _TOUCH.pack(record.version, accessed, nan if expires is None else expires, 0)[:-_CRC.size]
    return touch + _CRC.pack(crc32(touch))


def pack_file(slot: bytes) -> bytes:
    """Return a whole file with one slot in use, and room for a quarter more.

    Both slots get their disk space now, so that a later save into them needs none.
    """
    half = _half_for(len(slot))
    start = MAGIC + half.to_bytes(4, "little")
    return ((start + _CRC.pack(crc32(start))).ljust(_FIRST, b"\0") + slot).ljust(2 * half, b"\0")


def fits(slot: bytes, half: int) -> bool:
    """Tell whether a slot goes into a file of this shape without wasting most of it."""
    size = len(slot)
    return size <= half - _FIRST and (half <= 16 * _UNIT or half <= 4 * _half_for(size))


def _half_for(size: int) -> int:
    return -(-(_FIRST + size + size // 4) // _UNIT) * _UNIT


@lru_cache(64)
def _half(head: bytes) -> int:
    if len(head) < _FILE.size or not head.startswith(MAGIC):
        return 0
    _, half, crc = _FILE.unpack(head)
    return int(half) if crc == crc32(head[:-_CRC.size]) and half >= _UNIT else 0


def _header(data: bytes, at: int) -> tuple[Any, ...]:
    """Return the header of a slot; its version is 0 if it was never used and -1 if it is torn."""
    packed = data[at:at + _SLOT.size]
    try:
        header = _SLOT.unpack(packed)
    except struct.error:  # it is too short: the insert was stopped, or is under way
        return _TORN if packed.strip(b"\0") else _UNUSED
    if crc32(packed[:-_CRC.size]) == header[-1]:
        return header
    return _UNUSED if packed == _BLANK else _TORN


def _record(data: bytes, at: int, header: tuple[Any, ...], key: str) -> Record | None:
    """Return the record of a slot, None if there is none, it is not whole, or it is another key's."""
    version, created, modified, accessed, expires, key_size, user_size, size, crc, _ = header
    if version <= 0:
        return None
    start = at + _SLOT.size
    state = key_size + (0 if user_size == _NO_USER else user_size)
    body = data[start:start + state + size]
    if crc32(body) != crc or body[:key_size] != key.encode():
        return None
    user = None if user_size == _NO_USER else body[key_size:state].decode("utf-8", "surrogatepass")
    return Record(body[state:], created, modified, accessed, None if isnan(expires) else expires, user, version)


def _touched(data: bytes, slot: int, record: Record) -> tuple[Record, int, bool]:
    """Apply the later touch of this record; return where the next touch goes, and whether one is torn."""
    spare, torn = _TOUCHES[0], False
    for at, other in (_TOUCHES, _TOUCHES[::-1]):
        if data[at:at + 8] != data[slot:slot + 8]:
            continue
        _, accessed, expires, crc = _TOUCH.unpack_from(data, at)
        if crc32(data[at:at + _TOUCH.size - _CRC.size]) != crc:
            torn = True
        elif accessed > record.accessed:
            record = record._replace(accessed=accessed, expires=None if isnan(expires) else expires)
            spare = other
    return record, spare, torn
