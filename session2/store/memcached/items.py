"""What a record is in memcached: one item, which also remembers the last versions of the record."""

from __future__ import annotations

import struct
from math import nan
from typing import Final
from zlib import crc32

from ...record import Record
from ..servers.once import BYTES, REMEMBERED, Standing, standing, written
from .wire import UNKNOWN, Stamp

# Mark of the format, checksum, times (an `expires` of NaN is none), lengths of the user (-1: none) and of the versions.
# After it come the user, the versions, the newest first, and the data.
_HEAD: Final = struct.Struct(">4sI4diH")
_FORMAT: Final = b"s2m1"
_SUMMED_FROM: Final = 8


class ItemVersion:
    """The version of a record, with what is known of the item it stands in.

    Only `mark` counts.  The number that memcached gives an item is no version, for it changes with a touch too, and
    begins anew when memcached does; but it saves asking again.

    :param recent: this version and those before, as `written`.
    :param expires: when the record does.
    :param stamp: of the item.
    """

    __slots__ = ("expires", "mark", "recent", "stamp")

    def __init__(self, recent: bytes, expires: float | None = None, stamp: Stamp = UNKNOWN) -> None:
        self.mark, self.recent, self.expires, self.stamp = recent[:BYTES], recent, expires, stamp

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ItemVersion) and self.mark == other.mark

    def __hash__(self) -> int:
        return hash(self.mark)

    def __repr__(self) -> str:
        return str(self.number)

    @property
    def number(self) -> int:
        """The version, as those are told what became of a change."""
        return int.from_bytes(self.mark, "big")

    def successor(self, number: int) -> ItemVersion:
        """Return the version with this number that follows."""
        return ItemVersion((written(number) + self.recent)[:REMEMBERED * BYTES])

    def standing(self, now: float) -> Standing:
        """Return what this tells of changes whose answers were lost."""
        return standing((self.number, self.recent, self.expires), now)


def pack(key: str, record: Record, version: ItemVersion) -> bytes:
    """Return the item for a record."""
    data, created, modified, accessed, expires, user, _ = record
    name = b"" if user is None else user.encode("utf-8", "surrogatepass")
    head = _HEAD.pack(_FORMAT, 0, created, modified, accessed, nan if expires is None else expires,
                      -1 if user is None else len(name), len(version.recent))
    body = b"".join((head[_SUMMED_FROM:], name, version.recent, data))
    return b"".join((_FORMAT, crc32(body, crc32(key.encode())).to_bytes(4, "big"), body))


def unpack(key: str, value: bytes, stamp: Stamp) -> tuple[Record, ItemVersion]:
    """Return the record of an item, with its version; `ValueError` if it is none, or that of another key."""
    try:
        mark, checksum, created, modified, accessed, end, length, size = _HEAD.unpack_from(value)
    except struct.error:
        raise ValueError("it is too short") from None
    if mark != _FORMAT or checksum != crc32(value[_SUMMED_FROM:], crc32(key.encode())):
        raise ValueError("it is not as session2 writes it")
    start, user = _HEAD.size, None
    if length >= 0:
        start += length
        user = value[_HEAD.size:start].decode("utf-8", "surrogatepass")
    expires = end if end == end else None  # NaN equals nothing
    version = ItemVersion(value[start:start + size], expires, stamp)
    return Record(value[start + size:], created, modified, accessed, expires, user, version), version
